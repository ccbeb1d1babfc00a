#include "server/inference_stream.h"

#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/status.h"
#include "inference/grpc_service.pb.h"
#include "server/call.h"
#include "server/image_stream.h"
#include "server/inference_request.h"
#include "server/message.h"
#include "server/model_repository.h"
#include "server/outbox.h"
#include "src/engine/engine.h"

namespace pixembed {

InferStream::InferStream(Call& call, Engine& engine, const ModelRepository& models,
                         const RequestLimits& limits, InferenceStatistics& statistics,
                         std::size_t window, std::stop_token draining)
    : ImageStream(call, engine, window, std::move(draining)),
      models_(models),
      limits_(limits),
      statistics_(statistics) {}

Task InferStream::Admit(grpc::ByteBuffer& bytes, absl::Status& failure) {
  const auto message = std::make_shared<inference::ModelInferRequest>();
  const std::size_t size = bytes.Length();
  // Over the limit, too: its error needs its id.
  failure = ParseMessage(bytes, std::numeric_limits<std::size_t>::max(), *message);
  if (!failure.ok()) co_return;
  pending_.push_back(std::make_unique<Pending>(
      Pending{.request = InferRequest(*models_.served(), limits_, statistics_, message),
              .first_index = next_index_}));
  Pending& pending = *pending_.back();
  InferRequest& request = pending.request;
  if (size > limits_.max_message_bytes) {
    if (request.status().ok()) (void)request.TakeModel();
    request.Fail(MessageTooLarge(size, limits_.max_message_bytes));
  }
  // One that failed counts as well, or a client that never reads could pile up errors.
  pending.in_flight = request.status().ok() ? request.images() : 1;
  AddInFlight(pending.in_flight);
  if (request.status().ok()) {
    next_index_ += request.images();
    std::vector<Item> items = request.MakeItems(call(), outbox(), pending.first_index);
    absl::Status admission;
    co_await SubmitWhenRoom(request.TakeModel(), std::move(items), admission);
    if (admission.ok()) co_return;
    request.Fail(std::move(admission));
  }
  outbox()->Wake();
}

void InferStream::Put(Arrival arrival) {
  // The last request that begins at or before it: those that failed have no images.
  const auto after = std::upper_bound(
      pending_.begin(), pending_.end(), arrival.index,
      [](std::uint64_t index, const auto& pending) { return index < pending->first_index; });
  Pending& pending = **std::prev(after);
  pending.request.Put(arrival.index - pending.first_index, std::move(arrival.outcome));
}

Task InferStream::WriteReady(std::vector<Arrival> arrivals) {
  for (Arrival& arrival : arrivals) Put(std::move(arrival));
  while (!pending_.empty() && pending_.front()->request.complete()) {
    const std::unique_ptr<Pending> next = std::move(pending_.front());
    pending_.pop_front();
    co_await WriteResponse(*next);
    RemoveInFlight(next->in_flight);
  }
}

Task InferStream::WriteResponse(Pending& pending) {
  absl::StatusOr<inference::ModelInferResponse> response = pending.request.Finish();
  inference::ModelStreamInferResponse message;
  inference::ModelInferResponse& body = *message.mutable_infer_response();
  if (response.ok()) {
    body = *std::move(response);
  } else {
    message.set_error_message(StatusText(response.status()));
    body.set_id(pending.request.id());
  }
  (*body.mutable_parameters())["triton_final_response"].set_bool_param(true);
  co_await Write(message);
}

}  // namespace pixembed
