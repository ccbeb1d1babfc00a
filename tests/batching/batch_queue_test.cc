// BatchQueue and PlanBatch: no thread, no clock, hand-made time points.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "src/batching/batching.h"
#include "tests/batching/fake_item.h"

namespace pixembed {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Why = Abandoned<FakeItem>::Why;

constexpr milliseconds kDelay{2};

// `ms` milliseconds after the start of a test's time.
TimePoint At(int ms) { return TimePoint() + std::chrono::hours(1) + milliseconds(ms); }

BatchQueue<FakeItem> Queue(std::size_t max_batch_size, BatchCost cost) {
  return BatchQueue<FakeItem>({max_batch_size, kDelay, cost});
}

BatchQueue<FakeItem> FlatQueue(std::size_t max_batch_size = 4) {
  return Queue(max_batch_size, BatchCost::kPerBatch);
}

BatchQueue<FakeItem> PerItemQueue(std::size_t max_batch_size = 4) {
  return Queue(max_batch_size, BatchCost::kPerItem);
}

constexpr std::size_t kAll = 1000;

TEST(BatchQueue, AnEmptyQueueAsksForNothing) {
  const BatchQueue<FakeItem> queue = FlatQueue();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.ReadyAt(), std::nullopt);
  EXPECT_EQ(queue.NextExpiry(), TimePoint::max());
}

TEST(BatchQueue, ALoneItemIsReadyAtOnce) {
  BatchQueue<FakeItem> queue = FlatQueue();
  queue.Push(FakeItem("a"), At(5));
  EXPECT_EQ(queue.ReadyAt(), At(5));
}

TEST(BatchQueue, WaitsOnlyWhileItemsAreAboutToLand) {
  BatchQueue<FakeItem> queue = FlatQueue();
  queue.Expect(false, 2);
  queue.Push(FakeItem("a"), At(5));
  EXPECT_EQ(queue.ReadyAt(), At(5) + kDelay);
  queue.Unexpect(false, 1);
  EXPECT_EQ(queue.ReadyAt(), At(5) + kDelay);
  queue.Unexpect(false, 1);
  EXPECT_EQ(queue.ReadyAt(), At(5));
}

TEST(BatchQueue, TheDelayCountsFromTheOldestItem) {
  BatchQueue<FakeItem> queue = FlatQueue();
  queue.Expect(false, 1);
  queue.Push(FakeItem("a"), At(5));
  queue.Push(FakeItem("b"), At(6));
  EXPECT_EQ(queue.ReadyAt(), At(5) + kDelay);
}

TEST(BatchQueue, NothingWaitsForCompanyWhereEachItemCosts) {
  BatchQueue<FakeItem> queue = PerItemQueue();
  queue.Expect(false, 2);
  queue.Push(FakeItem("a"), At(5));
  EXPECT_EQ(queue.ReadyAt(), At(5));
}

TEST(BatchQueue, AFullBatchWaitsForNothing) {
  BatchQueue<FakeItem> queue = FlatQueue(2);
  queue.Expect(false, 10);
  queue.Push(FakeItem("a"), At(5));
  queue.Push(FakeItem("b"), At(6));
  EXPECT_EQ(queue.ReadyAt(), At(5));
}

TEST(BatchQueue, OnlineItemsWaitForOnlineItemsOnly) {
  BatchQueue<FakeItem> queue = FlatQueue();
  queue.Expect(true, 3);
  queue.Push(FakeItem("a"), At(5));
  EXPECT_EQ(queue.ReadyAt(), At(5));
}

TEST(BatchQueue, BulkItemsWaitForEither) {
  BatchQueue<FakeItem> queue = FlatQueue();
  queue.Push(FakeItem("a").Bulk(), At(5));
  EXPECT_EQ(queue.ReadyAt(), At(5));
  queue.Expect(false, 1);
  EXPECT_EQ(queue.ReadyAt(), At(5) + kDelay);
}

TEST(BatchQueue, TakesInOrderUpToTheMaximum) {
  BatchQueue<FakeItem> queue = FlatQueue(2);
  for (const char* name : {"a", "b", "c"}) queue.Push(FakeItem(name), At(0));
  EXPECT_THAT(Names(queue.Take(kAll, At(1)).ready), ElementsAre("a", "b"));
  EXPECT_THAT(Names(queue.Take(kAll, At(1)).ready), ElementsAre("c"));
  EXPECT_TRUE(queue.empty());
}

TEST(BatchQueue, TakesNoMoreThanItsShare) {
  BatchQueue<FakeItem> queue = FlatQueue(4);
  for (const char* name : {"a", "b", "c"}) queue.Push(FakeItem(name), At(0));
  EXPECT_THAT(Names(queue.Take(2, At(1)).ready), ElementsAre("a", "b"));
}

