#include "client/cpp/load.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cpp/channel.h"
#include "client/cpp/client.h"
#include "client/cpp/result.h"
#include "client/cpp/status.h"
#include "client/cpp/stream.h"
#include "grpcpp/alarm.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "nlohmann/json.hpp"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

using Clock = std::chrono::steady_clock;

double Milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

absl::Status CheckOptions(const LoadOptions& options) {
  if (options.images.empty()) {
    return absl::InvalidArgumentError("no image to send");
  }
  if (options.concurrency < 1 || options.images_per_request < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("concurrency is ", options.concurrency, " and images_per_request ",
                     options.images_per_request, "; both must be at least 1"));
  }
  if (options.stream && (options.images_per_request > 1 || options.idle_gap.count() != 0)) {
    return absl::InvalidArgumentError(
        "images_per_request and idle_gap are for unary requests, not for a stream");
  }
  return absl::OkStatus();
}

// Counts down what is left to send. One thread at a time.
class Budget {
 public:
  explicit Budget(const LoadOptions& options)
      : requests_(options.requests), duration_(options.duration) {}

  // Starts the time, once, and returns when that was.
  Clock::time_point Begin() {
    const Clock::time_point start = Clock::now();
    end_ = start + duration_;
    return start;
  }

  // Whether one more may be sent.
  bool Take() {
    if (requests_ == 0) {
      return Clock::now() < end_;
    }
    return taken_++ < requests_;
  }

 private:
  const std::uint64_t requests_;  // 0: by time
  const Clock::duration duration_;
  Clock::time_point end_;
  std::uint64_t taken_ = 0;
};

// What came back, so far. One thread at a time.
struct Tally {
  LoadReport report;
  Latencies latencies;

  void CountImage(const Result& result) {
    if (result.embedding.ok()) {
      ++report.images;
      return;
    }
    const absl::Status& status = result.embedding.status();
    const std::string reason = ErrorReason(status);
    ++report.failed_images[reason.empty() ? absl::StatusCodeToString(status.code()) : reason];
  }

  LoadReport Finish(Clock::time_point start) {
    report.elapsed = Clock::now() - start;
    report.mean = latencies.Mean();
    for (std::size_t i = 0; i < kPercentiles.size(); ++i) {
      report.percentiles[i] = latencies.Percentile(kPercentiles[i].second);
    }
    return std::move(report);
  }
};

// `concurrency` slots on one completion queue, each with one Embed on its way or a pause.
class UnaryLoad {
 public:
  UnaryLoad(const std::vector<NamedChannel>& channels, const LoadOptions& options)
      : options_(options), budget_(options), requests_(MakeRequests(options)) {
    for (const NamedChannel& named : channels) {
      stubs_.push_back(v1::EmbeddingService::NewStub(named.channel));
    }
  }

  absl::StatusOr<LoadReport> Run() {
    const Clock::time_point start = budget_.Begin();
    for (int i = 0; i < options_.concurrency; ++i) {
      slots_.emplace_back().stub = stubs_[i % stubs_.size()].get();
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
    return tally_.Finish(start);
  }

 private:
  struct Slot {
    v1::EmbeddingService::Stub* stub = nullptr;
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<v1::EmbedResponse>> reader;
    v1::EmbedResponse response;
    grpc::Status status;
    Clock::time_point sent;
    grpc::Alarm alarm;
    bool pausing = false;
    // The request was refused and is counted already.
    bool again = false;
  };

  // Made once: together they hold every image about once.
  static std::vector<v1::EmbedRequest> MakeRequests(const LoadOptions& options) {
    const std::size_t images = options.images.size();
    const std::size_t per_request = options.images_per_request;
    std::vector<v1::EmbedRequest> requests((images + per_request - 1) / per_request);
    std::size_t i = 0;
    for (v1::EmbedRequest& request : requests) {
      SetOptions(options.embed, /*ordered=*/false, request);
      for (std::size_t j = 0; j < per_request; ++j) {
        request.add_images()->set_data(options.images[i++ % images].data);
      }
    }
    return requests;
  }

  void Send(Slot& slot) {
    if (!status_.ok() || (!std::exchange(slot.again, false) && !budget_.Take())) {
      return;
    }
    slot.context = std::make_unique<grpc::ClientContext>();
    if (options_.client.timeout.count() > 0) {
      slot.context->set_deadline(std::chrono::system_clock::now() + options_.client.timeout);
    }
    slot.response.Clear();
    slot.sent = Clock::now();
    slot.reader =
        slot.stub->AsyncEmbed(slot.context.get(), requests_[turn_++ % requests_.size()], &queue_);
    slot.reader->Finish(&slot.response, &slot.status, &slot);
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
    if (!slot.status.ok()) {
      OnRefusal(slot);
      return;
    }
    ++tally_.report.requests;
    tally_.latencies.Add(now - slot.sent);
    for (v1::EmbedResult& message : *slot.response.mutable_results()) {
      tally_.CountImage(ToResult(std::move(message)));
    }
    if (options_.idle_gap.count() > 0) {
      Pause(slot, options_.idle_gap);
    } else {
      Send(slot);
    }
  }

  void OnRefusal(Slot& slot) {
    const absl::Status status = FromGrpc(slot.status);
    const std::optional<std::chrono::nanoseconds> delay = RetryDelay(status);
    if (!absl::IsResourceExhausted(status) || !delay) {
      status_.Update(status);
      return;
    }
    ++tally_.report.refused;
    slot.again = true;
    Pause(slot, *delay);
  }

  const LoadOptions& options_;
  Budget budget_;
  const std::vector<v1::EmbedRequest> requests_;
  std::size_t turn_ = 0;
  std::vector<std::unique_ptr<v1::EmbeddingService::Stub>> stubs_;
  grpc::CompletionQueue queue_;
  std::deque<Slot> slots_;
  int busy_ = 0;  // events to come
  Tally tally_;
  absl::Status status_;
};

// One EmbedStream a channel, each with its share of `concurrency` images on their way.
class StreamLoad {
 public:
  StreamLoad(const std::vector<NamedChannel>& channels, const LoadOptions& options)
      : channels_(channels), options_(options), budget_(options) {}

