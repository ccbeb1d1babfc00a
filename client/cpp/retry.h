// When a failed call is tried again, and after which pause.
#ifndef PIXEMBED_CLIENT_CPP_RETRY_H_
#define PIXEMBED_CLIENT_CPP_RETRY_H_

#include <chrono>
#include <optional>
#include <stop_token>

#include "absl/status/status.h"
#include "client/cpp/client.h"

namespace pixembed::client {

using RetryClock = std::chrono::system_clock;

// Zero: never.
RetryClock::time_point DeadlineAfter(std::chrono::milliseconds timeout);

// Up to half longer, at random, so that callers who were refused together do not come back
// together.
std::chrono::nanoseconds Jittered(std::chrono::nanoseconds delay);

// Blocks until `time` or a stop, on gRPC's timer.
void WaitUntil(RetryClock::time_point time, const std::stop_token& stop = {});

// The tries of one stream since its last result. UNAVAILABLE is tried again with growing pauses
// (and CANCELLED, with which gRPC itself ends calls when a server stops between two of its steps),
// and what says when (RetryInfo) after that.
class StreamAttempts {
 public:
  // Of these `max_attempts` and `timeout`.
  explicit StreamAttempts(const ClientOptions& options);

  // With every result: the next failure is the first, and the time counts from there.
  void BeginAnew();

  // Before the next try; nothing: there shall be none. `elsewhere`: another address has not failed.
  std::optional<std::chrono::nanoseconds> Pause(const absl::Status& failure, bool elsewhere);

  // When it is given up.
  RetryClock::time_point deadline() const {
    return deadline_.value_or(RetryClock::time_point::max());
  }

 private:
  std::optional<std::chrono::nanoseconds> Delay(const absl::Status& failure, bool elsewhere) const;

  const int most_;
  const std::chrono::milliseconds timeout_;
  int made_ = 0;    // without those that met a server that drains: that ends by itself
  int failed_ = 0;  // all
  std::optional<RetryClock::time_point> deadline_;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_RETRY_H_
