#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

using testing::HasSubstr;

// `file` with `value` in place of the byte `at` bytes behind the start of its frame header.
std::string WithFrameByte(std::string file, std::size_t at, int value) {
  const std::size_t frame = file.find("\xff\xc0");
  file[frame + at] = static_cast<char>(value);
  return file;
}

TEST(Jpeg, WithoutItsLastByteItIsTruncated) {
  const std::string file = ReadFixture("baseline.jpg");
  const absl::Status status = Decode(AsBytes(file.substr(0, file.size() - 1)), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kTruncatedImage) << status;
}

TEST(Jpeg, WhatFollowsTheEndDoesNotMatter) {
  const std::string file = ReadFixture("baseline.jpg");
  const auto plain = Decode(AsBytes(file), {});
  const auto longer = Decode(AsBytes(absl::StrCat(file, "and more")), {});
  ASSERT_TRUE(plain.ok() && longer.ok());
  EXPECT_TRUE(std::ranges::equal(plain->pixels(), longer->pixels()));
}

TEST(Jpeg, TwelveBitSamplesAndTwoComponentsAreUnsupported) {
  const std::string file = ReadFixture("baseline.jpg");
  const absl::Status bits = Decode(AsBytes(WithFrameByte(file, 4, 12)), {}).status();
  EXPECT_EQ(ReasonOf(bits), Reason::kUnsupportedFormat);
  EXPECT_THAT(std::string(bits.message()), HasSubstr("12-bit"));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(WithFrameByte(file, 9, 2)), {}).status()),
            Reason::kUnsupportedFormat);
}

TEST(Jpeg, AFrameWithoutRowsIsCorrupt) {
  const std::string file = WithFrameByte(ReadFixture("baseline.jpg"), 6, 0);
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {}).status()), Reason::kCorruptImage);
}

TEST(Jpeg, ProgressiveImagesNeedMoreMemoryAndSaySo) {
  const auto baseline = ReadHeader(AsBytes(ReadFixture("baseline.jpg")), {});
  const auto progressive = ReadHeader(AsBytes(ReadFixture("progressive.jpg")), {});
  ASSERT_TRUE(baseline.ok() && progressive.ok());
  EXPECT_GT(progressive->decoded_bytes, baseline->decoded_bytes);
}

TEST(Jpeg, ScansWithoutEndAreRefused) {
  const std::string file = ReadFixture("progressive.jpg");
  const std::size_t scan = file.find("\xff\xda");
  const std::size_t next = file.find('\xff', file.find("\xff\xda") + 14);
  std::string many = file.substr(0, next);
  for (int i = 0; i < 600; ++i) many += file.substr(scan, next - scan);
  const absl::Status status = Decode(AsBytes(absl::StrCat(many, file.substr(next))), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kCorruptImage) << status;
}

TEST(Jpeg, ASegmentThatCrossesABlockIsSkippedWhole) {
  std::string file = ReadFixture("baseline.jpg");
  const auto plain = Decode(AsBytes(file), {});
  const std::string comment =
      absl::StrCat("\xff\xfe", BigEndian(65002, 2), std::string(65000, 'x'));
  file.insert(2, absl::StrCat(comment, comment));
  const auto commented = Decode(AsBytes(file), {});
  ASSERT_TRUE(plain.ok() && commented.ok()) << commented.status();
  EXPECT_TRUE(std::ranges::equal(plain->pixels(), commented->pixels()));
}

}  // namespace
}  // namespace pixembed