  absl::StatusOr<LoadReport> Run() {
    const Clock::time_point start = budget_.Begin();
    std::vector<std::thread> threads;
    for (const NamedChannel& named : channels_) {
      threads.emplace_back([this, &named] { RunStream(named); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    if (!status_.ok()) {
      return status_;
    }
    return tally_.Finish(start);
  }

 private:
  void RunStream(const NamedChannel& named) {
    const auto stub = v1::EmbeddingService::NewStub(named.channel);
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
      ++tally_.report.requests;
      tally_.CountImage(result);
      tally_.latencies.Add(now - waiting.extract(result.index).mapped());
    };
    const int streams = static_cast<int>(channels_.size());
    const absl::Status status = RunEmbedStream(
        *stub, options_.client.max_message_bytes, options_.embed,
        {.max_in_flight_images = (options_.concurrency + streams - 1) / streams}, next, on_result);
    const std::lock_guard lock(mutex_);
    status_.Update(status);
  }

  const std::vector<NamedChannel>& channels_;
  const LoadOptions& options_;
  std::mutex mutex_;
  Budget budget_;
  std::size_t turn_ = 0;
  Tally tally_;
  absl::Status status_;
};

}  // namespace

void Latencies::Add(std::chrono::nanoseconds latency) {
  ++count_;
  sum_ += static_cast<double>(latency.count());
  if (sample_.size() < kCapacity) {
    sample_.push_back(latency);
    sorted_ = false;
  } else if (const std::uint64_t place =
                 std::uniform_int_distribution<std::uint64_t>(0, count_ - 1)(random_);
             place < kCapacity) {
    sample_[place] = latency;
    sorted_ = false;
  }
}

std::chrono::nanoseconds Latencies::Percentile(double share) {
  if (sample_.empty()) {
    return std::chrono::nanoseconds(0);
  }
  if (!std::exchange(sorted_, true)) {
    std::sort(sample_.begin(), sample_.end());
  }
  const auto rank =
      static_cast<std::size_t>(std::ceil(share * static_cast<double>(sample_.size())));
  return sample_[std::clamp<std::size_t>(rank, 1, sample_.size()) - 1];
}

std::chrono::nanoseconds Latencies::Mean() const {
  return std::chrono::nanoseconds(
      count_ == 0 ? 0 : static_cast<std::int64_t>(sum_ / static_cast<double>(count_)));
}

double LoadReport::ImagesPerSecond() const {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  return seconds > 0 ? static_cast<double>(images) / seconds : 0.0;
}

absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options) {
  if (absl::Status status = CheckOptions(options); !status.ok()) {
    return status;
  }
  ClientOptions client = options.client;
  client.max_attempts = 1;
  const std::vector<NamedChannel> channels = MakeChannels(options.addresses, client);
  // The first request shall not pay for the connection.
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(10);
  for (const NamedChannel& named : channels) {
    if (!named.channel->WaitForConnected(deadline)) {
      return absl::DeadlineExceededError(
          absl::StrCat(named.address, ": no connection within 10 s"));
    }
  }
  return options.stream ? StreamLoad(channels, options).Run() : UnaryLoad(channels, options).Run();
}

std::string ToText(const LoadReport& report) {
  std::string text = absl::StrFormat(
      "%.1f images/s: %d images in %.2f s; %d requests, %d refused for a while\nlatency, ms: mean "
      "%.2f",
      report.ImagesPerSecond(), report.images, Milliseconds(report.elapsed) / 1000, report.requests,
      report.refused, Milliseconds(report.mean));
  for (std::size_t i = 0; i < kPercentiles.size(); ++i) {
    absl::StrAppendFormat(&text, ", %s %.2f", kPercentiles[i].first,
                          Milliseconds(report.percentiles[i]));
  }
  text += '\n';
  for (const auto& [reason, count] : report.failed_images) {
    absl::StrAppendFormat(&text, "failed: %d images, %s\n", count, reason);
  }
  return text;
}

std::string ToJson(const LoadReport& report) {
  nlohmann::ordered_json json = {{"images_per_second", report.ImagesPerSecond()},
                                 {"images", report.images},
                                 {"seconds", Milliseconds(report.elapsed) / 1000},
                                 {"requests", report.requests},
                                 {"refused", report.refused},
                                 {"failed_images", report.failed_images}};
  json["latency_ms"]["mean"] = Milliseconds(report.mean);
  for (std::size_t i = 0; i < kPercentiles.size(); ++i) {
    json["latency_ms"][kPercentiles[i].first] = Milliseconds(report.percentiles[i]);
  }
  return json.dump() + "\n";
}

}  // namespace pixembed::client
