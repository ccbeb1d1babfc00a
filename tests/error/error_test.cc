#include "src/error/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace pixembed {
namespace {

TEST(Error, CarriesCodeMessageAndReason) {
  const absl::Status status = MakeError(Reason::kTruncatedImage, "ends at byte 12 of 40");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), "ends at byte 12 of 40");
  EXPECT_EQ(ReasonOf(status), Reason::kTruncatedImage);
}

TEST(Error, AStatusWithoutAReasonHasNone) {
  EXPECT_EQ(ReasonOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(ReasonOf(absl::InternalError("broken")), std::nullopt);
}

TEST(Error, AnnotateKeepsCodeAndReason) {
  const absl::Status status =
      Annotate(MakeError(Reason::kTensorShape, "has [2, 3]"), "model.safetensors");
  EXPECT_EQ(std::string(status.message()), "model.safetensors: has [2, 3]");
  EXPECT_EQ(ReasonOf(status), Reason::kTensorShape);
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

TEST(Error, WhatAFileSaysIsPrintableAndBounded) {
  EXPECT_EQ(Printable("model-00001-of-00002.safetensors"), "model-00001-of-00002.safetensors");
  EXPECT_EQ(Printable("a\nb\x1b[2J\xff\"\\"), R"(a\nb\x1b[2J\xff\"\\)");
  EXPECT_EQ(Printable(std::string_view("\0", 1)), R"(\x00)");
  EXPECT_EQ(Quoted("a\nb"), R"("a\nb")");
  const std::string longest(kMaxPrintableBytes, 'x');
  EXPECT_EQ(Printable(longest), longest);
  EXPECT_EQ(Printable(longest + "y"), longest + "...");
  // The cut falls inside a character of two bytes.
  EXPECT_EQ(Quoted("\xc3\xa9" + longest), "\"\\xc3\\xa9" + longest.substr(2) + "...\"");
  EXPECT_EQ(Printable(std::string(kMaxPrintableBytes + 1, '\xff')).size(),
            4 * kMaxPrintableBytes + 3);
}

TEST(Error, EveryReasonHasItsOwnNameAMeaningAndAFailingCode) {
  std::set<std::string_view> names;
  for (const ReasonInfo& info : AllReasons()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_FALSE(info.meaning.empty()) << info.name;
    EXPECT_NE(info.code, absl::StatusCode::kOk) << info.name;
    EXPECT_NE(info.code, absl::StatusCode::kInternal) << info.name;
    EXPECT_EQ(ReasonOf(MakeError(info.reason, "")), info.reason) << info.name;
  }
}

}  // namespace
}  // namespace pixembed