TEST(BatchQueue, BulkFillsTheRoomThatOnlineLeaves) {
  BatchQueue<FakeItem> queue = FlatQueue(3);
  queue.Push(FakeItem("bulk1").Bulk(), At(0));
  queue.Push(FakeItem("bulk2").Bulk(), At(0));
  queue.Push(FakeItem("online1"), At(1));
  queue.Push(FakeItem("online2"), At(1));
  EXPECT_THAT(Names(queue.Take(kAll, At(2)).ready), ElementsAre("online1", "online2", "bulk1"));
  EXPECT_THAT(Names(queue.Take(kAll, At(2)).ready), ElementsAre("bulk2"));
}

TEST(BatchQueue, BulkStaysOutOfAnOnlineBatchWhereEachItemCosts) {
  BatchQueue<FakeItem> queue = PerItemQueue(3);
  queue.Push(FakeItem("bulk").Bulk(), At(0));
  queue.Push(FakeItem("online"), At(1));
  EXPECT_EQ(queue.candidates(), 1U);
  EXPECT_THAT(Names(queue.Take(kAll, At(2)).ready), ElementsAre("online"));
  EXPECT_THAT(Names(queue.Take(kAll, At(2)).ready), ElementsAre("bulk"));
}

TEST(BatchQueue, DeadlinesChangeNeitherWhenABatchIsReadyNorWhatItHolds) {
  BatchQueue<FakeItem> plain = FlatQueue();
  BatchQueue<FakeItem> limited = FlatQueue();
  for (BatchQueue<FakeItem>* queue : {&plain, &limited}) queue->Expect(false, 1);
  for (int i = 0; i < 6; ++i) {
    plain.Push(FakeItem("item"), At(i));
    limited.Push(FakeItem("item").Until(At(100 - i)), At(i));
    EXPECT_EQ(limited.ReadyAt(), plain.ReadyAt()) << i;
  }
  EXPECT_EQ(limited.Take(kAll, At(7)).ready.size(), plain.Take(kAll, At(7)).ready.size());
}

TEST(BatchQueue, CancelledAndExpiredItemsNeverReachAWorker) {
  BatchQueue<FakeItem> queue = FlatQueue(2);
  FakeItem cancelled("cancelled");
  *cancelled.canceller() = true;
  queue.Push(std::move(cancelled), At(0));
  queue.Push(FakeItem("expired").Until(At(10)), At(0));
  queue.Push(FakeItem("a").Until(At(11)), At(0));
  queue.Push(FakeItem("b"), At(0));
  const Batch<FakeItem> batch = queue.Take(kAll, At(10));
  EXPECT_THAT(Names(batch.ready), ElementsAre("a", "b"));
  ASSERT_THAT(Names(batch.abandoned), ElementsAre("cancelled", "expired"));
  EXPECT_EQ(batch.abandoned[0].why, Why::kCancelled);
  EXPECT_EQ(batch.abandoned[1].why, Why::kExpired);
}

TEST(BatchQueue, HandsBackTheAbandonedOfBothLanesAndKeepsTheOrderOfTheRest) {
  BatchQueue<FakeItem> queue = FlatQueue();
  FakeItem item("cancelled");
  const auto canceller = item.canceller();
  queue.Push(FakeItem("a"), At(0));
  queue.Push(std::move(item), At(0));
  queue.Push(FakeItem("b"), At(0));
  queue.Push(FakeItem("expired").Bulk().Until(At(5)), At(0));
  EXPECT_THAT(queue.TakeAbandoned(At(4)), IsEmpty());
  *canceller = true;
  EXPECT_THAT(Names(queue.TakeAbandoned(At(5))), ElementsAre("cancelled", "expired"));
  EXPECT_THAT(Names(queue.Take(kAll, At(5)).ready), ElementsAre("a", "b"));
}

TEST(BatchQueue, NextExpiryIsNeverLaterThanTheEarliestDeadline) {
  BatchQueue<FakeItem> queue = FlatQueue(1);
  queue.Push(FakeItem("a").Until(At(20)), At(0));
  queue.Push(FakeItem("b").Until(At(10)).Bulk(), At(0));
  EXPECT_EQ(queue.NextExpiry(), At(10));
  EXPECT_THAT(Names(queue.TakeAbandoned(At(10))), ElementsAre("b"));
  EXPECT_EQ(queue.NextExpiry(), At(20));
  queue.Take(kAll, At(11));
  EXPECT_LE(queue.NextExpiry(), TimePoint::max());
  EXPECT_THAT(queue.TakeAbandoned(At(20)), IsEmpty());
  EXPECT_EQ(queue.NextExpiry(), TimePoint::max());
}

// PlanBatch.

