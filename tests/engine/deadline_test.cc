// Deadlines and cancellation, before the decode, before inference, in line and at the door.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/engine/engine_fixture.h"

namespace pixembed {
namespace {

using std::chrono::milliseconds;
using ::testing::ContainsRegex;

TimePoint Now() { return std::chrono::steady_clock::now(); }

class DeadlineTest : public EngineTest {
 protected:
  // One decode thread, so that what is submitted behind a held decode is not decoded.
  void StartWithOneDecoder() {
    EngineOptions options;
    options.decode_threads = 1;
    Start(options);
  }

  void OccupyDecoder() {
    decoder_.gate().Hold();
    ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("decoding", "1"))).ok());
    decoder_.gate().AwaitHeld(1);
  }
};

TEST_F(DeadlineTest, AnExpiredImageIsNotDecoded) {
  StartWithOneDecoder();
  OccupyDecoder();
  Item item = inbox_.Expect("late", "1");
  item.deadline = Now() + milliseconds(5);
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  EXPECT_EQ(inbox_.AwaitReason("late"), Reason::kDeadlineExceeded);  // the decoder is still busy
  EXPECT_FALSE(inbox_.Has("decoding"));
  decoder_.gate().LetGo();
  EXPECT_TRUE(inbox_.Await("decoding").ok());
  EXPECT_EQ(decoder_.decodes(), 1);
}

TEST_F(DeadlineTest, ACancelledImageIsNotDecoded) {
  StartWithOneDecoder();
  OccupyDecoder();
  std::stop_source stop;
  Item item = inbox_.Expect("cancelled", "1");
  item.stop = stop.get_token();
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  stop.request_stop();
  EXPECT_EQ(inbox_.AwaitReason("cancelled"), Reason::kCancelled);
  decoder_.gate().LetGo();
  EXPECT_TRUE(inbox_.Await("decoding").ok());
  EXPECT_EQ(decoder_.decodes(), 1);
}

TEST_F(DeadlineTest, AnImageThatIsCancelledAlreadyIsNotDecoded) {
  Start();
  std::stop_source stop;
  stop.request_stop();
  Item item = inbox_.Expect("cancelled", "1");
  item.stop = stop.get_token();
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  EXPECT_EQ(inbox_.AwaitReason("cancelled"), Reason::kCancelled);
  EXPECT_EQ(decoder_.decodes(), 0);
}

TEST_F(DeadlineTest, AnExpiredImageIsNotComputed) {
  Start();
  OccupyWorkers();
  Item item = inbox_.Expect("late", "99");
  item.deadline = Now() + milliseconds(5);
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  EXPECT_EQ(inbox_.AwaitReason("late"), Reason::kDeadlineExceeded);  // the workers are still busy
  EXPECT_FALSE(inbox_.Has("busy"));
  model().LetGo();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  for (const FakeModel::Call& call : Calls()) {
    EXPECT_THAT(call.first_means, ::testing::Not(::testing::Contains(99.0F)));
  }
}

TEST_F(DeadlineTest, ACancelledImageIsNotComputed) {
  EngineOptions options;
  options.decode_threads = 1;
  Start(options);
  OccupyWorkers();
  std::stop_source stop;
  Item item = inbox_.Expect("cancelled", "99");
  item.stop = stop.get_token();
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("broken"))).ok());
  EXPECT_FALSE(inbox_.Await("broken").ok());  // so the one before is decoded
  stop.request_stop();
  EXPECT_EQ(inbox_.AwaitReason("cancelled"), Reason::kCancelled);
  EXPECT_EQ(decoder_.decodes(), 2);
  model().LetGo();
  ASSERT_TRUE(engine_->Drain(TimePoint::max()).ok());
  EXPECT_EQ(Calls().size(), 1U);
}

TEST_F(DeadlineTest, ABatchThatHasBegunIsFinishedInSpiteOfACancel) {
  Start();
  model().Hold();
  std::stop_source stop;
  Item item = inbox_.Expect("4");
  item.stop = stop.get_token();
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  model().AwaitHeld(1);
  stop.request_stop();
  model().LetGo();
  EXPECT_EQ(FirstValue(inbox_.Await("4")), 4.0F);
}

TEST_F(DeadlineTest, ACancelledImageDoesNotWaitForMemoryToDecodeIn) {
  EngineOptions options;
  options.max_decoded_bytes = 1 << 20;
  Start(options);
  decoder_.gate().Hold();
  ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("1 mb=1"))).ok());
  decoder_.gate().AwaitHeld(1);
  std::stop_source stop;
  Item cancelled = inbox_.Expect("2 mb=1");
  cancelled.stop = stop.get_token();
  Item late = inbox_.Expect("3 mb=1");
  late.deadline = Now() + milliseconds(5);
  ASSERT_TRUE(engine_->Submit(0, Call(std::move(cancelled), std::move(late))).ok());
  stop.request_stop();
  EXPECT_EQ(inbox_.AwaitReason("2 mb=1"), Reason::kCancelled);
  EXPECT_EQ(inbox_.AwaitReason("3 mb=1"), Reason::kDeadlineExceeded);
  EXPECT_EQ(decoder_.decodes(), 1);
}

TEST_F(DeadlineTest, ADeadlineThatTheMeasuredRateClearlyMissesIsRefused) {
  EngineOptions options;
  options.max_batch_size = 1;
  Start(options);
  // Long enough batches that a thousand of them are a clear miss of a millisecond.
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("measured" + std::to_string(i), "1"))).ok());
    inbox_.Await(static_cast<std::size_t>(i) + 1);
  }
  OccupyWorkers();
  std::vector<Item> items;
  items.reserve(1000);
  for (int i = 0; i < 1000; ++i) items.push_back(inbox_.Expect(std::to_string(i), "1"));
  ASSERT_TRUE(engine_->Submit(0, std::move(items)).ok());

  bool answered = false;
  Item hopeless;
  hopeless.image = Encoded("1");
  hopeless.deadline = Now();
  hopeless.done = [&](const absl::StatusOr<Outcome>&) { answered = true; };
  const EngineStats before = engine_->stats();
  const absl::Status refused = engine_->Submit(0, Call(std::move(hopeless)));
  EXPECT_EQ(ReasonOf(refused), Reason::kDeadlineTooShort);
  EXPECT_THAT(std::string(refused.message()),
              ContainsRegex("^the deadline passed [0-9.e-]+ ms ago; at the measured rate"));
  EXPECT_EQ(engine_->stats().refused, before.refused + 1);
  EXPECT_EQ(engine_->stats().admitted, before.admitted);

  Item patient = inbox_.Expect("patient", "1");
  patient.deadline = Now() + std::chrono::hours(1);
  EXPECT_TRUE(engine_->Submit(0, Call(std::move(patient))).ok());
  model().LetGo();
  EXPECT_TRUE(inbox_.Await("patient").ok());
  EXPECT_FALSE(answered);
}

TEST_F(DeadlineTest, WithoutMeasurementsNoDeadlineIsRefused) {
  Start();
  Item item = inbox_.Expect("1");
  item.deadline = Now();
  EXPECT_TRUE(engine_->Submit(0, Call(std::move(item))).ok());
  EXPECT_EQ(inbox_.AwaitReason("1"), Reason::kDeadlineExceeded);
}

}  // namespace
}  // namespace pixembed
