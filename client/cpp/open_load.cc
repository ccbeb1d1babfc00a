#include "client/cpp/open_load.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/arrivals.h"
#include "client/cpp/channel.h"
#include "client/cpp/client.h"
#include "client/cpp/connections.h"
#include "client/cpp/embed_call.h"
#include "client/cpp/load.h"
#include "client/cpp/load_tally.h"
#include "client/cpp/result.h"
#include "client/cpp/status.h"
#include "client/cpp/stream.h"
#include "grpcpp/completion_queue.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

using Clock = std::chrono::steady_clock;

// Gives the arrivals of a load one by one, each when it is due.
class Pacer {
 public:
  Pacer(const LoadOptions& options, Clock::time_point start)
      : start_(start),
        // What is late goes out at once: more than may be outstanding would be dropped.
        schedule_({options.arrivals, options.rate, options.seed}, options.requests,
                  options.duration, options.max_outstanding) {}

  // Waits until the next arrival is due, and returns when that was: in the past if the caller was
  // late. Nothing after the last one, or after Stop. One thread at a time.
  std::optional<Clock::time_point> Next() {
    const std::optional<std::chrono::nanoseconds> time = schedule_.Next(Clock::now() - start_);
    if (!time) {
      return std::nullopt;
    }
    const Clock::time_point due = start_ + *time;
    std::unique_lock lock(mutex_);
    stop_.wait_until(lock, due, [&] { return stopped_; });
    return stopped_ ? std::nullopt : std::optional(due);
  }

  // As Schedule's.
  std::uint64_t kept_back() const { return schedule_.kept_back(); }

  // Thread-safe.
  void Stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    stop_.notify_all();
  }

 private:
  const Clock::time_point start_;
  Schedule schedule_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;
};

// The caller's thread sends, a second one takes the answers.
class UnaryLoad {
 public:
  UnaryLoad(const std::vector<NamedChannel>& channels, const LoadOptions& options)
      : options_(options),
        caller_(channels, options, queue_),
        slots_(options.max_outstanding),
        pacer_(options, tally_.start()) {
    for (EmbedCall& slot : slots_) {
      free_.push_back(&slot);
    }
  }

  absl::StatusOr<LoadReport> Run() {
    std::thread receiver([this] { Receive(); });
    for (std::size_t i = 0; const std::optional<Clock::time_point> due = pacer_.Next(); ++i) {
      Send(i, *due);
    }
    queue_.Shutdown();  // after the answers of what was sent
    receiver.join();
    if (!status_.ok()) {
      return status_;
    }
    tally_.CountDropped(pacer_.kept_back());
    return tally_.Finish();
  }

 private:
  void Send(std::size_t number, Clock::time_point due) {
    // Held until the call is on its way: the receiver, which takes it too, sees all of the call.
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      tally_.CountDropped(1);
      return;
    }
    EmbedCall& call = *free_.back();
    free_.pop_back();
    call.since = due;
    // Read before: an answer may be there before Start returns.
    tally_.CountSend(Clock::now() - due);
    caller_.Start(call, number, &call);
  }

  void Receive() {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
      const Clock::time_point now = Clock::now();
      EmbedCall& call = *static_cast<EmbedCall*>(tag);
      const std::lock_guard lock(mutex_);
      OnAnswer(call, now);
      free_.push_back(&call);
    }
  }

  void OnAnswer(EmbedCall& call, Clock::time_point now) {
    if (call.status.ok()) {
      tally_.CountAnswer(now - call.since);
      for (v1::EmbedResult& message : *call.response.mutable_results()) {
        tally_.CountImage(ToResult(std::move(message)));
      }
      return;
    }
    const absl::Status status = FromGrpc(call.status);
    if (absl::IsResourceExhausted(status) && RetryDelay(status)) {
      tally_.CountRefused();
    } else if (absl::IsDeadlineExceeded(status)) {
      tally_.CountFailed(status, options_.images_per_request);
    } else {
      status_.Update(status);
      pacer_.Stop();
    }
  }

  const LoadOptions& options_;
  grpc::CompletionQueue queue_;
  EmbedCaller caller_;
  std::vector<EmbedCall> slots_;
  std::mutex mutex_;
  std::vector<EmbedCall*> free_;
  LoadTally tally_;
  absl::Status status_;
  Pacer pacer_;
};

// One EmbedStream a channel. The caller's thread lines up what is due; a stream takes from its line
// as fast as the server reads.
class StreamLoad {
 public:
  StreamLoad(const std::vector<NamedChannel>& channels, const LoadOptions& options)
      : options_(options), lines_(channels.size()), pacer_(options, tally_.start()) {
    for (std::size_t i = 0; i < channels.size(); ++i) {
      lines_[i].channel = &channels[i];
    }
  }

  absl::StatusOr<LoadReport> Run() {
    std::vector<std::thread> threads;
    threads.reserve(lines_.size());
    for (Line& line : lines_) {
      threads.emplace_back([this, &line] { RunStream(line); });
    }
    for (std::size_t i = 0; const std::optional<Clock::time_point> due = pacer_.Next(); ++i) {
      LineUp(lines_[i % lines_.size()], *due);
    }
    Close();
    for (std::thread& thread : threads) {
      thread.join();
    }
    if (!status_.ok()) {
      return status_;
    }
    tally_.CountDropped(pacer_.kept_back());
    return tally_.Finish();
  }

 private:
  struct Line {
    const NamedChannel* channel = nullptr;
    std::deque<Clock::time_point> due;  // not yet sent
    std::map<std::uint64_t, Clock::time_point> waiting;
    std::uint64_t sent = 0;
  };

  void LineUp(Line& line, Clock::time_point due) {
    const std::lock_guard lock(mutex_);
    if (outstanding_ == options_.max_outstanding) {
      tally_.CountDropped(1);
      return;
    }
    ++outstanding_;
    line.due.push_back(due);
    changed_.notify_all();
  }

  void Close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  std::optional<absl::StatusOr<Image>> Next(Line& line) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || !line.due.empty(); });
    if (line.due.empty() || !status_.ok()) {
      return std::nullopt;
    }
    const Clock::time_point due = line.due.front();
    line.due.pop_front();
    line.waiting.emplace(line.sent++, due);
    tally_.CountSend(Clock::now() - due);
    return options_.images[turn_++ % options_.images.size()];
  }

  void OnResult(Line& line, const Result& result) {
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mutex_);
    tally_.CountAnswer(now - line.waiting.extract(result.index).mapped());
    tally_.CountImage(result);
    --outstanding_;
  }

  void RunStream(Line& line) {
    ClientOptions client = options_.client;
    client.max_attempts = 1;
    Connections connection({*line.channel});
    const absl::Status status = RunEmbedStream(
        connection, client, options_.embed, {.max_in_flight_images = options_.max_outstanding},
        [&] { return Next(line); }, [&](const Result& result) { OnResult(line, result); });
    const std::lock_guard lock(mutex_);
    status_.Update(status);
    if (!status_.ok()) {
      pacer_.Stop();
    }
  }

  const LoadOptions& options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Line> lines_;
  int outstanding_ = 0;
  bool closed_ = false;
  std::size_t turn_ = 0;
  LoadTally tally_;
  absl::Status status_;
  Pacer pacer_;
};

}  // namespace

absl::StatusOr<LoadReport> RunOpenLoad(const std::vector<NamedChannel>& channels,
                                       const LoadOptions& options) {
  return options.stream ? StreamLoad(channels, options).Run() : UnaryLoad(channels, options).Run();
}

}  // namespace pixembed::client