BatchCapacity Idle(int workers) { return {.idle_workers = workers, .free_cores = std::nullopt}; }
BatchCapacity Idle(int workers, int cores) {
  return {.idle_workers = workers, .free_cores = cores};
}

BatchPlan Plan(const std::vector<BatchQueue<FakeItem>>& queues, const BatchCapacity& capacity,
               TimePoint now) {
  return PlanBatch<FakeItem>(queues, capacity, now);
}

void Fill(BatchQueue<FakeItem>& queue, int items, TimePoint now) {
  for (int i = 0; i < items; ++i) queue.Push(FakeItem("item"), now);
}

void FillBulk(BatchQueue<FakeItem>& queue, int items, TimePoint now) {
  for (int i = 0; i < items; ++i) queue.Push(FakeItem("bulk").Bulk(), now);
}

TEST(PlanBatch, NothingToDoWhereNothingWaits) {
  const BatchPlan plan = Plan({PerItemQueue()}, Idle(2, 2), At(0));
  EXPECT_EQ(plan.queue, std::nullopt);
  EXPECT_EQ(plan.ask_again, TimePoint::max());
}

TEST(PlanBatch, ALoneBatchGetsEveryFreeCore) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 1, At(0));
  const BatchPlan plan = Plan(queues, Idle(8, 8), At(0));
  EXPECT_EQ(plan.queue, 0U);
  EXPECT_EQ(plan.limit, 1U);
  EXPECT_EQ(plan.threads, 8);
}

TEST(PlanBatch, ALoadedServerRunsOneThreadPerWorker) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 16, At(0));
  EXPECT_EQ(Plan(queues, Idle(4, 4), At(0)).threads, 1);
  EXPECT_EQ(Plan(queues, Idle(1, 1), At(0)).threads, 1);
}

TEST(PlanBatch, ItemsAboutToLandCountWhenCoresAreGiven) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 1, At(0));
  queues[0].Expect(false, 1);
  EXPECT_EQ(Plan(queues, Idle(2, 2), At(100)).threads, 1);
}

TEST(PlanBatch, WorkersShareWhatIsReadyEachInTwoTurns) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 12, At(0));
  EXPECT_EQ(Plan(queues, Idle(1, 1), At(0)).limit, 6U);
  EXPECT_EQ(Plan(queues, Idle(2, 2), At(0)).limit, 3U);
  EXPECT_EQ(Plan(queues, Idle(3, 3), At(0)).limit, 2U);
}

TEST(PlanBatch, BusyWorkersHaveTheirShareToo) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 12, At(0));
  BatchCapacity capacity = Idle(1, 1);
  capacity.busy_workers = 2;
  EXPECT_EQ(Plan(queues, capacity, At(0)).limit, 2U);
}

// Two items before one free worker of two: the second one starts sooner beside than behind.
TEST(PlanBatch, AShortLineIsTakenOneByOne) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 2, At(0));
  EXPECT_EQ(Plan(queues, Idle(1, 1), At(0)).limit, 1U);
}

TEST(PlanBatch, WorkersWithoutACoreDoNotShare) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 4, At(0));
  EXPECT_EQ(Plan(queues, Idle(3, 1), At(0)).limit, 2U);
}

TEST(PlanBatch, BulkIsTakenAsALoadAndOneByOneWhileOnlineItemsCome) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue(), PerItemQueue()};
  FillBulk(queues[0], 6, At(0));
  EXPECT_EQ(Plan(queues, Idle(2, 2), At(0)).limit, 3U);
  Fill(queues[1], 1, At(10));
  queues[1].Take(kAll, At(10));
  const TimePoint over = At(10) + BatchQueue<FakeItem>::kOnlineTraffic;
  EXPECT_EQ(Plan(queues, Idle(2, 2), over - milliseconds(1)).limit, 1U);
  EXPECT_EQ(Plan(queues, Idle(2, 2), over).limit, 3U);
}

TEST(PlanBatch, BulkLeavesAWorkerForEachOnlineItemThatIsAboutToLand) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue(), PerItemQueue()};
  FillBulk(queues[0], 6, At(0));
  queues[1].Expect(false, 2);
  EXPECT_EQ(Plan(queues, Idle(3, 3), At(5)).queue, 0U);
  EXPECT_EQ(Plan(queues, Idle(2, 2), At(5)).queue, std::nullopt);
  queues[1].Unexpect(false, 1);
  EXPECT_EQ(Plan(queues, Idle(2, 2), At(5)).queue, 0U);
}

TEST(PlanBatch, BulkWaitsForNothingWhileClosing) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  FillBulk(queues[0], 1, At(0));
  queues[0].Expect(false, 2);
  BatchCapacity capacity = Idle(1, 1);
  capacity.closing = true;
  EXPECT_EQ(Plan(queues, capacity, At(5)).queue, 0U);
}

