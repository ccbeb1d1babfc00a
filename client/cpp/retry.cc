#include "client/cpp/retry.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <stop_token>
#include <string>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "client/cpp/client.h"
#include "client/cpp/status.h"
#include "grpcpp/alarm.h"
#include "grpcpp/completion_queue.h"

namespace pixembed::client {
namespace {

using std::chrono::nanoseconds;

constexpr std::chrono::milliseconds kFirstBackoff(50);
constexpr std::chrono::milliseconds kLongestBackoff(1000);
constexpr std::chrono::minutes kPatience(1);  // where nobody said for how long

nanoseconds Jittered(nanoseconds delay) {
  absl::BitGen random;
  return std::chrono::duration_cast<nanoseconds>(delay * absl::Uniform(random, 1.0, 1.5));
}

// After so many failures.
nanoseconds Backoff(int failures) {
  if (failures == 0) {
    return nanoseconds(0);
  }
  return std::min(kLongestBackoff, kFirstBackoff * (1 << std::min(failures - 1, 10)));
}

// Whether a call failed because its server went away.
bool IsAway(const absl::Status& failure) {
  return absl::IsUnavailable(failure) || absl::IsCancelled(failure);
}

// Whether a connection failed for what waiting does not change: a certificate that does not fit, or
// a server without TLS. gRPC tells it only in words.
bool NeverHeals(const absl::Status& failure) {
  return absl::IsUnavailable(failure) &&
         (absl::StrContains(failure.message(), "Ssl handshake failed: SSL_ERROR_SSL") ||
          absl::StrContains(failure.message(), "is not in peer certificate"));
}

}  // namespace

RetryClock::time_point DeadlineAfter(std::chrono::milliseconds timeout) {
  return timeout.count() == 0 ? RetryClock::time_point::max() : RetryClock::now() + timeout;
}

void WaitUntil(RetryClock::time_point time, const std::stop_token& stop) {
  grpc::CompletionQueue timer;
  grpc::Alarm alarm;
  alarm.Set(&timer, time, nullptr);
  const std::stop_callback cancel(stop, [&] { alarm.Cancel(); });
  timer.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (timer.Next(&tag, &ok)) {
  }
}

Attempts::Attempts(std::optional<int> most, std::size_t addresses, bool is_stream)
    : most_(most), addresses_(addresses), is_stream_(is_stream) {}

Attempts Attempts::OfCall(const ClientOptions& options, std::size_t addresses,
                          RetryClock::time_point deadline, std::optional<int> most) {
  Attempts attempts(options.max_attempts ? options.max_attempts : most, addresses,
                    /*is_stream=*/false);
  attempts.call_deadline_ = attempts.deadline_ = deadline;
  if (!attempts.most_ && deadline == RetryClock::time_point::max()) {
    attempts.patience_ = kPatience;
  }
  return attempts;
}

Attempts Attempts::OfStream(const ClientOptions& options, std::size_t addresses) {
  Attempts attempts(options.max_attempts, addresses, /*is_stream=*/true);
  attempts.only_until_result_ = !options.max_attempts && options.timeout.count() == 0;
  attempts.patience_ = attempts.only_until_result_ ? kPatience : options.timeout;
  return attempts;
}

void Attempts::BeginAnew() {
  if (only_until_result_) {
    patience_ = std::chrono::milliseconds(0);
  }
  deadline_ = call_deadline_;
  made_ = 0;
  failed_ = 0;
  failed_addresses_.clear();
}

std::optional<nanoseconds> Attempts::Pause(const absl::Status& failure, const std::string& address,
                                           bool answered, RetryClock::time_point now) {
  if (failed_ == 0 && patience_.count() != 0) {
    deadline_ = std::min(call_deadline_, now + patience_);
  }
  ++failed_;
  if (!is_stream_ || ErrorReason(failure) != "DRAINING" || most_ == 1) {
    ++made_;
  }
  if (IsAway(failure)) {
    failed_addresses_.insert(address);
  }
  const bool elsewhere = failed_addresses_.size() < addresses_;
  if (!elsewhere) {
    failed_addresses_.clear();
  }
  const nanoseconds left = deadline_ - now;
  const std::optional<nanoseconds> delay = Delay(failure, elsewhere, left);
  const std::optional<int> most = most_ || answered ? most_ : kProbes;
  if ((most && made_ >= *most) || !delay) {
    return std::nullopt;
  }
  const nanoseconds pause = Jittered(*delay);
  return pause < left ? std::optional(pause) : std::nullopt;
}

std::optional<nanoseconds> Attempts::Delay(const absl::Status& failure, bool elsewhere,
                                           nanoseconds left) const {
  const bool away = IsAway(failure);
  const std::optional<nanoseconds> named = RetryDelay(failure);
  if (named && (away || absl::IsResourceExhausted(failure))) {
    // Who is refused again and again asks less often, though the server names a short time.
    return std::max(*named, Backoff(failed_ - 1));
  }
  if (!away) {
    return std::nullopt;
  }
  if (elsewhere) {
    return nanoseconds(0);
  }
  if (NeverHeals(failure)) {
    return std::nullopt;
  }
  // The last tries are not lost to a long pause.
  return std::min(Backoff(failed_), std::max<nanoseconds>(kFirstBackoff, left / 2));
}

}  // namespace pixembed::client
