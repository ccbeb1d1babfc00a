#include "src/model/thread_team.h"

#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <future>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"

namespace pixembed {
namespace {

constexpr int kThreads = 4;

// Whether the thread `id` of this process lives.
bool Lives(pid_t id) { return std::filesystem::exists(absl::StrCat("/proc/self/task/", id)); }

// Runs something on all threads of a team of `threads`. Returns the helpers: all but the calling
// thread.
std::set<pid_t> RunOn(int threads) {
  const ThreadTeam team(threads);
  // Each waits for all the others: one thread that took two parts would wait for ever.
  std::barrier everybody(threads);
  std::vector<pid_t> ids(static_cast<std::size_t>(threads));
  InParallel(threads, [&](std::int64_t part, int) {
    everybody.arrive_and_wait();
    ids[static_cast<std::size_t>(part)] = gettid();
  });
  std::set<pid_t> helpers(ids.begin(), ids.end());
  EXPECT_EQ(helpers.erase(gettid()), 1) << "the calling thread takes part";
  return helpers;
}

// Waits until none of `helpers` lives: OpenMP does not wait for those it ends. A helper that stays
// is a test that hangs, which ctest ends.
void WaitUntilGone(const std::set<pid_t>& helpers) {
  for (const pid_t id : helpers) {
    while (Lives(id)) std::this_thread::yield();
  }
}

// Calls work() on a thread of its own, which then stays until this goes.
class Worker {
 public:
  explicit Worker(absl::AnyInvocable<void()> work)
      : thread_([this, work = std::move(work)]() mutable {
          work();
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
    EXPECT_EQ(RunOn(threads).size(), threads - 1);
    EXPECT_EQ(TeamThreads(), threads);
  }
}

TEST(ThreadTeam, IsKeptForTheNextWork) {
  const std::set<pid_t> helpers = RunOn(kThreads);
  EXPECT_EQ(RunOn(kThreads), helpers);
  ThreadTeam::SendHome();
  WaitUntilGone(helpers);
}

TEST(ThreadTeam, IsSentHomeByWorkForOne) {
  const std::set<pid_t> helpers = RunOn(kThreads);
  RunOn(1);
  WaitUntilGone(helpers);
}

TEST(ThreadTeam, OnlyOneThreadKeepsItsTeam) {
  const std::set<pid_t> kept = RunOn(kThreads);
  {
    const Worker first([] { WaitUntilGone(RunOn(kThreads)); });
    const Worker second([] { WaitUntilGone(RunOn(kThreads)); });
    EXPECT_EQ(RunOn(kThreads), kept);
  }
  ThreadTeam::SendHome();
}

TEST(ThreadTeam, AnotherThreadKeepsItsTeamWhenNobodyDoes) {
  RunOn(kThreads);
  ThreadTeam::SendHome();
  const Worker worker([] {
    const std::set<pid_t> helpers = RunOn(kThreads);
    EXPECT_EQ(RunOn(kThreads), helpers);
  });
  WaitUntilGone(RunOn(kThreads));
}

TEST(ThreadTeam, AThreadThatEndsLeavesTheRightToOthers) {
  {
    const Worker worker([] { RunOn(kThreads); });
  }
  const std::set<pid_t> helpers = RunOn(kThreads);
  EXPECT_EQ(RunOn(kThreads), helpers);
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
