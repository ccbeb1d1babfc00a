#include "client/cpp/embed_call.h"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "client/cpp/channel.h"
#include "client/cpp/load.h"
#include "client/cpp/result.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

// gRPC keeps a pointer to it while a call is made.
const std::string& Method() {
  static const auto* const method =
      new std::string(std::string("/") + v1::EmbeddingService::service_full_name() + "/Embed");
  return *method;
}

std::vector<grpc::ByteBuffer> EncodeRequests(const LoadOptions& options) {
  const std::size_t images = options.images.size();
  const std::size_t per_request = options.images_per_request;
  std::vector<grpc::ByteBuffer> requests((images + per_request - 1) / per_request);
  std::size_t i = 0;
  for (grpc::ByteBuffer& encoded : requests) {
    v1::EmbedRequest request;
    SetOptions(options.embed, /*ordered=*/false, request);
    for (std::size_t j = 0; j < per_request; ++j) {
      request.add_images()->set_data(options.images[i++ % images].data);
    }
    const grpc::Slice slice(request.SerializeAsString());
    encoded = grpc::ByteBuffer(&slice, 1);
  }
  return requests;
}

}  // namespace

EmbedCaller::EmbedCaller(const std::vector<NamedChannel>& channels, const LoadOptions& options,
                         grpc::CompletionQueue& queue)
    : timeout_(options.client.timeout), requests_(EncodeRequests(options)), queue_(queue) {
  stubs_.reserve(channels.size());
  for (const NamedChannel& named : channels) {
    stubs_.emplace_back(named.channel);
  }
}

void EmbedCaller::Start(EmbedCall& call, std::size_t channel, void* tag) {
  call.reader.reset();  // lies in memory of the call that the context holds
  call.context = std::make_unique<grpc::ClientContext>();
  if (timeout_.count() > 0) {
    call.context->set_deadline(std::chrono::system_clock::now() + timeout_);
  }
  call.response.Clear();
  call.reader = stubs_[channel % stubs_.size()].PrepareUnaryCall(
      call.context.get(), Method(), requests_[turn_++ % requests_.size()], &queue_);
  call.reader->StartCall();
  call.reader->Finish(&call.response, &call.status, tag);
}

}  // namespace pixembed::client
