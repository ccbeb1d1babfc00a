// BatchScheduler: real threads, held and let go by the test; no test depends on how long a thing
// takes, only on what happens before what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/batching/batching.h"
#include "tests/batching/fake_item.h"

namespace pixembed {
namespace {

using std::chrono::hours;
using ::testing::ElementsAre;
using ::testing::SizeIs;
using Why = Abandoned<FakeItem>::Why;

struct Ran {
  std::size_t queue = 0;
  std::vector<std::string> items;
  int threads = 0;
  int worker = 0;
};

// A scheduler whose batches are recorded and, when told so, held.
class Harness {
 public:
  explicit Harness(const BatchSchedulerOptions& options) {
    auto scheduler = BatchScheduler<FakeItem>::Start(
        options, [this](int worker) { return std::make_unique<Worker>(this, worker); },
        [this](Abandoned<FakeItem> abandoned) {
          const std::lock_guard lock(mutex_);
          abandoned_.push_back(std::move(abandoned));
          changed_.notify_all();
        });
    EXPECT_TRUE(scheduler.ok()) << scheduler.status();
    scheduler_ = *std::move(scheduler);
  }
  ~Harness() {
    LetGo();
    scheduler_.reset();
  }

  BatchScheduler<FakeItem>& operator*() { return *scheduler_; }
  BatchScheduler<FakeItem>* operator->() { return scheduler_.get(); }
  void Close() { scheduler_.reset(); }

  void Schedule(std::size_t queue, std::vector<std::string> names) {
    std::vector<FakeItem> items;
    items.reserve(names.size());
    for (std::string& name : names) items.emplace_back(std::move(name));
    scheduler_->Schedule(queue, std::move(items));
  }
  void Schedule(FakeItem item) {
    std::vector<FakeItem> items;
    items.push_back(std::move(item));
    scheduler_->Schedule(0, std::move(items));
  }

  // Batches that begin from now on do not end before LetGo, or LetGoOne for one of them.
  void Hold() {
    const std::lock_guard lock(mutex_);
    holding_ = true;
  }
  void LetGo() {
    const std::lock_guard lock(mutex_);
    holding_ = false;
    changed_.notify_all();
  }
  void LetGoOne() {
    const std::lock_guard lock(mutex_);
    ++passes_;
    changed_.notify_all();
  }

  // Waits until so many batches have begun, and gives them in the order of their beginning.
  std::vector<Ran> AwaitRuns(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return runs_.size() >= count; });
    return runs_;
  }
  std::vector<std::string> AwaitAbandoned(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return abandoned_.size() >= count; });
    return Names(abandoned_);
  }
  std::vector<Why> AbandonedWhy() {
    const std::lock_guard lock(mutex_);
    std::vector<Why> why;
    why.reserve(abandoned_.size());
    for (const Abandoned<FakeItem>& abandoned : abandoned_) why.push_back(abandoned.why);
    return why;
  }
  // Calls `answer` whenever a worker hands out what it has made, `times` times.
  void AnswerWith(std::function<void()> answer, int times) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
    answers_ = times;
  }
  int max_threads_at_once() {
    const std::lock_guard lock(mutex_);
    return max_threads_;
  }

 private:
  class Worker : public BatchWorker<FakeItem> {
   public:
    Worker(Harness* harness, int index) : harness_(*harness), index_(index) {}
    void Run(std::size_t queue, std::vector<FakeItem> items, int threads) override {
      harness_.OnRun({queue, Names(items), threads, index_});
    }
    void Deliver() override { harness_.OnDeliver(); }

   private:
    Harness& harness_;
    const int index_;
  };

  void OnRun(Ran run) {
    std::unique_lock lock(mutex_);
    threads_ += run.threads;
    max_threads_ = std::max(max_threads_, threads_);
    const int threads = run.threads;
    runs_.push_back(std::move(run));
    changed_.notify_all();
    changed_.wait(lock, [this] { return !holding_ || passes_ > 0; });
    if (holding_) --passes_;
    threads_ -= threads;
  }

  void OnDeliver() {
    std::unique_lock lock(mutex_);
    if (answers_ == 0) return;
    --answers_;
    lock.unlock();
    answer_();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> answer_;
  int answers_ = 0;
  bool holding_ = false;
  int passes_ = 0;
  int threads_ = 0;
  int max_threads_ = 0;
  std::vector<Ran> runs_;
  std::vector<Abandoned<FakeItem>> abandoned_;
  std::unique_ptr<BatchScheduler<FakeItem>> scheduler_;
};

