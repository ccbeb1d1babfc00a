#include "client/cpp/retry.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <stop_token>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "client/cpp/status.h"
#include "grpcpp/alarm.h"
#include "grpcpp/completion_queue.h"

namespace pixembed::client {

RetryClock::time_point DeadlineAfter(std::chrono::milliseconds timeout) {
  return timeout.count() == 0 ? RetryClock::time_point::max() : RetryClock::now() + timeout;
}

std::chrono::nanoseconds Jittered(std::chrono::nanoseconds delay) {
  absl::BitGen random;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(delay *
                                                              absl::Uniform(random, 1.0, 1.5));
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

StreamAttempts::StreamAttempts(const ClientOptions& options)
    : most_(options.max_attempts), timeout_(options.timeout) {}

void StreamAttempts::BeginAnew() {
  made_ = 0;
  failed_ = 0;
  deadline_.reset();
}

std::optional<std::chrono::nanoseconds> StreamAttempts::Pause(const absl::Status& failure,
                                                              bool elsewhere) {
  if (!deadline_) {
    deadline_ = DeadlineAfter(timeout_);
  }
  ++failed_;
  if (ErrorReason(failure) != "DRAINING" || most_ == 1) {
    ++made_;
  }
  const std::optional<std::chrono::nanoseconds> delay = Delay(failure, elsewhere);
  if (made_ >= most_ || !delay) {
    return std::nullopt;
  }
  const std::chrono::nanoseconds pause = Jittered(*delay);
  return pause < *deadline_ - RetryClock::now() ? std::optional(pause) : std::nullopt;
}

std::optional<std::chrono::nanoseconds> StreamAttempts::Delay(const absl::Status& failure,
                                                              bool elsewhere) const {
  const bool away = absl::IsUnavailable(failure) || absl::IsCancelled(failure);
  const std::optional<std::chrono::nanoseconds> named = RetryDelay(failure);
  if (named && (away || absl::IsResourceExhausted(failure))) {
    return named;
  }
  if (!away) {
    return std::nullopt;
  }
  if (elsewhere) {
    return std::chrono::nanoseconds(0);
  }
  constexpr std::chrono::milliseconds kFirst(50);
  constexpr std::chrono::milliseconds kLongest(1000);
  return std::min(kLongest, kFirst * (1 << std::min(failed_ - 1, 10)));
}

}  // namespace pixembed::client
