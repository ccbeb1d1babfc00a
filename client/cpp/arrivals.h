// When the requests of an open loop are due.
#ifndef PIXEMBED_CLIENT_CPP_ARRIVALS_H_
#define PIXEMBED_CLIENT_CPP_ARRIVALS_H_

#include <chrono>
#include <cstdint>
#include <optional>
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

  // How many come in so long on average, rounded up.
  std::uint64_t CountIn(std::chrono::nanoseconds time) const;

 private:
  const Arrivals arrivals_;
  const double mean_gap_;  // seconds
  std::mt19937_64 random_;
  std::uint64_t count_ = 0;
  double time_ = 0;  // seconds
};

// The arrivals of one load. One thread at a time.
class Schedule {
 public:
  // `requests` of them; 0: those of `duration`. Once that is over at most `max_late` more are
  // given: a rate that nothing can draw in time must not keep the load from its end.
  Schedule(const ArrivalTimes& times, std::uint64_t requests, std::chrono::nanoseconds duration,
           std::uint64_t max_late);

  // When the next arrival is due; nothing after the last. Both times count from the start.
  std::optional<std::chrono::nanoseconds> Next(std::chrono::nanoseconds now);

  // How many of the duration were kept back; counted by the rate, for they were not drawn.
  std::uint64_t kept_back() const { return kept_back_; }

 private:
  ArrivalTimes times_;
  const std::uint64_t requests_;  // 0: by time
  const std::chrono::nanoseconds duration_;
  const std::uint64_t max_late_;
  std::uint64_t count_ = 0;
  std::uint64_t late_ = 0;
  std::uint64_t kept_back_ = 0;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_ARRIVALS_H_
