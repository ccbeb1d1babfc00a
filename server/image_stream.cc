#include "server/image_stream.h"

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "server/call.h"
#include "server/completion_queue.h"
#include "server/message.h"
#include "server/outbox.h"
#include "server/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {

struct ImageStream::Shared {
  explicit Shared(CompletionQueue& queue)
      : outbox(std::make_shared<Outbox>(queue)), room(queue), admitted(queue) {}

  const std::shared_ptr<Outbox> outbox;
  Event room;  // for the reader: a result was written, or the stream stops

  Event admitted;  // for the reader: `admission` is there
  std::mutex mutex;
  std::optional<absl::Status> admission;  // guarded by mutex
};

ImageStream::ImageStream(Call& call, Engine& engine, std::size_t window, std::stop_token draining)
    : call_(call),
      engine_(engine),
      window_(window),
      draining_(std::move(draining)),
      shared_(std::make_shared<Shared>(call.queue())) {}

const std::shared_ptr<Outbox>& ImageStream::outbox() const { return shared_->outbox; }

bool ImageStream::Stopping() const {
  return draining_.stop_requested() || call_.stop_token().stop_requested();
}

Task ImageStream::Run() {
  const auto wake = [this] {
    shared_->outbox->Wake();
    shared_->room.Set();
  };
  const std::stop_callback on_drain(draining_, wake);
  const std::stop_callback on_cancel(call_.stop_token(), wake);
  const Task reader = ReadAll();
  while (!Complete()) {
    co_await shared_->outbox->Wait();
    std::vector<Arrival> arrivals = shared_->outbox->Take();
    co_await WriteReady(std::move(arrivals));
  }
  finishing_ = true;
  const grpc::Status status = ToGrpcStatus(FinalStatus(), engine_.RetryDelay());
  co_await call_.Finish(status);
  co_await reader;  // a read that was waiting for the client ends with the call
}

absl::Status ImageStream::FinalStatus() const {
  if (!failure_.ok()) return failure_;
  if (half_closed_) return absl::OkStatus();
  if (call_.stop_token().stop_requested()) {
    return MakeError(Reason::kCancelled, "the caller cancelled the stream");
  }
  return MakeError(Reason::kDraining,
                   "the server is shutting down; images without a result were not accepted");
}

Task ImageStream::ReadAll() {
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
    co_await Admit(bytes, failure_);
    if (!failure_.ok()) break;
  }
  reading_ended_ = true;
  shared_->outbox->Wake();
}

Task ImageStream::SubmitWhenRoom(std::shared_ptr<const ServedModel> model, std::vector<Item> items,
                                 absl::Status& admission) {
  engine_.SubmitWhenRoom(model->index(), std::move(items), [shared = shared_](absl::Status status) {
    {
      const std::lock_guard lock(shared->mutex);
      shared->admission = std::move(status);
    }
    shared->admitted.Set();
  });
  model.reset();
  co_await shared_->admitted.Wait();
  const std::lock_guard lock(shared_->mutex);
  admission = *std::exchange(shared_->admission, std::nullopt);
}

void ImageStream::RemoveInFlight(std::size_t images) {
  in_flight_ -= images;
  shared_->room.Set();
}

Task ImageStream::Write(const google::protobuf::Message& message) {
  if (broken_) co_return;
  const grpc::ByteBuffer bytes = SerializeMessage(message);
  const bool written = co_await call_.Write(bytes);
  broken_ = !written;
}

}  // namespace pixembed