BatchSchedulerOptions Options(int workers, std::size_t max_batch_size = 4,
                              BatchCost cost = BatchCost::kPerItem) {
  BatchSchedulerOptions options;
  options.workers = workers;
  // Whoever waits for company waits for ever, as far as a test is concerned.
  options.queue = {max_batch_size, hours(24), cost};
  return options;
}

TEST(BatchScheduler, ALoneItemIsTakenAtOnce) {
  Harness harness(Options(2));
  harness.Schedule(0, {"a"});
  EXPECT_THAT(harness.AwaitRuns(1)[0].items, ElementsAre("a"));
}

// Called in turn, a hundred workers would run a hundred lone items between them. Which of the first
// are back in time is chance; that none ever is, is not.
TEST(BatchScheduler, LoneItemsStayWithTheFirstWorkers) {
  constexpr std::size_t kWorkers = 100;
  Harness harness(Options(kWorkers));
  std::set<int> workers;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    harness.Schedule(0, {"a"});
    workers.insert(harness.AwaitRuns(i + 1).back().worker);
  }
  EXPECT_LT(workers.size(), kWorkers);
}

TEST(BatchScheduler, WaitsOnlyWhileItemsAreAboutToLand) {
  Harness harness(Options(1, 4, BatchCost::kPerBatch));
  harness->Expect(0, 2, 0);
  harness->Land(0, FakeItem("a"));
  harness->Land(0, FakeItem("b"));
  EXPECT_THAT(harness.AwaitRuns(1)[0].items, ElementsAre("a", "b"));
}

TEST(BatchScheduler, AnItemThatWillNotComeIsNotWaitedFor) {
  Harness harness(Options(1, 4, BatchCost::kPerBatch));
  harness->Expect(0, 2, 0);
  harness->Land(0, FakeItem("a"));
  harness->Unexpect(0, false);
  EXPECT_THAT(harness.AwaitRuns(1)[0].items, ElementsAre("a"));
}

TEST(BatchScheduler, WaitsNoLongerThanTheDelay) {
  BatchSchedulerOptions options = Options(2, 4, BatchCost::kPerBatch);
  options.queue.max_delay = std::chrono::milliseconds(1);
  Harness harness(options);
  harness->Expect(0, 2, 0);
  harness->Land(0, FakeItem("a"));
  EXPECT_THAT(harness.AwaitRuns(1)[0].items, ElementsAre("a"));
  harness->Unexpect(0, false);
}

TEST(BatchScheduler, NobodyWaitsForCompanyWhereEachItemCosts) {
  Harness harness(Options(1));
  harness->Expect(0, 2, 0);
  harness->Land(0, FakeItem("a"));
  EXPECT_THAT(harness.AwaitRuns(1)[0].items, ElementsAre("a"));
  harness->Unexpect(0, false);
}

// The next item of a caller that waits for each answer finds every core free: it gets them all, as
// often as it comes.
TEST(BatchScheduler, ACallerThatWaitsForEachAnswerIsAloneEachTime) {
  BatchSchedulerOptions options = Options(2);
  options.cores = 2;
  Harness harness(options);
  constexpr int kAnswers = 100;
  harness.AnswerWith([&harness] { harness.Schedule(0, {"next"}); }, kAnswers);
  harness.Schedule(0, {"first"});
  // With the one that the last answer brings: from then on no worker uses the harness.
  for (const Ran& run : harness.AwaitRuns(1 + kAnswers)) EXPECT_EQ(run.threads, 2);
}

TEST(BatchScheduler, TheBatchGrowsWhileAllWorkersAreBusy) {
  Harness harness(Options(1, 3, BatchCost::kPerBatch));
  harness.Hold();
  harness.Schedule(0, {"first"});
  harness.AwaitRuns(1);
  for (const char* name : {"a", "b", "c", "d"}) harness.Schedule(0, {name});
  harness.LetGo();
  const std::vector<Ran> runs = harness.AwaitRuns(3);
  EXPECT_THAT(runs[1].items, ElementsAre("a", "b", "c"));
  EXPECT_THAT(runs[2].items, ElementsAre("d"));
}

TEST(BatchScheduler, WorkersShareWhatIsReady) {
  Harness harness(Options(2));
  harness.Hold();
  harness.Schedule(0, {"a", "b", "c", "d", "e", "f", "g", "h"});
  // Its half in two turns, and the half of the rest in two; which of both is noted first is open.
  EXPECT_THAT(harness.AwaitRuns(2),
              testing::UnorderedElementsAre(testing::Field(&Ran::items, ElementsAre("a", "b")),
                                            testing::Field(&Ran::items, ElementsAre("c", "d"))));
}

