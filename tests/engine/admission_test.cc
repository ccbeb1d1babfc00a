// Who enters and who waits: Admission alone.
#include "src/engine/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Demand Online(std::size_t images, std::size_t bytes = 0) { return {{images, bytes}, {}}; }
Demand Bulk(std::size_t images, std::size_t bytes = 0) {
  return {{images, bytes}, {images, bytes}};
}

// Closed at the end, as its owner must.
class TestAdmission : public Admission {
 public:
  using Admission::Admission;
  ~TestAdmission() { Close(); }

  // Joins the line; the answer is recorded under `name`.
  void Wait(const std::string& name, const Demand& demand, const std::stop_token& stop = {}) {
    AdmitWhenRoom(demand, stop, [this, name](const absl::Status& status) {
      const std::lock_guard lock(answers_mutex_);
      answers_.push_back(name +
                         (status.ok() ? "" : " " + std::string(Describe(*ReasonOf(status)).name)));
      answered_.notify_all();
    });
  }
  void GiveBack(const Demand& demand) {
    Line entered = Release(demand);
    for (Waiter& waiter : entered) waiter.answer(absl::OkStatus());
    Leave(demand.all.images);
  }
  std::vector<std::string> answers() {
    const std::lock_guard lock(answers_mutex_);
    return answers_;
  }
  std::vector<std::string> AwaitAnswers(std::size_t count) {
    std::unique_lock lock(answers_mutex_);
    answered_.wait(lock, [&] { return answers_.size() >= count; });
    return answers_;
  }

 private:
  std::mutex answers_mutex_;
  std::condition_variable answered_;
  std::vector<std::string> answers_;
};

TEST(Admission, RefusesAboveTheCountAndNamesTheNumbersAndTheFlag) {
  TestAdmission admission({10, 1000});
  EXPECT_TRUE(admission.TryAdmit(Online(7)).ok());
  const absl::Status refused = admission.TryAdmit(Online(4));
  EXPECT_EQ(ReasonOf(refused), Reason::kOverloaded);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("4 images"));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("7 of 10 images (--max_queued_images)"));
  EXPECT_TRUE(admission.TryAdmit(Online(3)).ok());
}

TEST(Admission, RefusesAboveTheBytes) {
  TestAdmission admission({10, 1000});
  EXPECT_TRUE(admission.TryAdmit(Online(1, 600)).ok());
  const absl::Status refused = admission.TryAdmit(Online(1, 401));
  EXPECT_EQ(ReasonOf(refused), Reason::kOverloaded);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("600 of 1000 bytes (--max_queued_bytes)"));
  EXPECT_TRUE(admission.TryAdmit(Online(1, 400)).ok());
}

TEST(Admission, ARefusedCallTakesNothing) {
  TestAdmission admission({10, 1000});
  EXPECT_FALSE(admission.TryAdmit(Online(11)).ok());
  EXPECT_EQ(admission.inside(), Load{});
  EXPECT_TRUE(admission.TryAdmit(Online(10)).ok());
}

TEST(Admission, WaitersEnterInTheirOrder) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(4)).ok());
  admission.Wait("a", Online(3));
  admission.Wait("b", Online(1));  // would fit before a, but is second
  admission.GiveBack(Online(2));
  EXPECT_THAT(admission.answers(), IsEmpty());
  admission.GiveBack(Online(1));
  EXPECT_THAT(admission.answers(), ElementsAre("a"));
  admission.GiveBack(Online(1));
  EXPECT_THAT(admission.answers(), ElementsAre("a", "b"));
}

TEST(Admission, NobodyOvertakesAWaiter) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(3)).ok());
  admission.Wait("a", Online(2));
  EXPECT_FALSE(admission.TryAdmit(Online(1)).ok());
}

TEST(Admission, AWaiterWithRoomIsAnsweredAtOnce) {
  TestAdmission admission({4, 1000});
  admission.Wait("a", Online(4));
  EXPECT_THAT(admission.answers(), ElementsAre("a"));
}

TEST(Admission, AWaiterLargerThanTheLimitEntersAlone) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(1)).ok());
  admission.Wait("large", Online(9));
  EXPECT_THAT(admission.answers(), IsEmpty());
  admission.GiveBack(Online(1));
  EXPECT_THAT(admission.answers(), ElementsAre("large"));
  EXPECT_FALSE(admission.TryAdmit(Online(1)).ok());
}

TEST(Admission, BulkFillsAtMostHalf) {
  TestAdmission admission({10, 1000});
  EXPECT_TRUE(admission.TryAdmit(Bulk(3)).ok());
  EXPECT_TRUE(admission.TryAdmit(Bulk(2)).ok());
  EXPECT_FALSE(admission.TryAdmit(Bulk(1)).ok());
  EXPECT_TRUE(admission.TryAdmit(Online(5)).ok());
}

TEST(Admission, ABulkCallLargerThanHalfEntersWhenNoOtherBulkIsInside) {
  TestAdmission admission({10, 1000});
  EXPECT_TRUE(admission.TryAdmit(Bulk(8)).ok());
  EXPECT_TRUE(admission.TryAdmit(Online(2)).ok());
}

TEST(Admission, OnlineOvertakesBulkWaiters) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Bulk(2)).ok());
  admission.Wait("bulk", Bulk(1));
  EXPECT_TRUE(admission.TryAdmit(Online(2)).ok());
  admission.Wait("online", Online(1));
  admission.GiveBack(Bulk(2));
  EXPECT_THAT(admission.answers(), ElementsAre("online", "bulk"));
}

