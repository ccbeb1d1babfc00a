// Latencies of any number of requests in bounded memory.
#ifndef PIXEMBED_CLIENT_CPP_LATENCIES_H_
#define PIXEMBED_CLIENT_CPP_LATENCIES_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace pixembed::client {

// All of them up to kCapacity, a uniform sample beyond. One thread at a time.
class Latencies {
 public:
  static constexpr std::size_t kCapacity = 1'000'000;
  // A bucket of the histogram is so much wider than the one before.
  static constexpr double kBucketRatio = 1.01;

  void Add(std::chrono::nanoseconds latency);
  std::uint64_t count() const { return count_; }
  // Of the sample, nearest rank; 0 <= share <= 1; 0 of none.
  std::chrono::nanoseconds Percentile(double share);
  // Of all.
  std::chrono::nanoseconds Mean() const;
  // Of the sample: how many were at most so long and longer than the bucket before, from short to
  // long, without empty buckets. Histograms of several runs may be added.
  std::vector<std::pair<std::chrono::nanoseconds, std::uint64_t>> Histogram() const;

 private:
  std::vector<std::chrono::nanoseconds> sample_;
  bool sorted_ = true;
  std::uint64_t count_ = 0;
  double sum_ = 0;  // nanoseconds
  std::mt19937_64 random_{0x9E3779B97F4A7C15};
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_LATENCIES_H_
