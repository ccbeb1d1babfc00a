#include "client/cpp/arrivals.h"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>

namespace pixembed::client {

ArrivalTimes::ArrivalTimes(Arrivals arrivals, double rate, std::uint64_t seed)
    : arrivals_(arrivals), mean_gap_(1 / rate), random_(seed) {}

std::chrono::nanoseconds ArrivalTimes::Next() {
  ++count_;
  if (arrivals_ == Arrivals::kUniform) {
    time_ = static_cast<double>(count_) * mean_gap_;
  } else {
    // Not std::exponential_distribution, whose numbers differ between libraries. In (0, 1].
    const double uniform = static_cast<double>((random_() >> 11) + 1) * 0x1p-53;
    time_ -= mean_gap_ * std::log(uniform);
  }
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(time_));
}

std::uint64_t ArrivalTimes::CountIn(std::chrono::nanoseconds time) const {
  return static_cast<std::uint64_t>(
      std::ceil(std::chrono::duration<double>(time).count() / mean_gap_));
}

Schedule::Schedule(const ArrivalTimes& times, std::uint64_t requests,
                   std::chrono::nanoseconds duration, std::uint64_t max_late)
    : times_(times), requests_(requests), duration_(duration), max_late_(max_late) {}

std::optional<std::chrono::nanoseconds> Schedule::Next(std::chrono::nanoseconds now) {
  const std::chrono::nanoseconds time = times_.Next();
  if (requests_ != 0) {
    return count_++ < requests_ ? std::optional(time) : std::nullopt;
  }
  if (time >= duration_) {
    return std::nullopt;
  }
  if (now >= duration_ && late_++ == max_late_) {
    kept_back_ = times_.CountIn(duration_ - time);
    return std::nullopt;
  }
  return time;
}

}  // namespace pixembed::client
