#include "client/cpp/latencies.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

namespace pixembed::client {

using std::chrono::nanoseconds;

void Latencies::Add(nanoseconds latency) {
  ++count_;
  sum_ += static_cast<double>(latency.count());
  if (sample_.size() < kCapacity) {
    sample_.push_back(latency);
    sorted_ = false;
  } else if (const std::uint64_t place =
                 std::uniform_int_distribution<std::uint64_t>(0, count_ - 1)(random_);
             place < kCapacity) {
    sample_[place] = latency;
    sorted_ = false;
  }
}

nanoseconds Latencies::Percentile(double share) {
  if (sample_.empty()) {
    return nanoseconds(0);
  }
  if (!std::exchange(sorted_, true)) {
    std::sort(sample_.begin(), sample_.end());
  }
  const auto rank =
      static_cast<std::size_t>(std::ceil(share * static_cast<double>(sample_.size())));
  return sample_[std::clamp<std::size_t>(rank, 1, sample_.size()) - 1];
}

nanoseconds Latencies::Mean() const {
  return nanoseconds(count_ == 0 ? 0
                                 : static_cast<std::int64_t>(sum_ / static_cast<double>(count_)));
}

std::vector<std::pair<nanoseconds, std::uint64_t>> Latencies::Histogram() const {
  const double log_ratio = std::log(kBucketRatio);
  std::map<int, std::uint64_t> counts;
  for (const nanoseconds latency : sample_) {
    const double length = std::max(1.0, static_cast<double>(latency.count()));
    ++counts[static_cast<int>(std::ceil(std::log(length) / log_ratio))];
  }
  std::vector<std::pair<nanoseconds, std::uint64_t>> histogram;
  histogram.reserve(counts.size());
  for (const auto& [bucket, count] : counts) {
    histogram.emplace_back(static_cast<std::int64_t>(std::floor(std::pow(kBucketRatio, bucket))),
                           count);
  }
  return histogram;
}

}  // namespace pixembed::client
