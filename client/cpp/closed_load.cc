#include "client/cpp/closed_load.h"

#include <chrono>
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
#include "client/cpp/channel.h"
#include "client/cpp/client.h"
#include "client/cpp/connections.h"
#include "client/cpp/embed_call.h"
#include "client/cpp/load.h"
#include "client/cpp/load_tally.h"
#include "client/cpp/result.h"
#include "client/cpp/status.h"
#include "client/cpp/stream.h"
#include "grpcpp/alarm.h"
#include "grpcpp/completion_queue.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

using Clock = std::chrono::steady_clock;

// Counts down what is left to send. One thread at a time.
class Budget {
 public:
  Budget(const LoadOptions& options, Clock::time_point start)
      : requests_(options.requests), end_(start + options.duration) {}

  // Whether one more may be sent.
  bool Take() {
    if (requests_ == 0) {
      return Clock::now() < end_;
    }
    return taken_++ < requests_;
  }

 private:
  const std::uint64_t requests_;  // 0: by time
  const Clock::time_point end_;
  std::uint64_t taken_ = 0;
};

// `concurrency` slots on one completion queue, each with one Embed on its way or a pause.
class UnaryLoad {
 public:
  UnaryLoad(const std::vector<NamedChannel>& channels, const LoadOptions& options)
      : options_(options), caller_(channels, options, queue_), budget_(options, tally_.start()) {}

  absl::StatusOr<LoadReport> Run() {
    for (int i = 0; i < options_.concurrency; ++i) {
      slots_.emplace_back().channel = i;
      Send(slots_.back());
    }
    void* tag = nullptr;
    bool ok = false;
    while (busy_ > 0 && queue_.Next(&tag, &ok)) {
      Slot& slot = *static_cast<Slot*>(tag);
      --busy_;
      if (std::exchange(slot.pausing, false)) {
        Send(slot);
      } else {
        OnAnswer(slot);
      }
    }
    queue_.Shutdown();
    while (queue_.Next(&tag, &ok)) {
    }
    if (!status_.ok()) {
      return status_;
    }
    return tally_.Finish();
  }

 private:
  struct Slot {
    std::size_t channel = 0;
    EmbedCall call;
    grpc::Alarm alarm;
    bool pausing = false;
    // The request was refused and is counted already.
    bool again = false;
  };

  void Send(Slot& slot) {
    if (!status_.ok() || (!std::exchange(slot.again, false) && !budget_.Take())) {
      return;
    }
    slot.call.since = Clock::now();
    caller_.Start(slot.call, slot.channel, &slot);
    ++busy_;
  }

  void Pause(Slot& slot, std::chrono::nanoseconds time) {
    slot.pausing = true;
    slot.alarm.Set(&queue_,
                   std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(time),
                   &slot);
    ++busy_;
  }

  void OnAnswer(Slot& slot) {
    const Clock::time_point now = Clock::now();
    if (!slot.call.status.ok()) {
      OnRefusal(slot);
      return;
    }
    tally_.CountAnswer(now - slot.call.since);
    for (v1::EmbedResult& message : *slot.call.response.mutable_results()) {
      tally_.CountImage(ToResult(std::move(message)));
    }
    SendNext(slot);
  }

  void SendNext(Slot& slot) {
    if (options_.idle_gap.count() > 0) {
      Pause(slot, options_.idle_gap);
    } else {
      Send(slot);
    }
  }

  void OnRefusal(Slot& slot) {
    const absl::Status status = FromGrpc(slot.call.status);
    const std::optional<std::chrono::nanoseconds> delay = RetryDelay(status);
    if (absl::IsResourceExhausted(status) && delay) {
      tally_.CountRefused();
      slot.again = true;
      Pause(slot, *delay);
    } else if (absl::IsDeadlineExceeded(status)) {
      tally_.CountFailed(status, options_.images_per_request);
      SendNext(slot);
    } else {
      status_.Update(status);
    }
  }

  const LoadOptions& options_;
  grpc::CompletionQueue queue_;
  EmbedCaller caller_;
  LoadTally tally_;
  Budget budget_;
  std::deque<Slot> slots_;
  int busy_ = 0;  // events to come
  absl::Status status_;
};

// One EmbedStream a channel, each with its share of `concurrency` images on their way.
class StreamLoad {
 public:
  StreamLoad(const std::vector<NamedChannel>& channels, const LoadOptions& options)
      : channels_(channels), options_(options), budget_(options, tally_.start()) {}

  absl::StatusOr<LoadReport> Run() {
    std::vector<std::thread> threads;
    threads.reserve(channels_.size());
    for (const NamedChannel& named : channels_) {
      threads.emplace_back([this, &named] { RunStream(named); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    if (!status_.ok()) {
      return status_;
    }
    return tally_.Finish();
  }

 private:
  void RunStream(const NamedChannel& named) {
    ClientOptions client = options_.client;
    client.max_attempts = 1;
    Connections connection({named});
    std::uint64_t count = 0;
    std::map<std::uint64_t, Clock::time_point> waiting;
    const auto next = [&]() -> std::optional<absl::StatusOr<Image>> {
      const std::lock_guard lock(mutex_);
      if (!status_.ok() || !budget_.Take()) {
        return std::nullopt;
      }
      waiting.emplace(count++, Clock::now());
      return options_.images[turn_++ % options_.images.size()];
    };
    const auto on_result = [&](const Result& result) {
      const Clock::time_point now = Clock::now();
      const std::lock_guard lock(mutex_);
      tally_.CountAnswer(now - waiting.extract(result.index).mapped());
      tally_.CountImage(result);
    };
    const int streams = static_cast<int>(channels_.size());
    const absl::Status status = RunEmbedStream(
        connection, client, options_.embed,
        {.max_in_flight_images = (options_.concurrency + streams - 1) / streams}, next, on_result);
    const std::lock_guard lock(mutex_);
    status_.Update(status);
  }

  const std::vector<NamedChannel>& channels_;
  const LoadOptions& options_;
  std::mutex mutex_;
  LoadTally tally_;
  Budget budget_;
  std::size_t turn_ = 0;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<LoadReport> RunClosedLoad(const std::vector<NamedChannel>& channels,
                                         const LoadOptions& options) {
  return options.stream ? StreamLoad(channels, options).Run() : UnaryLoad(channels, options).Run();
}

}  // namespace pixembed::client
