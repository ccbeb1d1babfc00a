#include "client/cpp/arrivals.h"

#include <chrono>
#include <cmath>
#include <optional>
#include <vector>

#include "gtest/gtest.h"

namespace pixembed::client {
namespace {

using std::chrono::hours;
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

// Next, always at `now`, until there is none.
std::vector<nanoseconds> TakeAll(Schedule& schedule, nanoseconds now) {
  std::vector<nanoseconds> taken;
  while (const std::optional<nanoseconds> time = schedule.Next(now)) {
    taken.push_back(*time);
  }
  return taken;
}

TEST(Schedule, HasSoManyOrThoseOfItsDuration) {
  const ArrivalTimes times(Arrivals::kUniform, 1000, 0);
  Schedule counted(times, 3, nanoseconds(1), 0);
  EXPECT_EQ(TakeAll(counted, hours(1)),
            (std::vector<nanoseconds>{milliseconds(1), milliseconds(2), milliseconds(3)}));
  EXPECT_EQ(counted.kept_back(), 0);
  Schedule timed(times, 0, std::chrono::microseconds(2500), 0);
  EXPECT_EQ(TakeAll(timed, milliseconds(0)),
            (std::vector<nanoseconds>{milliseconds(1), milliseconds(2)}));
  EXPECT_EQ(timed.kept_back(), 0);
}

TEST(Schedule, OnceTheDurationIsOverKeepsBackWhatIsAboveItsBoundAndSaysHowMany) {
  Schedule late({Arrivals::kUniform, 1000, 0}, 0, std::chrono::microseconds(10'500), 3);
  EXPECT_EQ(late.Next(milliseconds(10)), milliseconds(1));
  EXPECT_EQ(TakeAll(late, milliseconds(11)),
            (std::vector<nanoseconds>{milliseconds(2), milliseconds(3), milliseconds(4)}));
  EXPECT_EQ(late.kept_back(), 6);
  // As many as nobody could draw one by one.
  Schedule endless({Arrivals::kPoisson, 1e9, 0}, 0, hours(1000), 1024);
  EXPECT_EQ(TakeAll(endless, hours(1000)).size(), 1024);
  EXPECT_NEAR(static_cast<double>(endless.kept_back()), 3.6e15, 1e4);
}

}  // namespace
}  // namespace pixembed::client