TEST(BatchScheduler, OneWorkerTakesAllWhereRoomInABatchIsFree) {
  Harness harness(Options(2, 4, BatchCost::kPerBatch));
  harness.Hold();
  harness.Schedule(0, {"a", "b", "c", "d"});
  EXPECT_THAT(harness.AwaitRuns(1)[0].items, ElementsAre("a", "b", "c", "d"));
}

TEST(BatchScheduler, ExpiredItemsFinishWhileAllWorkersAreBusy) {
  Harness harness(Options(1));
  harness.Hold();
  harness.Schedule(0, {"running"});
  harness.AwaitRuns(1);
  harness.Schedule(
      FakeItem("expired").Until(std::chrono::steady_clock::now() + std::chrono::milliseconds(5)));
  harness.Schedule(0, {"patient"});
  EXPECT_THAT(harness.AwaitAbandoned(1), ElementsAre("expired"));
  EXPECT_THAT(harness.AbandonedWhy(), ElementsAre(Why::kExpired));
  harness.LetGo();
  EXPECT_THAT(harness.AwaitRuns(2)[1].items, ElementsAre("patient"));
}

TEST(BatchScheduler, CancelledItemsFinishWhileAllWorkersAreBusy) {
  Harness harness(Options(1));
  harness.Hold();
  harness.Schedule(0, {"running"});
  harness.AwaitRuns(1);
  FakeItem item("cancelled");
  const auto canceller = item.canceller();
  harness.Schedule(std::move(item));
  *canceller = true;
  harness->SweepCancelled();
  EXPECT_THAT(harness.AwaitAbandoned(1), ElementsAre("cancelled"));
  EXPECT_THAT(harness.AbandonedWhy(), ElementsAre(Why::kCancelled));
}

TEST(BatchScheduler, AnItemCancelledOnItsWayIsFoundWithoutAnotherSweep) {
  Harness harness(Options(1));
  harness.Hold();
  harness.Schedule(0, {"running"});
  harness.AwaitRuns(1);
  FakeItem item("cancelled");
  *item.canceller() = true;
  harness.Schedule(std::move(item));
  EXPECT_THAT(harness.AwaitAbandoned(1), ElementsAre("cancelled"));
}

TEST(BatchScheduler, AnEarlierDeadlineIsKeptAfterALaterOne) {
  Harness harness(Options(1));
  harness.Hold();
  harness.Schedule(0, {"running"});
  harness.AwaitRuns(1);
  const TimePoint now = std::chrono::steady_clock::now();
  harness.Schedule(FakeItem("later").Until(now + hours(1)));
  harness.Schedule(FakeItem("sooner").Until(now + std::chrono::milliseconds(5)));
  EXPECT_THAT(harness.AwaitAbandoned(1), ElementsAre("sooner"));
}

TEST(BatchScheduler, ClosingRunsWhatIsQueued) {
  Harness harness(Options(1, 1));
  harness.Hold();
  harness.Schedule(0, {"a", "b", "c"});
  harness.AwaitRuns(1);
  harness.LetGo();
  harness.Close();
  EXPECT_THAT(harness.AwaitRuns(0), SizeIs(3));
}

TEST(BatchScheduler, ClosingDoesNotWaitForWhatWillNeverLand) {
  Harness harness(Options(2));
  harness->Expect(0, 2, 0);
  harness->Land(0, FakeItem("a"));
  harness.Close();
  EXPECT_THAT(harness.AwaitRuns(1)[0].items, ElementsAre("a"));
}

TEST(BatchScheduler, ALoneBatchGetsEveryCoreAndTheNextWaitsForOne) {
  BatchSchedulerOptions options = Options(2);
  options.cores = 2;
  Harness harness(options);
  harness.Hold();
  harness.Schedule(0, {"a"});
  EXPECT_EQ(harness.AwaitRuns(1)[0].threads, 2);
  harness.Schedule(0, {"b", "c"});
  harness.LetGoOne();
  const std::vector<Ran> runs = harness.AwaitRuns(3);
  EXPECT_EQ(runs[1].threads, 1);
  EXPECT_EQ(runs[2].threads, 1);
  EXPECT_EQ(harness.max_threads_at_once(), 2);
}

