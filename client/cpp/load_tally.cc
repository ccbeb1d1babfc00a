#include "client/cpp/load_tally.h"

#include <sys/resource.h>
#include <sys/time.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "client/cpp/load.h"

namespace pixembed::client {
namespace {

// User and system time of this process so far.
std::chrono::nanoseconds CpuTime() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto time = [](const timeval& value) {
    return std::chrono::seconds(value.tv_sec) + std::chrono::microseconds(value.tv_usec);
  };
  return time(usage.ru_utime) + time(usage.ru_stime);
}

}  // namespace

LoadTally::LoadTally() : start_(Clock::now()), start_cpu_(CpuTime()) {}

void LoadTally::CountImage(const Result& result) {
  if (result.embedding.ok()) {
    ++report_.images;
  } else {
    CountFailed(result.embedding.status(), 1);
  }
}

void LoadTally::CountFailed(const absl::Status& status, std::uint64_t images) {
  const std::string reason = ErrorReason(status);
  report_.failed_images[reason.empty() ? absl::StatusCodeToString(status.code()) : reason] +=
      images;
}

void LoadTally::CountAnswer(std::chrono::nanoseconds latency) {
  ++report_.requests;
  latencies_.Add(latency);
}

void LoadTally::CountSend(std::chrono::nanoseconds delay) { send_delays_.Add(delay); }

LoadReport LoadTally::Finish() {
  report_.elapsed = Clock::now() - start_;
  report_.client_cpu = CpuTime() - start_cpu_;
  report_.mean = latencies_.Mean();
  for (std::size_t i = 0; i < kPercentiles.size(); ++i) {
    report_.percentiles[i] = latencies_.Percentile(kPercentiles[i].second);
  }
  report_.histogram = latencies_.Histogram();
  report_.send_delay_p99 = send_delays_.Percentile(0.99);
  report_.send_delay_max = send_delays_.Percentile(1.0);
  return std::move(report_);
}

}  // namespace pixembed::client
