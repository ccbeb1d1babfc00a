#include "client/cpp/latencies.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace pixembed::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(Latencies, PercentilesAreNearestRanksAndTheMeanIsOfAll) {
  Latencies latencies;
  EXPECT_EQ(latencies.Percentile(0.5), milliseconds(0));
  EXPECT_EQ(latencies.Mean(), milliseconds(0));
  for (int i = 100; i >= 1; --i) {
    latencies.Add(milliseconds(i));
  }
  EXPECT_EQ(latencies.Percentile(0), milliseconds(1));
  EXPECT_EQ(latencies.Percentile(0.5), milliseconds(50));
  EXPECT_EQ(latencies.Percentile(0.99), milliseconds(99));
  EXPECT_EQ(latencies.Percentile(1), milliseconds(100));
  EXPECT_EQ(latencies.Mean(), std::chrono::microseconds(50'500));
}

TEST(Latencies, BeyondTheCapacityASampleStaysAndTheCountGoesOn) {
  Latencies latencies;
  for (std::size_t i = 0; i < Latencies::kCapacity; ++i) {
    latencies.Add(milliseconds(1));
  }
  for (std::size_t i = 0; i < Latencies::kCapacity; ++i) {
    latencies.Add(milliseconds(3));
  }
  EXPECT_EQ(latencies.count(), 2 * Latencies::kCapacity);
  EXPECT_EQ(latencies.Mean(), milliseconds(2));
  EXPECT_EQ(latencies.Percentile(0.4), milliseconds(1));
  EXPECT_EQ(latencies.Percentile(0.6), milliseconds(3));
}

TEST(Latencies, TheHistogramCountsEachOnceWithinItsBucket) {
  Latencies latencies;
  EXPECT_TRUE(latencies.Histogram().empty());
  latencies.Add(nanoseconds(0));
  for (int i = 1; i <= 1000; ++i) {
    latencies.Add(milliseconds(i));
  }
  std::uint64_t count = 0;
  nanoseconds before{-1};
  for (const auto& [longest, bucket] : latencies.Histogram()) {
    EXPECT_GT(longest, before);
    EXPECT_GT(bucket, 0);
    before = longest;
    count += bucket;
  }
  EXPECT_EQ(count, 1001);
  EXPECT_GE(before, milliseconds(1000));
  EXPECT_LE(before, milliseconds(1011));
}

}  // namespace
}  // namespace pixembed::client
