#include "client/cpp/arrivals.h"

#include <chrono>
#include <cmath>
#include <cstdint>

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

}  // namespace pixembed::client
