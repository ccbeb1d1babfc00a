#include "server/embed_stream.h"

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/completion_queue.h"
#include "server/embed_options.h"
#include "server/message.h"
#include "server/outbox.h"
#include "server/served_model.h"
#include "server/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {

using google::protobuf::util::MessageDifferencer;

struct EmbedStream::Shared {
  explicit Shared(CompletionQueue& queue)
      : outbox(std::make_shared<Outbox>(queue)), room(queue), admitted(queue) {}

  const std::shared_ptr<Outbox> outbox;
  Event room;  // for the reader: a result was written, or the stream stops

  Event admitted;  // for the reader: `admission` is there
  std::mutex mutex;
  std::optional<absl::Status> admission;  // guarded by mutex
};

EmbedStream::EmbedStream(Call& call, Engine& engine, const ServedModels& models,
                         const RequestLimits& limits, std::size_t window, std::stop_token draining)
    : call_(call),
      engine_(engine),
      models_(models),
      limits_(limits),
      window_(window),
      draining_(std::move(draining)),
      shared_(std::make_shared<Shared>(call.queue())) {}

bool EmbedStream::Stopping() const {
  return draining_.stop_requested() || call_.stop_token().stop_requested();
}

Task EmbedStream::Run() {
  const auto wake = [this] {
    shared_->outbox->Wake();
    shared_->room.Set();
  };
  const std::stop_callback on_drain(draining_, wake);
  const std::stop_callback on_cancel(call_.stop_token(), wake);
  const Task reader = ReadAll();
  while (!Complete()) {
    co_await shared_->outbox->Wait();
    co_await WriteArrivals();
  }
  finishing_ = true;
  const grpc::Status status = ToGrpcStatus(FinalStatus(), engine_.RetryDelay());
  co_await call_.Finish(status);
  co_await reader;  // a read that was waiting for the client ends with the call
}

absl::Status EmbedStream::FinalStatus() const {
  if (!failure_.ok()) return failure_;
  if (half_closed_) return absl::OkStatus();
  if (call_.stop_token().stop_requested()) {
    return MakeError(Reason::kCancelled, "the caller cancelled the stream");
  }
  return MakeError(Reason::kDraining,
                   "the server is shutting down; images without a result were not accepted");
}

Task EmbedStream::ReadAll() {
  for (;;) {
    while (in_flight_ >= window_ && !Stopping()) co_await shared_->room.Wait();
    if (Stopping()) break;
    grpc::ByteBuffer bytes;
    const bool received = co_await call_.Read(&bytes);
    if (finishing_) break;
    if (!received) {
      half_closed_ = !call_.stop_token().stop_requested();
      break;
    }
    co_await Admit(bytes);
    if (!failure_.ok()) break;
  }
  reading_ended_ = true;
  shared_->outbox->Wake();
}

Task EmbedStream::Admit(grpc::ByteBuffer& bytes) {
  const auto request = std::make_shared<v1::EmbedRequest>();
  const std::size_t size = bytes.Length();
  // A message over the limit is parsed all the same, up to gRPC's own limit: one image that is too
  // big must not end a stream of a million.
  failure_ = ParseMessage(bytes, std::numeric_limits<std::size_t>::max(), *request);
  if (failure_.ok()) failure_ = CheckPlan(*request);
  if (!failure_.ok()) co_return;
  if (size > limits_.max_message_bytes) {
    FailImages(*request, MessageTooLarge(size, limits_.max_message_bytes));
    co_return;
  }
  const auto count = static_cast<std::size_t>(request->images_size());
  if (count == 0) co_return;
  std::vector<Item> items = MakeItems(call_, request, *plan_, shared_->outbox, next_index_);
  next_index_ += count;
  in_flight_ += count;
  engine_.SubmitWhenRoom(plan_->model->index(), std::move(items),
                         [shared = shared_](absl::Status status) {
                           {
                             const std::lock_guard lock(shared->mutex);
                             shared->admission = std::move(status);
                           }
                           shared->admitted.Set();
                         });
  co_await shared_->admitted.Wait();
  const std::lock_guard lock(shared_->mutex);
  failure_ = *std::exchange(shared_->admission, std::nullopt);
  if (!failure_.ok()) in_flight_ -= count;  // none of them will arrive
}

absl::Status EmbedStream::CheckPlan(const v1::EmbedRequest& request) {
  if (static_cast<std::size_t>(request.images_size()) > limits_.max_request_images) {
    return TooManyImages(request.images_size(), limits_.max_request_images);
  }
  if (!plan_.has_value()) {
    absl::StatusOr<EmbedPlan> plan =
        MakePlan(models_, request.model(), request.options(), Lane::kBulk);
    if (!plan.ok()) return plan.status();
    plan_ = *plan;
    model_ = request.model();
    options_ = request.options();
    return absl::OkStatus();
  }
  if (!request.model().empty() && request.model() != model_) {
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("a later request of the stream names model \"", request.model(),
                                  "\", the first one named \"", model_, "\""));
  }
  if (request.options().ByteSizeLong() > 0 &&
      !MessageDifferencer::Equals(request.options(), options_)) {
    return MakeError(Reason::kInvalidOption,
                     "a later request of the stream has other options than the first one");
  }
  return absl::OkStatus();
}

void EmbedStream::FailImages(const v1::EmbedRequest& request, const absl::Status& status) {
  for (const v1::Image& image : request.images()) {
    ++in_flight_;
    shared_->outbox->Put({next_index_++, image.id(), status});
  }
}

std::vector<Arrival> EmbedStream::InOrder(std::vector<Arrival> arrivals) {
  std::vector<Arrival> next;
  for (Arrival& arrival : arrivals) {
    const std::uint64_t index = arrival.index;
    early_.emplace(index, std::move(arrival));
  }
  while (!early_.empty() && early_.begin()->first == next_ordered_) {
    next.push_back(std::move(early_.extract(early_.begin()).mapped()));
    ++next_ordered_;
  }
  return next;
}

Task EmbedStream::WriteArrivals() {
  std::vector<Arrival> arrivals = shared_->outbox->Take();
  if (plan_.has_value() && plan_->ordered) arrivals = InOrder(std::move(arrivals));
  for (Arrival& arrival : arrivals) co_await Write(std::move(arrival));
}

Task EmbedStream::Write(Arrival arrival) {
  if (!broken_) {
    v1::EmbedResult result;
    result.set_index(arrival.index);
    result.set_id(std::move(arrival.id));
    SetOutcome(arrival.outcome, *plan_, engine_.RetryDelay(), result);
    if (arrival.outcome.ok()) result.set_fingerprint(plan_->fingerprint);
    const grpc::ByteBuffer message = SerializeMessage(result);
    const bool written = co_await call_.Write(message);
    broken_ = !written;
  }
  --in_flight_;
  shared_->room.Set();
}

}  // namespace pixembed
