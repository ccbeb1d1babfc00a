#include "client/cpp/arrivals.h"

#include <chrono>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace pixembed::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

std::vector<nanoseconds> Take(ArrivalTimes times, int count) {
  std::vector<nanoseconds> taken(count);
  for (nanoseconds& time : taken) {
    time = times.Next();
  }
  return taken;
}

TEST(ArrivalTimes, UniformGapsAreEqualAndDoNotDrift) {
  const std::vector<nanoseconds> times = Take({Arrivals::kUniform, 8, 0}, 80'000);
  EXPECT_EQ(times[0], milliseconds(125));
  EXPECT_EQ(times[1], milliseconds(250));
  EXPECT_EQ(times.back(), std::chrono::seconds(10'000));
}

TEST(ArrivalTimes, PoissonGapsAreExponential) {
  constexpr int kCount = 100'000;
  const std::vector<nanoseconds> times = Take({Arrivals::kPoisson, 1000, 1}, kCount);
  double sum = 0;
  double squares = 0;
  int short_ones = 0;
  nanoseconds before{0};
  for (const nanoseconds time : times) {
    const double gap = std::chrono::duration<double, std::milli>(time - before).count();
    before = time;
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
    short_ones += gap < 1 ? 1 : 0;
  }
  // Five standard deviations of each estimate.
  EXPECT_NEAR(sum / kCount, 1, 0.016);
  EXPECT_NEAR(squares / kCount, 2, 0.08);
  EXPECT_NEAR(static_cast<double>(short_ones) / kCount, 1 - std::exp(-1), 0.008);
}

TEST(ArrivalTimes, TheSeedDecides) {
  EXPECT_EQ(Take({Arrivals::kPoisson, 100, 7}, 50), Take({Arrivals::kPoisson, 100, 7}, 50));
  EXPECT_NE(Take({Arrivals::kPoisson, 100, 7}, 50), Take({Arrivals::kPoisson, 100, 8}, 50));
}

}  // namespace
}  // namespace pixembed::client
