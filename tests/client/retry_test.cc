// How long, and after which pauses, a call is tried again: by a clock of its own.
#include "client/cpp/retry.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "client/cpp/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_service.h"

namespace pixembed::client {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::nanoseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Lt;
using ::testing::SizeIs;

constexpr RetryClock::time_point kBegin{hours(1000)};
constexpr RetryClock::time_point kNoDeadline = RetryClock::time_point::max();
constexpr nanoseconds kAtOnce{0};

const absl::Status& Away() {
  static const absl::Status status = absl::UnavailableError("nobody listens");
  return status;
}

absl::Status Refused(milliseconds hint) { return FromGrpc(Overloaded(hint)); }

// The pauses of what always fails so, until it is given up. `now` goes on with them.
std::vector<nanoseconds> Pauses(Attempts& attempts, const absl::Status& failure,
                                RetryClock::time_point& now, bool answered = true) {
  constexpr int kMost = 1000;
  std::vector<nanoseconds> pauses;
  for (int i = 0; i < kMost; ++i) {
    const auto pause = attempts.Pause(failure, "a:1", answered, now);
    if (!pause) {
      break;
    }
    pauses.push_back(*pause);
    now += *pause;
  }
  return pauses;
}

std::vector<nanoseconds> PausesOfCall(const absl::Status& failure,
                                      const ClientOptions& options = {}) {
  RetryClock::time_point now = kBegin;
  Attempts attempts = Attempts::OfCall(options, 1, kBegin + minutes(1));
  return Pauses(attempts, failure, now);
}

// Each is one of these, or up to half longer; those after the last are as the last.
void ExpectJittered(const std::vector<nanoseconds>& pauses,
                    const std::vector<nanoseconds>& shortest, milliseconds hint) {
  for (std::size_t i = 0; i < pauses.size(); ++i) {
    const nanoseconds expected =
        std::max<nanoseconds>(hint, shortest[std::min(i, shortest.size() - 1)]);
    EXPECT_THAT(pauses[i], AllOf(Ge(expected), Le(expected * 3 / 2))) << i;
  }
}

TEST(Attempts, GoOnUntilTheTimeIsOver) {
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kCancelled}) {
    RetryClock::time_point now = kBegin;
    Attempts attempts = Attempts::OfCall({}, 1, kBegin + minutes(1));
    std::vector<nanoseconds> pauses = Pauses(attempts, absl::Status(code, "away"), now);
    EXPECT_THAT(now - kBegin, AllOf(Gt(milliseconds(59'900)), Lt(minutes(1))));
    EXPECT_THAT(pauses, Each(Le(milliseconds(1500))));
    ASSERT_GT(pauses.size(), 20);
    pauses.resize(20);
    ExpectJittered(pauses,
                   {milliseconds(50), milliseconds(100), milliseconds(200), milliseconds(400),
                    milliseconds(800), milliseconds(1000)},
                   milliseconds(0));
  }
}

TEST(Attempts, WithoutALimitGoOnForAMinute) {
  RetryClock::time_point now = kBegin + hours(1);  // the call may take as long as it likes
  Attempts attempts = Attempts::OfCall({}, 1, kNoDeadline);
  Pauses(attempts, Away(), now);
  EXPECT_THAT(now - kBegin - hours(1), AllOf(Gt(milliseconds(59'900)), Lt(minutes(1))));
}

TEST(Attempts, OfAStreamWithoutALimitGoOnForEverOnceThereWasAResult) {
  RetryClock::time_point now = kBegin;
  Attempts attempts = Attempts::OfStream({.timeout = milliseconds(0)}, 1);
  EXPECT_THAT(Pauses(attempts, Away(), now), SizeIs(Lt(200)));
  EXPECT_LT(now - kBegin, minutes(1));
  attempts.BeginAnew();
  EXPECT_THAT(Pauses(attempts, Away(), now), SizeIs(1000));
  EXPECT_EQ(attempts.deadline(), kNoDeadline);
}

TEST(Attempts, OfAStreamHaveTheirTimeAnewAfterEachResult) {
  RetryClock::time_point now = kBegin;
  Attempts attempts = Attempts::OfStream({.timeout = seconds(10)}, 1);
  for (int i = 0; i < 3; ++i) {
    const RetryClock::time_point begin = now;
    Pauses(attempts, Away(), now);
    EXPECT_THAT(now - begin, AllOf(Gt(milliseconds(9'900)), Lt(seconds(10))));
    attempts.BeginAnew();
    now += minutes(1);
  }
}

TEST(Attempts, AreAsManyAsAreAllowed) {
  EXPECT_THAT(PausesOfCall(Away(), {.max_attempts = 5}), SizeIs(4));
  EXPECT_THAT(PausesOfCall(Away(), {.max_attempts = 1}), IsEmpty());
  EXPECT_THAT(PausesOfCall(Refused(milliseconds(0)), {.max_attempts = 1}), IsEmpty());
  RetryClock::time_point now = kBegin;
  Attempts probes = Attempts::OfCall({}, 1, kNoDeadline, kProbes);
  EXPECT_THAT(Pauses(probes, Away(), now), SizeIs(kProbes - 1));
  Attempts said = Attempts::OfCall({.max_attempts = 2}, 1, kNoDeadline, kProbes);
  EXPECT_THAT(Pauses(said, Away(), now), SizeIs(1));
}

TEST(Attempts, AreFewWhereNobodyHasEverAnswered) {
  RetryClock::time_point now = kBegin;
  Attempts call = Attempts::OfCall({}, 1, kBegin + minutes(1));
  EXPECT_THAT(Pauses(call, Away(), now, /*answered=*/false), SizeIs(kProbes - 1));
  EXPECT_LT(now - kBegin, seconds(2));
  now = kBegin;
  Attempts stream = Attempts::OfStream({}, 1);
  EXPECT_THAT(Pauses(stream, Away(), now, /*answered=*/false), SizeIs(kProbes - 1));
  now = kBegin;
  Attempts said = Attempts::OfCall({.max_attempts = 9}, 1, kBegin + minutes(1));
  EXPECT_THAT(Pauses(said, Away(), now, /*answered=*/false), SizeIs(8));
}

TEST(Attempts, NoPauseIsShorterThanTheServerSays) {
  for (const milliseconds hint : {milliseconds(0), milliseconds(200), milliseconds(5000)}) {
    const std::vector<nanoseconds> pauses = PausesOfCall(Refused(hint));
    EXPECT_THAT(pauses, SizeIs(Gt(5)));
    // Who is refused again and again asks less often all the same.
    ExpectJittered(pauses,
                   {kAtOnce, milliseconds(50), milliseconds(100), milliseconds(200),
                    milliseconds(400), milliseconds(800), milliseconds(1000)},
                   hint);
  }
  EXPECT_THAT(PausesOfCall(Refused(seconds(70))), IsEmpty());
}

TEST(Attempts, WhatTryingAgainDoesNotMendIsNotTriedAgain) {
  EXPECT_THAT(PausesOfCall(absl::InvalidArgumentError("no")), IsEmpty());
  EXPECT_THAT(PausesOfCall(absl::DeadlineExceededError("late")), IsEmpty());
  EXPECT_THAT(PausesOfCall(absl::UnauthenticatedError("who?")), IsEmpty());
  EXPECT_THAT(PausesOfCall(absl::ResourceExhaustedError("too large")), IsEmpty());
  EXPECT_THAT(PausesOfCall(absl::UnavailableError(
                  "last error: UNKNOWN: a:1: Ssl handshake failed: SSL_ERROR_SSL: error:0A000086")),
              IsEmpty());
}

TEST(Attempts, AnotherAddressIsTriedAtOnceAndARoundOfThemEndsWithAPause) {
  Attempts attempts = Attempts::OfCall({}, 2, kBegin + minutes(1));
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(attempts.Pause(Away(), "a:1", /*answered=*/true, kBegin), kAtOnce);
    EXPECT_THAT(attempts.failed_addresses(), ElementsAre("a:1"));
    EXPECT_GT(attempts.Pause(Away(), "b:1", /*answered=*/true, kBegin), kAtOnce);
    EXPECT_THAT(attempts.failed_addresses(), IsEmpty());
  }
}

}  // namespace
}  // namespace pixembed::client
