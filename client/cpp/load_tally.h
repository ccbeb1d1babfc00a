// What came back of a load, so far.
#ifndef PIXEMBED_CLIENT_CPP_LOAD_TALLY_H_
#define PIXEMBED_CLIENT_CPP_LOAD_TALLY_H_

#include <chrono>
#include <cstdint>

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "client/cpp/latencies.h"
#include "client/cpp/load.h"

namespace pixembed::client {

// One thread at a time.
class LoadTally {
 public:
  using Clock = std::chrono::steady_clock;

  // The load begins now.
  LoadTally();

  Clock::time_point start() const { return start_; }

  // Counts an image with its vector, or with the reason that it has none.
  void CountImage(const Result& result);
  // Counts `images` that have no vector for this reason.
  void CountFailed(const absl::Status& status, std::uint64_t images);
  // A request (stream: an image) was answered `latency` after it was sent or due.
  void CountAnswer(std::chrono::nanoseconds latency);
  // An arrival of an open loop was sent so long after it was due.
  void CountSend(std::chrono::nanoseconds delay);
  void CountRefused() { ++report_.refused; }
  void CountDropped(std::uint64_t requests) { report_.dropped += requests; }

  // The load ends now. Once.
  LoadReport Finish();

 private:
  const Clock::time_point start_;
  const std::chrono::nanoseconds start_cpu_;
  LoadReport report_;
  Latencies latencies_;
  Latencies send_delays_;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_LOAD_TALLY_H_