TEST(BatchScheduler, QueuesShareTheWorkersByAge) {
  BatchSchedulerOptions options = Options(1, 1);
  options.queues = 3;
  Harness harness(options);
  harness.Hold();
  harness.Schedule(0, {"running"});
  harness.AwaitRuns(1);
  harness.Schedule(0, {"0a"});
  harness.Schedule(2, {"2a"});
  harness.Schedule(1, {"1a"});
  harness.Schedule(2, {"2b"});
  harness.LetGo();
  std::vector<std::string> order;
  for (const Ran& run : harness.AwaitRuns(5)) order.push_back(run.items.at(0));
  EXPECT_THAT(order, ElementsAre("running", "0a", "2a", "1a", "2b"));
}

TEST(BatchScheduler, BulkNeverDelaysOnline) {
  Harness harness(Options(1, 1));
  harness.Hold();
  harness.Schedule(FakeItem("running"));
  harness.AwaitRuns(1);
  harness.Schedule(FakeItem("bulk1").Bulk());
  harness.Schedule(FakeItem("bulk2").Bulk());
  harness.Schedule(FakeItem("online"));
  harness.LetGo();
  EXPECT_THAT(harness.AwaitRuns(2)[1].items, ElementsAre("online"));
}

TEST(BatchScheduler, StartGivesTheErrorOfAWorkerThatCannotBeMade) {
  const auto scheduler = BatchScheduler<FakeItem>::Start(
      Options(3),
      [](int index) -> absl::StatusOr<std::unique_ptr<BatchWorker<FakeItem>>> {
        return absl::UnavailableError("worker " + std::to_string(index));
      },
      [](const Abandoned<FakeItem>&) {});
  EXPECT_EQ(scheduler.status().code(), absl::StatusCode::kUnavailable);
}

TEST(BatchScheduler, EveryWorkerLivesOnItsOwnThread) {
  class Worker : public BatchWorker<FakeItem> {
   public:
    ~Worker() override { EXPECT_EQ(std::this_thread::get_id(), home_); }
    void Run(std::size_t, std::vector<FakeItem>, int) override {
      EXPECT_EQ(std::this_thread::get_id(), home_);
    }

   private:
    const std::thread::id home_ = std::this_thread::get_id();
  };
  auto scheduler = BatchScheduler<FakeItem>::Start(
      Options(3), [](int) { return std::make_unique<Worker>(); },
      [](const Abandoned<FakeItem>&) {});
  ASSERT_TRUE(scheduler.ok());
  for (int i = 0; i < 100; ++i) {
    std::vector<FakeItem> items;
    items.emplace_back("item");
    (*scheduler)->Schedule(0, std::move(items));
  }
}

TEST(BatchScheduler, AQueueThatWasAddedIsServedLikeTheOthers) {
  Harness harness(Options(1, 4, BatchCost::kPerBatch));
  EXPECT_EQ(harness->AddQueue(), 1U);
  EXPECT_EQ(harness->AddQueue(), 2U);
  harness.Schedule(2, {"a", "b"});
  const Ran ran = harness.AwaitRuns(1)[0];
  EXPECT_EQ(ran.queue, 2U);
  EXPECT_THAT(ran.items, ElementsAre("a", "b"));
}

TEST(BatchScheduler, AQueueMayHaveSmallerBatchesThanTheOthers) {
  Harness harness(Options(1, 4, BatchCost::kPerBatch));
  harness->AddQueue();
  harness->SetMaxBatchSize(1, 1);
  harness.Schedule(1, {"a", "b"});
  const std::vector<Ran> runs = harness.AwaitRuns(2);
  EXPECT_THAT(runs[0].items, ElementsAre("a"));
  EXPECT_THAT(runs[1].items, ElementsAre("b"));
}

TEST(BatchScheduler, AnErrandRunsOnTheThreadOfItsWorker) {
  constexpr int kWorkers = 3;
  std::mutex mutex;
  std::map<int, std::thread::id> homes;
  auto scheduler = BatchScheduler<FakeItem>::Start(
      Options(kWorkers),
      [&](int index) -> absl::StatusOr<std::unique_ptr<BatchWorker<FakeItem>>> {
        class Worker : public BatchWorker<FakeItem> {
          void Run(std::size_t, std::vector<FakeItem>, int) override {}
        };
        const std::lock_guard lock(mutex);
        homes[index] = std::this_thread::get_id();
        return std::make_unique<Worker>();
      },
      [](const Abandoned<FakeItem>&) {});
  ASSERT_TRUE(scheduler.ok());
  for (int worker = 0; worker < kWorkers; ++worker) {
    std::thread::id ran_on;
    (*scheduler)->RunOn(worker, [&ran_on] { ran_on = std::this_thread::get_id(); });
    EXPECT_EQ(ran_on, homes.at(worker));
  }
}