TEST(PlanBatch, OneWorkerTakesAllWhereRoomInABatchIsFree) {
  std::vector<BatchQueue<FakeItem>> queues = {FlatQueue(32)};
  Fill(queues[0], 6, At(0));
  EXPECT_EQ(Plan(queues, Idle(2), At(0)).limit, 6U);
}

TEST(PlanBatch, AWorkerWaitsForACoreRatherThanOversubscribe) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  Fill(queues[0], 4, At(0));
  const BatchPlan plan = Plan(queues, Idle(1, 0), At(0));
  EXPECT_EQ(plan.queue, std::nullopt);
  EXPECT_EQ(plan.ask_again, TimePoint::max());
}

TEST(PlanBatch, TheQueueWhoseOldestItemWaitedLongestIsServed) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue(), PerItemQueue(), PerItemQueue()};
  Fill(queues[0], 4, At(2));
  Fill(queues[1], 1, At(1));
  Fill(queues[2], 2, At(3));
  EXPECT_EQ(Plan(queues, Idle(1, 1), At(5)).queue, 1U);
}

TEST(PlanBatch, OtherQueuesGetAWorkerEachBeforeOneGetsTwo) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue(), PerItemQueue()};
  Fill(queues[0], 4, At(0));
  Fill(queues[1], 1, At(1));
  EXPECT_EQ(Plan(queues, Idle(2, 2), At(1)).limit, 2U);
  EXPECT_EQ(Plan(queues, Idle(3, 3), At(1)).limit, 1U);
}

TEST(PlanBatch, BulkNeverDelaysOnline) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue(), PerItemQueue()};
  FillBulk(queues[0], 4, At(0));
  Fill(queues[1], 2, At(9));
  const BatchPlan plan = Plan(queues, Idle(2, 2), At(9));
  EXPECT_EQ(plan.queue, 1U);
  EXPECT_EQ(plan.limit, 1U);  // both workers are for the online items
}

TEST(PlanBatch, BulkTakesNoCoreFromALoneOnlineItem) {
  std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
  FillBulk(queues[0], 4, At(0));
  Fill(queues[0], 1, At(9));
  EXPECT_EQ(Plan(queues, Idle(2, 2), At(9)).threads, 2);
}

TEST(PlanBatch, BulkDoesNotTakeTheWorkerOfAnOnlineItemThatIsHeldBack) {
  std::vector<BatchQueue<FakeItem>> queues = {FlatQueue(), FlatQueue()};
  FillBulk(queues[0], 4, At(0));
  queues[1].Expect(false, 1);
  Fill(queues[1], 1, At(9));
  const BatchPlan plan = Plan(queues, Idle(1, 1), At(9));
  EXPECT_EQ(plan.queue, std::nullopt);
  EXPECT_EQ(plan.ask_again, At(9) + kDelay);
  EXPECT_EQ(Plan(queues, Idle(1, 1), At(11)).queue, 1U);
}

TEST(PlanBatch, SaysWhenToAskAgain) {
  std::vector<BatchQueue<FakeItem>> queues = {FlatQueue(), FlatQueue()};
  for (BatchQueue<FakeItem>& queue : queues) queue.Expect(false, 1);
  Fill(queues[0], 1, At(4));
  Fill(queues[1], 1, At(3));
  const BatchPlan plan = Plan(queues, Idle(2, 2), At(4));
  EXPECT_EQ(plan.queue, std::nullopt);
  EXPECT_EQ(plan.ask_again, At(3) + kDelay);
}

TEST(PlanBatch, NobodyWaitsWhileClosing) {
  std::vector<BatchQueue<FakeItem>> queues = {FlatQueue()};
  queues[0].Expect(false, 5);
  Fill(queues[0], 1, At(4));
  BatchCapacity capacity = Idle(1, 1);
  capacity.closing = true;
  EXPECT_EQ(Plan(queues, capacity, At(4)).queue, 0U);
}

TEST(PlanBatch, TheCoresOfRunningBatchesNeverExceedTheCores) {
  constexpr int kCores = 7;
  for (int items = 1; items <= 20; ++items) {
    std::vector<BatchQueue<FakeItem>> queues = {PerItemQueue()};
    Fill(queues[0], items, At(0));
    int free_cores = kCores;
    for (int idle = kCores; idle > 0; --idle) {
      const BatchPlan plan = Plan(queues, Idle(idle, free_cores), At(0));
      if (!plan.queue.has_value()) break;
      EXPECT_GE(plan.threads, 1);
      free_cores -= plan.threads;
      EXPECT_GE(free_cores, 0);
      queues[0].Take(plan.limit, At(0));
    }
    EXPECT_EQ(free_cores, 0) << "no core stays idle with " << items << " items";
  }
}

}  // namespace
}  // namespace pixembed
