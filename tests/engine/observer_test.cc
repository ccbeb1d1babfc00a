// What an observer hears: every image that was submitted once, whatever became of it, and every
// batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/engine/engine_fixture.h"
#include "tests/model/fake_model.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

std::string NameOf(const absl::Status& status) {
  return status.ok() ? "OK" : std::string(Describe(*ReasonOf(status)).name);
}

// Writes down what it hears.
class Notes final : public EngineObserver {
 public:
  void OnRefused(std::size_t model, Lane lane, const absl::Status& why) override {
    Write(absl::StrCat("refused ", model, LaneText(lane), " ", NameOf(why)));
  }
  void OnDone(std::size_t model, Lane lane, std::size_t encoded_bytes,
              std::chrono::nanoseconds inside, const absl::StatusOr<Outcome>& outcome) override {
    EXPECT_GT(inside.count(), 0);
    if (outcome.ok()) {
      const Timings& timings = outcome->timings;
      EXPECT_GE(inside, timings.queue + timings.decode + timings.compute);
    }
    Write(absl::StrCat("done ", model, LaneText(lane), " of ", encoded_bytes, " ",
                       NameOf(outcome.status())));
  }
  void OnBatch(std::size_t model, std::size_t images, std::chrono::nanoseconds compute,
               int units) override {
    EXPECT_GT(compute.count(), 0);
    Write(absl::StrCat("batch ", model, " of ", images, " on ", units));
  }

  std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }
  void Clear() {
    const std::lock_guard lock(mutex_);
    lines_.clear();
  }

 private:
  static const char* LaneText(Lane lane) { return lane == Lane::kBulk ? " bulk" : " online"; }

  void Write(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_.push_back(std::move(line));
  }

  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

class ObserverTest : public EngineTest {
 protected:
  void StartObserved(EngineOptions options = {}) {
    options.observer = notes_;
    Start(std::move(options));
  }

  // Whatever is inside ends, so that no more lines come.
  void Finish() {
    LetEverythingGo();
    ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  }

  std::shared_ptr<Notes> notes_ = std::make_shared<Notes>();
};

TEST_F(ObserverTest, HearsOfABatchThenOfItsImageBeforeTheCallerDoes) {
  StartObserved();
  Item item;
  item.image = Encoded("7");
  std::vector<std::string> heard;
  item.done = [&](const absl::StatusOr<Outcome>& outcome) {
    heard = notes_->lines();
    inbox_.Put("7", outcome);
  };
  EXPECT_THAT(notes_->lines(), IsEmpty());  // the warm-up is nobody's
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  ASSERT_TRUE(inbox_.Await("7").ok());
  EXPECT_THAT(heard, ElementsAre("batch 0 of 1 on 2", "done 0 online of 1 OK"));
}

TEST_F(ObserverTest, EveryImageEndsOnceWhateverBecameOfIt) {
  StartObserved();
  OccupyWorkers();
  std::stop_source stop;
  Item cancelled = inbox_.Expect("22");
  cancelled.stop = stop.get_token();
  Item late = inbox_.Expect("late", "333");
  late.deadline = TimePoint::min();
  Item bulk = inbox_.Expect("4444");
  bulk.lane = Lane::kBulk;
  ASSERT_TRUE(engine_
                  ->Submit(0, Call(std::move(cancelled), std::move(late), std::move(bulk),
                                   inbox_.Expect("corrupt")))
                  .ok());
  stop.request_stop();
  Finish();
  EXPECT_THAT(notes_->lines(),
              UnorderedElementsAre(
                  "batch 0 of 1 on 2", "done 0 online of 1 OK", "done 0 online of 2 CANCELLED",
                  "done 0 online of 3 DEADLINE_EXCEEDED", "done 0 online of 7 CORRUPT_IMAGE",
                  StartsWith("batch 0 of 1 on "), "done 0 bulk of 4 OK"));
}

TEST_F(ObserverTest, EachImageOfARefusedCallIsRefused) {
  EngineOptions options;
  options.max_queued_images = 2;
  StartObserved(options);
  Item bulk;
  bulk.lane = Lane::kBulk;
  EXPECT_FALSE(engine_->Submit(0, Call(Item(), std::move(bulk), Item())).ok());
  EXPECT_THAT(notes_->lines(),
              ElementsAre("refused 0 online OVERLOADED", "refused 0 bulk OVERLOADED",
                          "refused 0 online OVERLOADED"));
}