TEST(BatchScheduler, BetweenTwoErrandsTheWorkerServesItsQueue) {
  Harness harness(Options(1));
  harness->RunOn(0, [&harness] { harness.Schedule(0, {"a"}); });
  bool served = false;
  harness->RunOn(0, [&] { served = !harness.AwaitRuns(0).empty(); });
  EXPECT_TRUE(served);
}

TEST(BatchScheduler, WhileAWorkerHasAnErrandTheOthersServeOnTheOtherCores) {
  BatchSchedulerOptions options = Options(2);
  options.cores = 2;
  Harness harness(options);
  harness->RunOn(0, [&harness] {
    harness.Schedule(0, {"a"});
    const Ran ran = harness.AwaitRuns(1)[0];
    EXPECT_EQ(ran.worker, 1);
    EXPECT_EQ(ran.threads, 1);
  });
}

// Every batch brings the next, and each has the only core: an errand still has its turn.
TEST(BatchScheduler, AnErrandHasItsTurnThoughTheCoresAreNeverIdle) {
  BatchSchedulerOptions options = Options(2, 1);
  options.cores = 1;
  std::atomic<bool> enough = false;
  BatchScheduler<FakeItem>* self = nullptr;
  class Worker : public BatchWorker<FakeItem> {
   public:
    explicit Worker(std::function<void()> next) : next_(std::move(next)) {}
    void Run(std::size_t, std::vector<FakeItem>, int) override { next_(); }

   private:
    std::function<void()> next_;
  };
  const auto schedule = [&] {
    std::vector<FakeItem> items;
    items.emplace_back("item");
    self->Schedule(0, std::move(items));
  };
  auto scheduler = BatchScheduler<FakeItem>::Start(
      options,
      [&](int) {
        return std::make_unique<Worker>([&] {
          if (!enough) schedule();
        });
      },
      [](const Abandoned<FakeItem>&) {});
  ASSERT_TRUE(scheduler.ok());
  self = scheduler->get();
  schedule();
  schedule();
  for (int i = 0; i < 20; ++i) {
    int ran = 0;
    self->RunOn(i % 2, [&ran] { ++ran; });
    EXPECT_EQ(ran, 1);
  }
  enough = true;
}

// Everything at once, from several threads: each item comes out once, and never above the cores.
TEST(BatchScheduler, EveryItemComesOutExactlyOnce) {
  constexpr int kProducers = 4;
  constexpr int kItems = 500;
  BatchSchedulerOptions options = Options(3);
  options.queues = 2;
  options.cores = 3;
  options.queue.max_delay = std::chrono::microseconds(50);
  Harness harness(options);
  std::atomic<int> errands = 0;
  {
    std::vector<std::jthread> producers;
    producers.reserve(kProducers + 2);
    for (int caller = 0; caller < 2; ++caller) {
      producers.emplace_back([&harness, &errands] {
        for (int i = 0; i < 50; ++i) harness->RunOn(i % 3, [&errands] { ++errands; });
      });
    }
    for (int producer = 0; producer < kProducers; ++producer) {
      producers.emplace_back([&harness, producer] {
        for (int i = 0; i < kItems; ++i) {
          const auto queue = static_cast<std::size_t>(i % 2);
          FakeItem item(std::to_string(producer) + "/" + std::to_string(i));
          if (i % 3 == 0) item = std::move(item).Bulk();
          if (i % 5 == 0) {
            item = std::move(item).Until(std::chrono::steady_clock::now() +
                                         std::chrono::microseconds(i));
          }
          const auto canceller = item.canceller();
          const bool bulk = item.bulk();
          harness->Expect(queue, bulk ? 0 : 1, bulk ? 1 : 0);
          harness->Land(queue, std::move(item));
          if (i % 7 == 0) {
            *canceller = true;
            harness->SweepCancelled();
          }
        }
      });
    }
  }
  harness.Close();
  std::multiset<std::string> seen;
  for (const Ran& run : harness.AwaitRuns(0)) {
    EXPECT_LE(run.items.size(), 4U);
    seen.insert(run.items.begin(), run.items.end());
  }
  for (const std::string& name : harness.AwaitAbandoned(0)) seen.insert(name);
  const std::set<std::string> distinct(seen.begin(), seen.end());
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kProducers * kItems));
  EXPECT_EQ(distinct.size(), seen.size());
  EXPECT_LE(harness.max_threads_at_once(), 3);
  EXPECT_EQ(errands, 100);
}

}  // namespace
}  // namespace pixembed
