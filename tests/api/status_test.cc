#include "api/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "src/error/error.h"
#include "tests/api/details.h"

namespace pixembed {
namespace {

using std::chrono::milliseconds;
using ::testing::EndsWith;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(Status, EveryReasonBecomesItsCodeAndAnErrorInfoOfOurDomain) {
  for (const ReasonInfo& info : AllReasons()) {
    const google::rpc::Status status = ToRpcStatus(MakeError(info.reason, "text"), milliseconds(1));
    EXPECT_EQ(status.code(), static_cast<int>(info.code)) << info.name;
    EXPECT_NE(info.code, absl::StatusCode::kInternal) << info.name;
    EXPECT_EQ(status.message(), "text");
    const auto error = DetailOf<google::rpc::ErrorInfo>(status);
    ASSERT_TRUE(error.has_value()) << info.name;
    EXPECT_EQ(error->reason(), std::string(info.name));
    EXPECT_EQ(error->domain(), "pixembed");
  }
}

TEST(Status, OkIsOk) { EXPECT_EQ(ToRpcStatus(absl::OkStatus(), milliseconds(1)).code(), 0); }

TEST(Status, ResourceExhaustedAndOnlyItSaysWhenToRetry) {
  for (const ReasonInfo& info : AllReasons()) {
    const auto status = ToRpcStatus(MakeError(info.reason, ""), milliseconds(1234));
    const auto retry = DetailOf<google::rpc::RetryInfo>(status);
    ASSERT_EQ(retry.has_value(), info.code == absl::StatusCode::kResourceExhausted) << info.name;
    if (!retry.has_value()) continue;
    EXPECT_EQ(retry->retry_delay().seconds(), 1);
    EXPECT_EQ(retry->retry_delay().nanos(), 234'000'000);
  }
}

TEST(Status, MetadataTravelsInErrorInfo) {
  absl::Status status = MakeError(Reason::kFingerprintMismatch, "text");
  status = WithMetadata(status, "expected", "a");
  status = WithMetadata(status, "actual", "b");
  const auto info = DetailOf<google::rpc::ErrorInfo>(ToRpcStatus(status, milliseconds(1)));
  ASSERT_TRUE(info.has_value());
  EXPECT_THAT(info->metadata(), UnorderedElementsAre(Pair("expected", "a"), Pair("actual", "b")));
}

TEST(Status, AStatusWithoutAReasonKeepsCodeAndText) {
  const auto status = ToRpcStatus(absl::NotFoundError("gone"), milliseconds(1));
  EXPECT_EQ(status.code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_EQ(status.message(), "gone");
  EXPECT_EQ(status.details_size(), 0);
}

TEST(Status, LongMessagesAreCutBetweenCharacters) {
  // Characters of two bytes: the cut would fall inside one for one of the two offsets.
  for (const std::string& prefix : {std::string(), std::string("x")}) {
    std::string text = prefix;
    while (text.size() < 5000) text += "\xc3\xa9";
    const std::string message =
        ToRpcStatus(MakeError(Reason::kInvalidOption, text), milliseconds(1)).message();
    EXPECT_LE(message.size(), kMaxStatusMessageBytes);
    EXPECT_THAT(message, EndsWith("\xc3\xa9 [...]"));
    EXPECT_EQ((message.size() - prefix.size()) % 2, 0U);
  }
}

TEST(Status, MessagesOfExactlyTheLimitAreWhole) {
  const std::string text(kMaxStatusMessageBytes, 'x');
  EXPECT_EQ(ToRpcStatus(absl::NotFoundError(text), milliseconds(1)).message(), text);
}

}  // namespace
}  // namespace pixembed
