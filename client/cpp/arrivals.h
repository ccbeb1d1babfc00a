// When the requests of an open loop are due.
#ifndef PIXEMBED_CLIENT_CPP_ARRIVALS_H_
#define PIXEMBED_CLIENT_CPP_ARRIVALS_H_

#include <chrono>
#include <cstdint>
#include <random>

namespace pixembed::client {

enum class Arrivals {
  // Independent of each other: exponential gaps, as of many callers who know nothing of each other.
  kPoisson,
  // Equal gaps.
  kUniform,
};

// The same seed gives the same times on every machine. One thread at a time.
class ArrivalTimes {
 public:
  // REQUIRES: rate > 0; arrivals a second.
  ArrivalTimes(Arrivals arrivals, double rate, std::uint64_t seed);

  // Of the next arrival, from the start; the first comes after a gap.
  std::chrono::nanoseconds Next();

 private:
  const Arrivals arrivals_;
  const double mean_gap_;  // seconds
  std::mt19937_64 random_;
  std::uint64_t count_ = 0;
  double time_ = 0;  // seconds
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_ARRIVALS_H_
