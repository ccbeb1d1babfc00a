#include "client/cpp/connections.h"

#include <cstddef>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "client/cpp/channel.h"
#include "client/cpp/retry.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "grpcpp/support/status.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

// A question that any server answers.
struct Probe {
  grpc::ClientContext context;
  v1::Model answer;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<v1::Model>> call;

  bool IsAnswered() const {
    return status.error_code() != grpc::StatusCode::UNAVAILABLE &&
           status.error_code() != grpc::StatusCode::CANCELLED &&
           status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED;
  }
};

}  // namespace

Connections::Connections(const std::vector<NamedChannel>& channels) {
  std::set<std::string> addresses;
  for (const NamedChannel& named : channels) {
    addresses.insert(named.address);
    all_.push_back({.address = named.address,
                    .embedding = v1::EmbeddingService::NewStub(named.channel),
                    .health = grpc::health::v1::Health::NewStub(named.channel)});
  }
  addresses_ = addresses.size();
}

const Connection& Connections::Next() { return all_[turn_++ % all_.size()]; }

const Connection& Connections::NextBut(const std::set<std::string>& avoided) {
  for (std::size_t i = 1; i < all_.size(); ++i) {
    if (const Connection& connection = Next(); !avoided.contains(connection.address)) {
      return connection;
    }
  }
  return Next();
}

const Connection* Connections::WaitUntilAnswered(RetryClock::time_point deadline,
                                                 const std::stop_token& stop) const {
  grpc::CompletionQueue queue;
  std::vector<Probe> probes(all_.size());
  for (std::size_t i = 0; i < all_.size(); ++i) {
    Probe& probe = probes[i];
    probe.context.set_deadline(deadline);
    probe.context.set_wait_for_ready(true);
    probe.call = all_[i].embedding->AsyncGetModel(&probe.context, {}, &queue);
    probe.call->Finish(&probe.answer, &probe.status, &probe);
  }
  const auto cancel_all = [&] {
    for (Probe& probe : probes) {
      probe.context.TryCancel();
    }
  };
  const std::stop_callback on_stop(stop, cancel_all);
  const Connection* answered = nullptr;
  void* tag = nullptr;
  bool ok = false;
  if (queue.Next(&tag, &ok)) {
    const auto* const first = static_cast<const Probe*>(tag);
    answered = first->IsAnswered() ? &all_[first - probes.data()] : nullptr;
  }
  cancel_all();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return answered;
}

}  // namespace pixembed::client
