// ThreadPolicy: no thread, no clock, hand-made time points.
#include "src/batching/thread_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <random>
#include <utility>
#include <vector>

namespace pixembed {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using TimePoint = ThreadPolicy::TimePoint;
using Seconds = std::chrono::duration<double>;

nanoseconds Nanoseconds(double seconds) {
  return std::chrono::duration_cast<nanoseconds>(Seconds(seconds));
}

// The seconds of one item on a number of threads.
using Machine = std::function<double(int threads)>;

// Every thread does its part.
double Perfect(int threads) { return 0.010 / threads; }
// 10 ms on one, 7 ms on two: a small model.
double Small(int threads) { return 0.004 + 0.006 / threads; }

// Has one caller that waits for each answer. Returns the last choice.
int RunAlone(ThreadPolicy& policy, const Machine& machine, int items, int cores, TimePoint& now) {
  int threads = 0;
  for (int i = 0; i < items; ++i) {
    policy.Enter(1, now);
    threads = policy.Choose(0, cores);
    const nanoseconds took = Nanoseconds(machine(threads));
    now += took;
    policy.Ran(0, 1, threads, took);
    policy.Leave(1, now);
    now += milliseconds(1);
  }
  return threads;
}

// The time in the house that one item in 20 exceeds, of items that arrive at random at two cores,
// one after the other in one line; `choose` gives the threads of an item that finds both free.
double LateTime(double rate, const Machine& machine, const std::function<int()>& choose,
                ThreadPolicy& policy) {
  constexpr int kItems = 20'000;
  std::mt19937_64 random(7);
  std::exponential_distribution<double> gap(rate);
  std::vector<double> leaving;  // of those inside
  std::array<double, 2> free_at = {};
  double arrival = 0;
  std::vector<double> times;
  const auto at = [](double seconds) { return TimePoint() + Nanoseconds(seconds); };
  for (int i = 0; i < kItems; ++i) {
    arrival += gap(random);
    std::sort(leaving.begin(), leaving.end());
    while (!leaving.empty() && leaving.front() <= arrival) {
      policy.Leave(1, at(leaving.front()));
      leaving.erase(leaving.begin());
    }
    policy.Enter(1, at(arrival));
    if (free_at[0] > free_at[1]) std::swap(free_at[0], free_at[1]);
    const double start = std::max(arrival, free_at[0]);
    const int threads = free_at[1] <= start ? choose() : 1;
    const double end = start + machine(threads);
    free_at[0] = end;
    if (threads == 2) free_at[1] = end;
    policy.Ran(0, 1, threads, Nanoseconds(end - start));
    leaving.push_back(end);
    times.push_back(end - arrival);
  }
  const auto late = times.end() - kItems / 20;
  std::nth_element(times.begin(), late, times.end());
  return *late;
}

TEST(MeanWait, IsThatOfOneServerOfConstantServiceTime) {
  // Pollaczek and Khinchine: rho / (2 (1 - rho)) x service time.
  EXPECT_NEAR(MeanWait(50, 0.010, 1), 0.5 / (2 * 0.5) * 0.010, 1e-9);
  EXPECT_NEAR(MeanWait(90, 0.010, 1), 0.9 / (2 * 0.1) * 0.010, 1e-9);
}

TEST(MeanWait, IsHalfOfErlangCForSeveralServers) {
  // M/M/2: rho^2 / (1 - rho^2) x service time.
  EXPECT_NEAR(MeanWait(100, 0.010, 2), 0.5 * 0.25 / 0.75 * 0.010, 1e-9);
}

TEST(MeanWait, IsNothingWithoutLoadAndInfiniteAboveTheRate) {
  EXPECT_EQ(MeanWait(0, 0.010, 4), 0);
  EXPECT_TRUE(std::isinf(MeanWait(100, 0.010, 1)));
  EXPECT_TRUE(std::isinf(MeanWait(401, 0.010, 4)));
}

TEST(ThreadPolicy, TakesEverythingBeforeAnythingIsKnown) {
  ThreadPolicy policy(1, 8);
  EXPECT_EQ(policy.Choose(0, 8), 8);
  EXPECT_EQ(policy.Choose(0, 3), 3);
}

TEST(ThreadPolicy, ACallerThatWaitsForEachAnswerGetsEveryCore) {
  ThreadPolicy policy(1, 4);
  TimePoint now;
  EXPECT_EQ(RunAlone(policy, Small, 100, 4, now), 4);
}

TEST(ThreadPolicy, StaysWithFewerWhereMoreAreSlower) {
  ThreadPolicy policy(1, 2);
  TimePoint now;
  const Machine machine = [](int threads) { return threads == 1 ? 0.010 : 0.012; };
  policy.Ran(0, 1, 1, Nanoseconds(machine(1)));
  RunAlone(policy, machine, 20 * ThreadPolicy::kTryAgainAfter, 2, now);
  int more = 0;
  constexpr int kChoices = 10 * ThreadPolicy::kTryAgainAfter;
  for (int i = 0; i < kChoices; ++i) more += RunAlone(policy, machine, 1, 2, now) == 2 ? 1 : 0;
  // Now and then it looks whether that is still so.
  EXPECT_GE(more, 1);
  EXPECT_LE(more, kChoices / ThreadPolicy::kTryAgainAloneAfter);
}

TEST(ThreadPolicy, OneSlowRunIsNotBelieved) {
  ThreadPolicy policy(1, 2);
  TimePoint now;
  policy.Ran(0, 1, 1, Nanoseconds(Small(1)));
  RunAlone(policy, Small, 10, 2, now);
  policy.Ran(0, 1, 2, Nanoseconds(1.0));
  EXPECT_EQ(policy.Choose(0, 2), 2);
}

TEST(ThreadPolicy, ComesBackAfterASlowTime) {
  ThreadPolicy policy(1, 2);
  TimePoint now;
  policy.Ran(0, 1, 1, Nanoseconds(Small(1)));
  RunAlone(
      policy, [](int threads) { return threads == 1 ? 0.010 : 0.030; }, 50, 2, now);
  RunAlone(policy, Small, 5 * ThreadPolicy::kTryAgainAfter, 2, now);
  EXPECT_EQ(RunAlone(policy, Small, 1, 2, now), 2);
}

// What more threads took while others held the cores says nothing of a caller alone.
TEST(ThreadPolicy, ACallerAloneAfterALoadGetsEveryCoreSoon) {
  ThreadPolicy policy(1, 2);
  TimePoint now;
  for (int i = 0; i < 10; ++i) {
    policy.Ran(0, 1, 1, Nanoseconds(Small(1)));
    policy.Ran(0, 1, 2, Nanoseconds(0.030));
  }
  RunAlone(policy, Small, ThreadPolicy::kTryAgainAloneAfter + 2, 2, now);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(RunAlone(policy, Small, 1, 2, now), 2);
}

TEST(ThreadPolicy, UnderLoadEachItemGetsOneThread) {
  ThreadPolicy policy(1, 2);
  TimePoint now;
  policy.Ran(0, 1, 1, Nanoseconds(Small(1)));
  policy.Ran(0, 1, 2, Nanoseconds(Small(2)));
  for (int i = 0; i < 200;
       ++i) {  // 160 a second, of 200 that two cores can and 143 that one line can
    policy.Enter(1, now);
    now += Nanoseconds(1 / 160.0);
    if (i > 1) policy.Leave(1, now);
  }
  EXPECT_EQ(policy.Choose(0, 2), 1);
}

TEST(ThreadPolicy, ALoadThatIsOverIsForgotten) {
  ThreadPolicy policy(1, 2);
  TimePoint now;
  policy.Ran(0, 1, 1, Nanoseconds(Small(1)));
  policy.Ran(0, 1, 2, Nanoseconds(Small(2)));
  policy.Enter(50, now);
  for (int i = 0; i < 50; ++i) {
    policy.Enter(1, now);
    now += Nanoseconds(0.005);
    policy.Leave(2, now);
  }
  ASSERT_EQ(policy.Choose(0, 2), 1);
  RunAlone(policy, Small, 2000, 2, now);
  EXPECT_EQ(RunAlone(policy, Small, 1, 2, now), 2);
}

// Not only after seconds: those are hundreds of images of a small model.
TEST(ThreadPolicy, ALoadThatIsOverIsForgottenWithinAFewImages) {
  ThreadPolicy policy(1, 2);
  TimePoint now;
  policy.Ran(0, 1, 1, Nanoseconds(Small(1)));
  policy.Ran(0, 1, 2, Nanoseconds(Small(2)));
  policy.Enter(16, now);
  for (int i = 0; i < 2000; ++i) {  // 16 callers, 10 s
    policy.Enter(1, now);
    now += Nanoseconds(0.005);
    policy.Leave(1, now);
  }
  policy.Leave(16, now);
  ASSERT_EQ(policy.Choose(0, 2), 1);
  RunAlone(policy, Small, 2 * static_cast<int>(ThreadPolicy::kRememberedArrivals), 2, now);
  EXPECT_EQ(RunAlone(policy, Small, 1, 2, now), 2);
}

TEST(ThreadPolicy, QueuesAreLearntApart) {
  ThreadPolicy policy(2, 2);
  const Machine slower = [](int threads) { return threads == 1 ? 0.010 : 0.020; };
  for (int i = 0; i < 3; ++i) {
    for (const int threads : {1, 2}) {
      policy.Ran(0, 1, threads, Nanoseconds(Small(threads)));
      policy.Ran(1, 1, threads, Nanoseconds(slower(threads)));
    }
  }
  EXPECT_EQ(policy.Choose(0, 2), 2);
  EXPECT_EQ(policy.Choose(1, 2), 1);
}

// At every load it is nearly as good as the better one of the two rules that know nothing.
TEST(ThreadPolicy, IsAsGoodAsTheBetterFixedRule) {
  constexpr double kSlack = 1.15;
  for (const Machine& machine : {Machine(Perfect), Machine(Small)}) {
    for (const double rate : {5.0, 40.0, 80.0, 120.0, 150.0, 180.0}) {
      ThreadPolicy ignored_one(1, 2);
      ThreadPolicy ignored_two(1, 2);
      ThreadPolicy policy(1, 2);
      const double one = LateTime(
          rate, machine, [] { return 1; }, ignored_one);
      const double two = LateTime(
          rate, machine, [] { return 2; }, ignored_two);
      const double chosen = LateTime(
          rate, machine, [&] { return policy.Choose(0, 2); }, policy);
      EXPECT_LE(chosen, kSlack * std::min(one, two))
          << rate << " a second: on one thread " << one << " s, on two " << two << " s";
    }
  }
}

}  // namespace
}  // namespace pixembed