TEST_F(ObserverTest, ABatchThatFailsIsNoneAndItsImagesEnd) {
  StartObserved();
  model().FailNext(MakeError(Reason::kDeviceFailure, "no"));
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("7"))).ok());
  inbox_.Await(1);
  Finish();
  EXPECT_THAT(notes_->lines(), ElementsAre("done 0 online of 1 DEVICE_FAILURE"));
}

TEST_F(ObserverTest, WhoeverIsRefusedInLineIsHeardOf) {
  EngineOptions options;
  options.max_queued_images = 1;
  StartObserved(options);
  OccupyWorkers();
  std::stop_source stop;
  Item waiting = inbox_.Expect("7");
  waiting.stop = stop.get_token();
  std::promise<absl::Status> answer;
  engine_->SubmitWhenRoom(0, Call(std::move(waiting)),
                          [&answer](absl::Status status) { answer.set_value(std::move(status)); });
  stop.request_stop();
  EXPECT_EQ(ReasonOf(answer.get_future().get()), Reason::kCancelled);
  engine_->SubmitWhenRoom(9, Call(inbox_.Expect("8")), [](const absl::Status&) {});
  Finish();
  EXPECT_THAT(notes_->lines(),
              UnorderedElementsAre("refused 0 online CANCELLED", "refused 9 online UNKNOWN_MODEL",
                                   "batch 0 of 1 on 2", "done 0 online of 1 OK"));
}

TEST_F(ObserverTest, AnImageThatIsOnlyDescribedIsNoneToEmbed) {
  EngineOptions options;
  options.max_queued_images = 1;
  StartObserved(options);
  Item item = inbox_.Expect("7");
  item.describe = true;
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  ASSERT_TRUE(inbox_.Await("7").ok());
  Item first;
  first.describe = true;
  Item second;
  second.describe = true;
  EXPECT_FALSE(engine_->Submit(0, Call(std::move(first), std::move(second))).ok());
  Finish();
  EXPECT_THAT(notes_->lines(), IsEmpty());
}

TEST_F(ObserverTest, ModelsAreToldByTheirNumbersThoseThatCameLaterToo) {
  models_.push_back(std::make_shared<FakeModel>());
  StartObserved();
  const auto third = std::make_shared<FakeModel>();
  const absl::StatusOr<std::size_t> number = engine_->Add(third);
  ASSERT_TRUE(number.ok());
  ASSERT_EQ(*number, 2U);
  EXPECT_THAT(notes_->lines(), IsEmpty());
  for (const std::size_t model : {1U, 2U}) {
    const std::string name = std::to_string(model);
    ASSERT_TRUE(engine_->Submit(model, Call(inbox_.Expect(name))).ok());
    ASSERT_TRUE(inbox_.Await(name).ok());
  }
  EXPECT_THAT(notes_->lines(),
              ElementsAre(StartsWith("batch 1 of 1 on "), "done 1 online of 1 OK",
                          StartsWith("batch 2 of 1 on "), "done 2 online of 1 OK"));
}

TEST_F(ObserverTest, StatsTellTheCapacityAndTheWait) {
  Start();
  EXPECT_EQ(engine_->stats().capacity_units, kCores);
  EXPECT_EQ(engine_->stats().online_wait.count(), 0);
  for (int i = 0; i < 8; ++i) {  // so that the time of a batch is believed
    ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect(std::to_string(i)))).ok());
    inbox_.Await(static_cast<std::size_t>(i) + 1);
  }
  EXPECT_EQ(engine_->stats().online_wait.count(), 0);
  OccupyWorkers();
  Item bulk = inbox_.Expect("bulk", "1");
  bulk.lane = Lane::kBulk;
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(bulk))).ok());
  EXPECT_EQ(engine_->stats().online_wait.count(), 0);
  EXPECT_GT(engine_->stats().bulk_wait.count(), 0);
  const auto before = engine_->stats().bulk_wait;
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("online", "1"))).ok());
  EXPECT_GT(engine_->stats().online_wait.count(), 0);
  EXPECT_GT(engine_->stats().bulk_wait, before);
  LetEverythingGo();
  EXPECT_TRUE(inbox_.Await("online").ok());
}

}  // namespace
}  // namespace pixembed
