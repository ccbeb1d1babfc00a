#include "client/cpp/stream.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/cpp/client.h"
#include "client/cpp/result.h"
#include "client/cpp/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

// The images that were sent and not yet answered, by the server's count. Thread-safe.
class Window {
 public:
  struct Sent {
    std::uint64_t index = 0;  // by the caller's count
    std::string id;
    std::size_t bytes = 0;
  };

  explicit Window(const StreamOptions& options) : options_(options) {}

  // Waits until one more image may be on its way. False after Close.
  bool WaitForRoom() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return closed_ || sent_.size() < static_cast<std::size_t>(options_.max_in_flight_images);
    });
    return !closed_;
  }

  // Waits until its bytes have room, then adds. After Close it does not wait: the image is then
  // among those that TakeAll gives.
  void Add(std::uint64_t number, Sent sent) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return closed_ || sent_.empty() || bytes_ + sent.bytes <= options_.max_in_flight_bytes;
    });
    bytes_ += sent.bytes;
    sent_.emplace(number, std::move(sent));
  }

  // The caller's index of the image; nothing if it is not there.
  std::optional<std::uint64_t> Find(std::uint64_t number) const {
    const std::lock_guard lock(mutex_);
    const auto found = sent_.find(number);
    return found == sent_.end() ? std::nullopt : std::optional(found->second.index);
  }

  // REQUIRES: Find found it.
  void Remove(std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    const auto found = sent_.find(number);
    bytes_ -= found->second.bytes;
    sent_.erase(found);
    changed_.notify_all();
  }

  // Until all that was added has been removed, or Close.
  void WaitUntilEmpty() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || sent_.empty(); });
  }

  // Nobody waits any more.
  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  // What was not removed, in the order of the images.
  std::map<std::uint64_t, Sent> TakeAll() {
    const std::lock_guard lock(mutex_);
    return std::exchange(sent_, {});
  }

 private:
  const StreamOptions& options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, Sent> sent_;
  std::size_t bytes_ = 0;
  bool closed_ = false;
};

class StreamCall {
 public:
  StreamCall(v1::EmbeddingService::Stub& stub, std::size_t max_message_bytes,
             const EmbedOptions& options, const StreamOptions& stream_options,
             const ImageSource& next, const ResultSink& on_result)
      : max_message_bytes_(max_message_bytes),
        options_(options),
        ordered_(stream_options.ordered),
        next_(next),
        on_result_(on_result),
        window_(stream_options),
        stream_(stub.EmbedStream(&context_)) {}

  absl::Status Run(const std::stop_token& stop) {
    const std::stop_callback cancel(stop, [this] { context_.TryCancel(); });
    std::thread writer([this] { Write(); });
    absl::Status status = Read();
    window_.Close();
    writer.join();
    // A server that answered nonsense is the reason, not the cancellation that followed.
    const absl::Status finished = FromGrpc(stream_->Finish());
    status.Update(finished);
    return FailUnanswered(std::move(status));
  }

 private:
  // The writer's thread: takes images until there are no more, or the stream is over.
  void Write() {
    for (std::uint64_t index = 0; window_.WaitForRoom(); ++index) {
      std::optional<absl::StatusOr<Image>> image = next_();
      if (!image || !Send(index, *std::move(image))) {
        break;
      }
    }
    stream_->WritesDone();
  }

  // False when the stream takes no more.
  bool Send(std::uint64_t index, absl::StatusOr<Image> image) {
    if (!image.ok()) {
      DeliverUnsent(index, std::string(), image.status());
      return true;
    }
    Window::Sent sent{.index = index, .id = image->id, .bytes = image->data.size()};
    v1::EmbedRequest request;
    if (sent_count_ == 0) {
      SetOptions(options_, ordered_, request);
    }
    v1::Image& message = *request.add_images();
    message.set_data(std::move(image->data));
    message.set_id(std::move(image->id));
    if (const std::size_t size = request.ByteSizeLong(); size > max_message_bytes_) {
      DeliverUnsent(index, std::move(sent.id),
                    absl::InvalidArgumentError(absl::StrCat(
                        "the image makes a message of ", size,
                        " bytes; max_message_bytes of the client is ", max_message_bytes_)));
      return true;
    }
    window_.Add(sent_count_++, std::move(sent));
    return stream_->Write(request);
  }

  // The caller's thread: until the server sends no more.
  absl::Status Read() {
    v1::EmbedResult message;
    while (stream_->Read(&message)) {
      const std::uint64_t number = message.index();
      const std::optional<std::uint64_t> index = window_.Find(number);
      if (!index) {
        context_.TryCancel();
        return absl::DataLossError(
            absl::StrCat("the server answered image ", number, ", which waits for no answer"));
      }
      Result result = ToResult(std::move(message));
      result.index = *index;
      Deliver(std::move(result));
      // Only now, so that an image which fails unsent is not delivered before its predecessors.
      window_.Remove(number);
    }
    return absl::OkStatus();
  }

  void DeliverUnsent(std::uint64_t index, std::string id, absl::Status status) {
    if (ordered_) {
      window_.WaitUntilEmpty();
    }
    Deliver(Failed(index, std::move(id), std::move(status)));
  }

  absl::Status FailUnanswered(absl::Status status) {
    std::map<std::uint64_t, Window::Sent> unanswered = window_.TakeAll();
    if (status.ok() && !unanswered.empty()) {
      status = absl::DataLossError(absl::StrCat("the server ended the stream with ",
                                                unanswered.size(), " images unanswered"));
    }
    for (auto& [number, sent] : unanswered) {
      Deliver(Failed(sent.index, std::move(sent.id), status));
    }
    return status;
  }

  static Result Failed(std::uint64_t index, std::string id, absl::Status status) {
    return Result{.index = index, .id = std::move(id), .embedding = std::move(status)};
  }

  void Deliver(Result result) {
    const std::lock_guard lock(delivery_);
    on_result_(std::move(result));
  }

  const std::size_t max_message_bytes_;
  const EmbedOptions& options_;
  const bool ordered_;
  const ImageSource& next_;
  const ResultSink& on_result_;
  std::uint64_t sent_count_ = 0;  // the writer's thread only
  Window window_;
  std::mutex delivery_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::EmbedRequest, v1::EmbedResult>> stream_;
};

}  // namespace

absl::Status RunEmbedStream(v1::EmbeddingService::Stub& stub, std::size_t max_message_bytes,
                            const EmbedOptions& options, const StreamOptions& stream_options,
                            const ImageSource& next, const ResultSink& on_result) {
  return StreamCall(stub, max_message_bytes, options, stream_options, next, on_result)
      .Run(stream_options.stop);
}

}  // namespace pixembed::client
