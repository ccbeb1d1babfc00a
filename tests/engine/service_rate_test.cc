#include "src/engine/service_rate.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace pixembed {
namespace {

using std::chrono::milliseconds;

void Record(ServiceRate& rate, std::size_t images, milliseconds busy, int times) {
  for (int i = 0; i < times; ++i) rate.Record(images, busy);
}

TEST(ServiceRate, SaysNothingBeforeItHasMeasured) {
  ServiceRate rate(4);
  EXPECT_EQ(rate.PerImage(), std::nullopt);
  Record(rate, 1, milliseconds(100), ServiceRate::kBelievedAfter - 1);
  EXPECT_EQ(rate.PerImage(), std::nullopt);
}

TEST(ServiceRate, AFullBatchGivesTheTimePerImage) {
  ServiceRate rate(4);
  Record(rate, 4, milliseconds(400), ServiceRate::kBelievedAfter);
  EXPECT_EQ(rate.PerImage(), milliseconds(100));
}

TEST(ServiceRate, SmallBatchesPromiseNoMoreThanAFullOneCouldKeep) {
  ServiceRate rate(32);
  Record(rate, 1, milliseconds(32), ServiceRate::kBelievedAfter);
  EXPECT_EQ(rate.PerImage(), milliseconds(1));
}

TEST(ServiceRate, TheLargestBelievedBatchCounts) {
  ServiceRate rate(8);
  Record(rate, 2, milliseconds(20), 20);
  Record(rate, 8, milliseconds(40), ServiceRate::kBelievedAfter - 1);
  EXPECT_EQ(rate.PerImage(), std::chrono::microseconds(2500));
  Record(rate, 8, milliseconds(40), 1);
  EXPECT_EQ(rate.PerImage(), milliseconds(5));
}

TEST(ServiceRate, ForgetsOldTimes) {
  ServiceRate rate(1);
  Record(rate, 1, milliseconds(100), 10);
  Record(rate, 1, milliseconds(10), 100);
  EXPECT_LT(*rate.PerImage(), milliseconds(11));
}

TEST(ServiceRate, OneSlowBatchDoesNotChangeItMuch) {
  ServiceRate rate(1);
  Record(rate, 1, milliseconds(10), 100);
  Record(rate, 1, milliseconds(50), 1);
  EXPECT_LT(*rate.PerImage(), milliseconds(16));
}

}  // namespace
}  // namespace pixembed
