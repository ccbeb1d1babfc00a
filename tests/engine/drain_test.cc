// Shutting down: nothing that was admitted is lost, nothing new comes in, nothing hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/engine/engine_fixture.h"

namespace pixembed {
namespace {

using ::testing::HasSubstr;

TimePoint Now() { return std::chrono::steady_clock::now(); }

class DrainTest : public EngineTest {
 protected:
  void SubmitMany(int count) {
    std::vector<Item> items;
    items.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) items.push_back(inbox_.Expect(std::to_string(i), "1"));
    ASSERT_TRUE(engine_->Submit(0, std::move(items)).ok());
  }
};

TEST_F(DrainTest, FinishesEverythingThatWasAdmitted) {
  Start();
  SubmitMany(100);
  EXPECT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_EQ(inbox_.size(), 100U);
  EXPECT_EQ(engine_->stats().completed, 100U);
}

TEST_F(DrainTest, TheDestructorFinishesEverythingToo) {
  Start();
  SubmitMany(100);
  engine_.reset();
  EXPECT_EQ(inbox_.size(), 100U);
}

TEST_F(DrainTest, NewWorkIsRefused) {
  Start();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  const absl::Status refused = engine_->Submit(0, Call(inbox_.Expect("1")));
  EXPECT_EQ(ReasonOf(refused), Reason::kDraining);
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  std::optional<Reason> reason;
  engine_->SubmitWhenRoom(0, Call(inbox_.Expect("1")),
                          [&](const absl::Status& status) { reason = ReasonOf(status); });
  EXPECT_EQ(reason, Reason::kDraining);
}

TEST_F(DrainTest, WorkSubmittedByDoneDuringADrainIsRefused) {
  EngineOptions options;
  options.max_queued_images = 1;
  Start(options);
  model().Hold();
  std::promise<absl::Status> resubmitted;
  Item item;
  item.image = Encoded("1");
  item.done = [&](const absl::StatusOr<Outcome>& outcome) {
    EXPECT_TRUE(outcome.ok());
    resubmitted.set_value(engine_->Submit(0, Call(inbox_.Expect("again", "1"))));
  };
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  model().AwaitHeld(1);
  // One in line, whose answer says that the drain has begun.
  std::promise<void> begun;
  engine_->SubmitWhenRoom(0, Call(inbox_.Expect("in line", "1")),
                          [&](const absl::Status&) { begun.set_value(); });
  std::jthread drainer([&] { EXPECT_TRUE(engine_->Drain(TimePoint::max()).ok()); });
  begun.get_future().wait();
  model().LetGo();
  EXPECT_EQ(ReasonOf(resubmitted.get_future().get()), Reason::kDraining);
}

TEST_F(DrainTest, ThoseInLineAreToldAtOnce) {
  EngineOptions options;
  options.max_queued_images = 1;
  Start(options);
  OccupyWorkers();
  std::promise<absl::Status> answer;
  engine_->SubmitWhenRoom(0, Call(inbox_.Expect("1")),
                          [&](absl::Status status) { answer.set_value(std::move(status)); });
  std::jthread drainer([&] { EXPECT_TRUE(engine_->Drain(TimePoint::max()).ok()); });
  EXPECT_EQ(ReasonOf(answer.get_future().get()), Reason::kDraining);
  model().LetGo();
}

TEST_F(DrainTest, WhatIsLeftAtTheDeadlineIsCutOff) {
  EngineOptions options;
  options.decode_threads = 1;
  Start(options);
  OccupyWorkers();         // one that is being computed,
  SubmitMany(3);           // three that wait,
  decoder_.gate().Hold();  // one that is being decoded (or one of the three),
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("decoding", "1"))).ok());
  decoder_.gate().AwaitHeld(1);
  const absl::Status status = engine_->Drain(Now() + std::chrono::milliseconds(5));
  EXPECT_EQ(ReasonOf(status), Reason::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("5 images"));
  // All are answered, although model and decoder still hold them.
  EXPECT_EQ(inbox_.size(), 5U);
  for (const char* name : {"busy", "0", "1", "2", "decoding"}) {
    EXPECT_EQ(inbox_.AwaitReason(name), Reason::kDraining);
  }
  EXPECT_EQ(engine_->stats().queued_images, 0U);
  EXPECT_TRUE(engine_->Drain(Now()).ok());  // nothing is left
  LetEverythingGo();
  engine_.reset();
  EXPECT_EQ(inbox_.size(), 5U);
}

TEST_F(DrainTest, ADrainInTimeIsIdempotentAndMayRunTwiceAtOnce) {
  Start();
  SubmitMany(50);
  std::jthread other([&] { EXPECT_TRUE(engine_->Drain(TimePoint::max()).ok()); });
  EXPECT_TRUE(engine_->Drain(TimePoint::max()).ok());
}

}  // namespace
}  // namespace pixembed
