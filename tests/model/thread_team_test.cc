#include "src/model/thread_team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <iterator>
#include <thread>
#include <vector>

namespace pixembed {
namespace {

constexpr int kThreads = 4;

std::ptrdiff_t ThreadsOfProcess() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

// Runs something on all threads of a team of `threads`. Returns how many there were.
int RunOn(int threads) {
  const ThreadTeam team(threads);
  // Each waits for all the others: one thread that took two parts would wait for ever.
  std::barrier everybody(threads);
  std::atomic<int> parts = 0;
  InParallel(threads, [&](std::int64_t, int) {
    everybody.arrive_and_wait();
    ++parts;
  });
  return parts;
}

// The threads of the process after its first work for kThreads, the helpers gone: LibTorch starts a
// pool of its own with it.
std::ptrdiff_t ThreadsWithoutHelpers() {
  RunOn(kThreads);
  ThreadTeam::SendHome();
  return ThreadsOfProcess();
}

// A thread that runs something on a team, and then stays.
class Worker {
 public:
  explicit Worker(int threads)
      : thread_([this, threads] {
          EXPECT_EQ(RunOn(threads), threads);
          ran_.set_value();
          stay_.get_future().wait();
        }) {
    ran_.get_future().wait();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() { stay_.set_value(); }

 private:
  std::promise<void> ran_;
  std::promise<void> stay_;
  std::jthread thread_;
};

TEST(ThreadTeam, HasSoManyThreads) {
  for (const int threads : {1, 2, kThreads, 2, 1}) {
    EXPECT_EQ(RunOn(threads), threads);
    EXPECT_EQ(TeamThreads(), threads);
  }
}

TEST(ThreadTeam, IsKeptForTheNextWork) {
  const std::ptrdiff_t before = ThreadsWithoutHelpers();
  RunOn(kThreads);
  EXPECT_EQ(ThreadsOfProcess(), before + kThreads - 1);
  RunOn(kThreads);
  EXPECT_EQ(ThreadsOfProcess(), before + kThreads - 1);
  ThreadTeam::SendHome();
  EXPECT_EQ(ThreadsOfProcess(), before);
}

TEST(ThreadTeam, IsSentHomeByWorkForOne) {
  ThreadsWithoutHelpers();
  RunOn(1);
  const std::ptrdiff_t before = ThreadsOfProcess();
  RunOn(kThreads);
  RunOn(1);
  EXPECT_EQ(ThreadsOfProcess(), before);
}

TEST(ThreadTeam, OnlyOneThreadKeepsItsTeam) {
  RunOn(kThreads);
  const std::ptrdiff_t kept = ThreadsOfProcess();
  {
    const Worker first(kThreads);
    const Worker second(kThreads);
    EXPECT_EQ(ThreadsOfProcess(), kept + 2) << "the two, without their helpers";
  }
  ThreadTeam::SendHome();
}

TEST(ThreadTeam, AnotherThreadKeepsItsTeamWhenNobodyDoes) {
  const std::ptrdiff_t before = ThreadsWithoutHelpers();
  const Worker worker(kThreads);
  EXPECT_EQ(ThreadsOfProcess(), before + kThreads);
}

TEST(ThreadTeam, AThreadThatEndsLeavesTheRightToOthers) {
  { const Worker worker(kThreads); }
  const std::ptrdiff_t before = ThreadsOfProcess();
  RunOn(kThreads);
  EXPECT_EQ(ThreadsOfProcess(), before + kThreads - 1);
  ThreadTeam::SendHome();
}

TEST(InParallel, EachPartIsDoneOnceAndNoThreadDoesTwoAtATime) {
  constexpr std::int64_t kParts = 1000;
  for (const int threads : {1, 3}) {
    const ThreadTeam team(threads);
    std::vector<std::atomic<int>> done(kParts);
    std::vector<std::atomic<int>> busy(static_cast<std::size_t>(threads));
    std::atomic<int> twice = 0;
    InParallel(kParts, [&](std::int64_t i, int thread) {
      std::atomic<int>& mine = busy.at(static_cast<std::size_t>(thread));
      if (++mine > 1) ++twice;
      ++done[static_cast<std::size_t>(i)];
      --mine;
    });
    EXPECT_EQ(twice, 0);
    for (const std::atomic<int>& times : done) EXPECT_EQ(times, 1);
  }
}

TEST(InParallel, NothingIsDoneOfNothing) {
  const ThreadTeam team(2);
  InParallel(0, [](std::int64_t, int) { FAIL(); });
}

}  // namespace
}  // namespace pixembed
