// Embed calls of a load: the requests are encoded once, before the clock runs.
#ifndef PIXEMBED_CLIENT_CPP_EMBED_CALL_H_
#define PIXEMBED_CLIENT_CPP_EMBED_CALL_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "client/cpp/channel.h"
#include "client/cpp/load.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/async_unary_call.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {

// One call on its way; may be started again once it is answered.
struct EmbedCall {
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::EmbedResponse>> reader;
  v1::EmbedResponse response;
  grpc::Status status;
  // Its latency counts from here.
  std::chrono::steady_clock::time_point since;
};

// One thread at a time; the answers may be taken off the queue by another.
class EmbedCaller {
 public:
  // Outlives neither.
  EmbedCaller(const std::vector<NamedChannel>& channels, const LoadOptions& options,
              grpc::CompletionQueue& queue);

  // Sends the next request on channel `channel` modulo their number. The queue gives `tag` when
  // response and status of the call are there. REQUIRES: the call is not on its way.
  void Start(EmbedCall& call, std::size_t channel, void* tag);

 private:
  const std::chrono::milliseconds timeout_;
  // Together they hold every image about once.
  const std::vector<grpc::ByteBuffer> requests_;
  std::vector<grpc::TemplatedGenericStub<grpc::ByteBuffer, v1::EmbedResponse>> stubs_;
  grpc::CompletionQueue& queue_;
  std::size_t turn_ = 0;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_EMBED_CALL_H_
