#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

// A canvas of 40 x 30 with the frame of lossless.webp (16 x 12) at (8, 4).
std::string OffsetFrame() {
  const std::string chunk = ReadFixture("lossless.webp").substr(12);
  const std::string frame =
      absl::StrCat(LittleEndian(4, 3), LittleEndian(2, 3), LittleEndian(15, 3), LittleEndian(11, 3),
                   LittleEndian(100, 3), LittleEndian(0, 1), chunk);
  const std::string body =
      absl::StrCat("WEBPVP8X", LittleEndian(10, 4), LittleEndian(2, 4), LittleEndian(39, 3),
                   LittleEndian(29, 3), "ANIM", LittleEndian(6, 4), LittleEndian(0xFFFFFFFF, 4),
                   LittleEndian(0, 2), "ANMF", LittleEndian(frame.size(), 4), frame);
  return absl::StrCat("RIFF", LittleEndian(body.size(), 4), body);
}

TEST(Webp, TheFirstFrameLiesAtItsOffsetOnBlack) {
  const auto image = Decode(AsBytes(OffsetFrame()), {});
  ASSERT_TRUE(image.ok()) << image.status();
  ASSERT_EQ(image->width(), 40);
  ASSERT_EQ(image->height(), 30);
  EXPECT_EQ(image->row(0)[0], 0);  // not the white background that the file asks for
  for (int channel = 0; channel < 3; ++channel) {
    EXPECT_EQ(image->row(4 + 5)[3 * (8 + 7) + channel], ExpectedFixturePixel(7, 5, channel));
  }
}

TEST(Webp, ACanvasOfTooManyPixelsIsRefusedBeforeAnyPixel) {
  EXPECT_EQ(ReasonOf(Decode(AsBytes(OffsetFrame()), {.max_pixels = 1199}).status()),
            Reason::kTooManyPixels);
  EXPECT_TRUE(Decode(AsBytes(OffsetFrame()), {.max_pixels = 1200}).ok());
}

TEST(Webp, WithoutItsLastByteItIsTruncated) {
  const std::string file = ReadFixture("lossy.webp");
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file.substr(0, file.size() - 1)), {}).status()),
            Reason::kTruncatedImage);
}

TEST(Webp, ASizeThatIsNotTheFramesIsCorrupt) {
  std::string file = ReadFixture("lossless.webp");
  file[20] = 'x';  // the signature of the image data
  EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {}).status()), Reason::kCorruptImage);
}

}  // namespace
}  // namespace pixembed
