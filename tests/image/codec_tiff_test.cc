#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<int> Pixels(std::string_view file) {
  const absl::StatusOr<Image> image = Decode(AsBytes(file), {});
  EXPECT_TRUE(image.ok()) << image.status();
  if (!image.ok()) return {};
  return {image->pixels().begin(), image->pixels().end()};
}

// Two pixels of RGB beside one another, with more entries.
std::string TwoPixels(std::vector<TiffEntry> more = {}) {
  std::vector<TiffEntry> entries = TiffEntries(2, 1, 2, 3);
  std::ranges::move(more, std::back_inserter(entries));
  return TiffFile(std::move(entries), "\x01\x02\x03\x04\x05\x06");
}

TEST(Tiff, OrientationIsAppliedAndSwapsTheSides) {
  EXPECT_THAT(Pixels(TwoPixels()), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Pixels(TwoPixels({{274, 3, {2}}})), ElementsAre(4, 5, 6, 1, 2, 3));
  const auto header = ReadHeader(AsBytes(TwoPixels({{274, 3, {6}}})), {});
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->width, 1);
  EXPECT_EQ(header->height, 2);
}

TEST(Tiff, PackBitsIsDecompressed) {
  std::vector<TiffEntry> entries = TiffEntries(4, 1, 1, 1);
  entries.push_back({259, 3, {32773}});
  EXPECT_THAT(Pixels(TiffFile(std::move(entries), std::string("\xfd\x09", 2))),
              testing::Each(testing::Eq(9)));
}

TEST(Tiff, DataThatEndsEarlyIsTruncated) {
  const std::string file = TwoPixels();
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file.substr(0, file.size() - 1)), {}).status()),
            Reason::kTruncatedImage);
}

TEST(Tiff, KindsOfPixelsThatPillowDoesNotKnowAreUnsupported) {
  const absl::Status status =
      Decode(AsBytes(TiffFile(TiffEntries(2, 1, 9, 3), "abcdef")), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedFormat);
  EXPECT_THAT(std::string(status.message()), HasSubstr("photometric 9"));
  for (const std::uint32_t compression : {50001U, 32809U}) {  // WebP, ThunderScan
    EXPECT_EQ(ReasonOf(Decode(AsBytes(TwoPixels({{259, 3, {compression}}})), {}).status()),
              Reason::kUnsupportedFormat);
  }
}

TEST(Tiff, ATileLargerThanTheLimitIsRefusedThoughTheImageIsSmall) {
  const std::string file = TwoPixels({{259, 3, {8}}, {322, 4, {60000}}, {323, 4, {60000}}});
  EXPECT_EQ(ReasonOf(ReadHeader(AsBytes(file), {}).status()), Reason::kTooManyPixels);
}

TEST(Tiff, StripsThatPaintTheImageOverAndOverAreRefused) {
  std::vector<TiffEntry> entries = TiffEntries(1, 2, 1, 1);
  entries.back() = {278, 4, {1}};
  std::string file = TiffFile(std::move(entries), "ab");
  // The strip offsets: count 20000 of them, all pointing into the file's own bytes.
  const std::size_t at = file.find(std::string("\x11\x01\x04\0", 4));
  file.replace(at + 4, 4, LittleEndian(20000, 4));
  file.replace(at + 8, 4, LittleEndian(file.size(), 4));
  for (int i = 0; i < 20000; ++i) file += LittleEndian(8, 4);
  const absl::Status status = Decode(AsBytes(file), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kCorruptImage) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("far too many"));
}

TEST(Tiff, NoDirectoryIsCorrupt) {
  EXPECT_EQ(ReasonOf(Decode(AsBytes(std::string("II*\0\0\0\0\0", 8)), {}).status()),
            Reason::kCorruptImage);
}

}  // namespace
}  // namespace pixembed