TEST(Admission, BulkDoesNotTakeTheRoomThatAnOnlineWaiterNeeds) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(4)).ok());
  admission.Wait("bulk", Bulk(1));
  admission.Wait("online", Online(3));
  admission.GiveBack(Online(2));
  EXPECT_THAT(admission.answers(), IsEmpty());
}

TEST(Admission, AStoppedWaiterLeavesTheLineWithoutRoomComing) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(4)).ok());
  std::stop_source stop;
  admission.Wait("a", Online(1), stop.get_token());
  stop.request_stop();
  EXPECT_THAT(admission.AwaitAnswers(1), ElementsAre("a CANCELLED"));
}

TEST(Admission, TheOneBehindAStoppedWaiterEntersIfItFits) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(3)).ok());
  std::stop_source stop;
  admission.Wait("a", Online(2), stop.get_token());
  admission.Wait("b", Online(1));
  stop.request_stop();
  EXPECT_THAT(admission.AwaitAnswers(2), testing::UnorderedElementsAre("a CANCELLED", "b"));
}

TEST(Admission, AWaiterThatIsStoppedAlreadyIsAnswered) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(4)).ok());
  std::stop_source stop;
  stop.request_stop();
  admission.Wait("a", Online(1), stop.get_token());
  EXPECT_THAT(admission.AwaitAnswers(1), ElementsAre("a CANCELLED"));
}

TEST(Admission, TheAnswerDoesNotRunInsideRequestStop) {
  std::mutex callers_mutex;  // held around request_stop and taken by the answer
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(4)).ok());
  std::stop_source stop;
  const auto answered = std::make_shared<std::promise<void>>();
  admission.AdmitWhenRoom(Online(1), stop.get_token(),
                          [&callers_mutex, answered](const absl::Status&) {
                            const std::lock_guard lock(callers_mutex);
                            answered->set_value();
                          });
  {
    const std::lock_guard lock(callers_mutex);
    stop.request_stop();
  }
  answered->get_future().wait();
}

TEST(Admission, ClosingAnswersTheLineAndRefusesTheRest) {
  TestAdmission admission({4, 1000});
  ASSERT_TRUE(admission.TryAdmit(Online(4)).ok());
  admission.Wait("a", Online(1));
  admission.Wait("b", Bulk(1));
  admission.Close();
  EXPECT_THAT(admission.answers(), ElementsAre("a DRAINING", "b DRAINING"));
  EXPECT_EQ(ReasonOf(admission.TryAdmit(Online(0))), Reason::kDraining);
  admission.Wait("c", Online(1));
  EXPECT_THAT(admission.answers(), ElementsAre("a DRAINING", "b DRAINING", "c DRAINING"));
}

TEST(Admission, IsEmptyOnlyWhenAllHaveLeft) {
  TestAdmission admission({4, 1000});
  EXPECT_TRUE(admission.WaitUntilEmpty(TimePoint::max()));
  ASSERT_TRUE(admission.TryAdmit(Online(2)).ok());
  EXPECT_FALSE(admission.WaitUntilEmpty(TimePoint::min()));
  EXPECT_TRUE(admission.Release(Online(2)).empty());
  EXPECT_EQ(admission.inside(), Load{});
  EXPECT_FALSE(admission.WaitUntilEmpty(TimePoint::min()));
  std::jthread leaver([&] { admission.Leave(2); });
  EXPECT_TRUE(admission.WaitUntilEmpty(TimePoint::max()));
}

// Its owner may be gone afterwards.
TEST(Admission, IsNotEmptyWhileAStoppedWaiterIsBeingAnswered) {
  TestAdmission admission({1, 100});
  ASSERT_TRUE(admission.TryAdmit(Online(1)).ok());
  std::latch answering(1);
  std::latch may_end(1);
  std::atomic<bool> answered = false;
  std::stop_source stop;
  admission.AdmitWhenRoom(Online(1), stop.get_token(), [&](const absl::Status& status) {
    EXPECT_EQ(ReasonOf(status), Reason::kCancelled);
    answering.count_down();
    may_end.wait();
    answered = true;
  });
  stop.request_stop();
  answering.wait();
  admission.Close();
  admission.GiveBack(Online(1));
  EXPECT_FALSE(admission.WaitUntilEmpty(std::chrono::steady_clock::now()));
  may_end.count_down();
  EXPECT_TRUE(admission.WaitUntilEmpty(TimePoint::max()));
  EXPECT_TRUE(answered);
}

TEST(Admission, EveryWaiterOfManyThreadsIsAnsweredOnce) {
  constexpr int kThreads = 4;
  constexpr int kCalls = 300;
  TestAdmission admission({8, 1000});
  std::atomic<int> admitted = 0;
  std::atomic<int> cancelled = 0;
  {
    std::vector<std::jthread> threads;
    threads.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kCalls; ++i) {
          std::stop_source stop;
          const Demand demand = (i + t) % 3 == 0 ? Bulk(1) : Online(2);
          // A second answer would throw.
          const auto answered = std::make_shared<std::promise<void>>();
          admission.AdmitWhenRoom(demand, stop.get_token(),
                                  [&, answered](const absl::Status& status) {
                                    ++(status.ok() ? admitted : cancelled);
                                    if (status.ok()) admission.GiveBack(demand);
                                    answered->set_value();
                                  });
          if (i % 4 == 0) stop.request_stop();
          answered->get_future().wait();
        }
      });
    }
  }
  EXPECT_EQ(admitted + cancelled, kThreads * kCalls);
  EXPECT_EQ(admission.inside(), Load{});
}

}  // namespace
}  // namespace pixembed
