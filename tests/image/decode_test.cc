// What holds for every format.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string Text(const absl::Status& status) { return absl::StrCat(status.message()); }

// ---- what is no image

TEST(Decode, NoBytesAreAnEmptyImage) {
  EXPECT_EQ(ReasonOf(Decode({}, {}).status()), Reason::kEmptyImage);
  EXPECT_EQ(ReasonOf(ReadHeader({}, {}).status()), Reason::kEmptyImage);
}

TEST(Decode, TextIsAnUnsupportedFormat) {
  const absl::Status status = Decode(AsBytes("This is a text, not an image."), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedFormat);
  EXPECT_THAT(Text(status), HasSubstr("JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"));
}

// ---- limits

// Headers that announce 60000 x 60000 pixels, with nothing much behind them.
std::vector<std::pair<std::string, std::string>> Bombs() {
  const std::string jpeg =
      absl::StrCat("\xff\xd8\xff\xc0", std::string("\x00\x0b\x08", 3), BigEndian(60000, 2),
                   BigEndian(60000, 2), std::string("\x01\x01\x11\x00", 4), "\xff\xda",
                   std::string("\x00\x08\x01\x01\x00\x00\x3f\x00", 8));
  const std::string webp_frame = ReadFixture("lossless.webp").substr(12);
  const std::string webp_body =
      absl::StrCat("WEBPVP8X", LittleEndian(10, 4), LittleEndian(0, 4), LittleEndian(59999, 3),
                   LittleEndian(59999, 3), webp_frame);
  return {
      {"JPEG", jpeg},
      {"PNG", PngFile(60000, 60000, 8, 2, "")},
      {"WebP", absl::StrCat("RIFF", LittleEndian(webp_body.size(), 4), webp_body)},
      {"GIF", GifFile(60000, 60000, "", 0, 0, 1, 1, std::string("\x02\x02\x44\x01\x00", 5))},
      {"BMP", BmpFile(60000, 60000, 24, 0, "", "")},
      {"TIFF", TiffFile(TiffEntries(60000, 60000, 2, 3), "")},
  };
}

TEST(DecodeLimits, AHeaderOfTooManyPixelsIsRefusedBeforeAnyPixel) {
  for (const auto& [format, file] : Bombs()) {
    if (format == "WebP") continue;  // its canvas has to fit its frame, which the demuxer checks
    const absl::Status status = Decode(AsBytes(file), {}).status();
    EXPECT_EQ(ReasonOf(status), Reason::kTooManyPixels) << format << ": " << status;
    EXPECT_THAT(Text(status),
                AllOf(HasSubstr(format), HasSubstr("60000 x 60000"), HasSubstr("3600000000"),
                      HasSubstr("89478485"), HasSubstr("--max_image_pixels")));
  }
}

TEST(DecodeLimits, PixelsAndSidesAreCheckedInEveryFormat) {
  for (const std::string& name : FixtureNames()) {
    const std::string file = ReadFixture(name);
    const DecodeLimits fits = {.max_pixels = 192, .max_side = 16};
    EXPECT_TRUE(Decode(AsBytes(file), fits).ok()) << name;
    EXPECT_EQ(ReasonOf(Decode(AsBytes(file), {.max_pixels = 192 - 1}).status()),
              Reason::kTooManyPixels)
        << name;
    EXPECT_EQ(ReasonOf(ReadHeader(AsBytes(file), {.max_pixels = 192 - 1}).status()),
              Reason::kTooManyPixels)
        << name;
    const absl::Status side = Decode(AsBytes(file), {.max_side = 15}).status();
    EXPECT_EQ(ReasonOf(side), Reason::kTooManyPixels) << name;
    EXPECT_THAT(Text(side),
                AllOf(HasSubstr("16 x 12"), HasSubstr("--max_image_side"), HasSubstr("15")))
        << name;
  }
}

TEST(DecodeLimits, EncodedBytesAreCountedBeforeTheFormatIsLookedAt) {
  const std::string text(100, 'x');
  const absl::Status status = Decode(AsBytes(text), {.max_encoded_bytes = 99}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kTooManyBytes);
  EXPECT_THAT(Text(status),
              AllOf(HasSubstr("100"), HasSubstr("99"), HasSubstr("--max_image_bytes")));
  EXPECT_EQ(ReasonOf(Decode(AsBytes(text), {.max_encoded_bytes = 100}).status()),
            Reason::kUnsupportedFormat);
}

// ---- fixtures: one of every format and kind

class DecodeFixture : public testing::TestWithParam<std::string> {
 protected:
  const std::string file_ = ReadFixture(GetParam());
};

TEST_P(DecodeFixture, ShowsItsPicture) {
  const absl::StatusOr<Image> image = Decode(AsBytes(file_), {});
  ASSERT_TRUE(image.ok()) << image.status();
  ASSERT_EQ(image->width(), 16);
  ASSERT_EQ(image->height(), 12);
  if (GetParam().starts_with("gray")) return;
  const bool lossy =
      GetParam().ends_with(".jpg") || GetParam().starts_with("lossy") || GetParam() == "jpeg.tiff";
  const int tolerance = lossy ? 40 : 0;
  for (int y = 0; y < 12; ++y) {
    for (int x = 0; x < 16; ++x) {
      for (int channel = 0; channel < 3; ++channel) {
        EXPECT_NEAR(image->row(y)[3 * x + channel], ExpectedFixturePixel(x, y, channel), tolerance)
            << x << ", " << y << ", " << channel;
      }
    }
  }
}

TEST_P(DecodeFixture, HeaderSaysFormatAndSizeAndAtLeastTheResultsMemory) {
  const absl::StatusOr<ImageHeader> header = ReadHeader(AsBytes(file_), {});
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->width, 16);
  EXPECT_EQ(header->height, 12);
  EXPECT_GE(header->decoded_bytes, 16U * 12 * 3);
  const std::string extension = GetParam().substr(GetParam().rfind('.') + 1);
  const std::vector<std::pair<std::string, Format>> formats = {
      {"jpg", Format::kJpeg}, {"png", Format::kPng}, {"webp", Format::kWebp},
      {"gif", Format::kGif},  {"bmp", Format::kBmp}, {"tiff", Format::kTiff},
      {"avif", Format::kAvif}};
  EXPECT_THAT(formats, testing::Contains(std::pair(extension, header->format)));
}

TEST_P(DecodeFixture, HalfOfItIsTruncated) {
  const std::string half = file_.substr(0, file_.size() / 2);
  const absl::Status status = Decode(AsBytes(half), {}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kTruncatedImage) << status;
}

TEST_P(DecodeFixture, EveryPrefixDecodesOrSaysWhyNot) {
  for (std::size_t size = 1; size < file_.size(); ++size) {
    const std::string prefix = file_.substr(0, size);
    const absl::StatusOr<Image> image = Decode(AsBytes(prefix), {});
    if (image.ok()) continue;
    const auto reason = ReasonOf(image.status());
    ASSERT_TRUE(reason.has_value()) << size << ": " << image.status();
    EXPECT_THAT(*reason, testing::AnyOf(Reason::kTruncatedImage, Reason::kCorruptImage,
                                        Reason::kUnsupportedFormat))
        << size;
  }
}

TEST_P(DecodeFixture, EveryFlippedByteDecodesOrSaysWhyNot) {
  const DecodeLimits small = {.max_pixels = 1 << 20};
  for (std::size_t at = 0; at < file_.size(); ++at) {
    for (const int flip : {1, 0x80, 0xFF}) {
      std::string damaged = file_;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const absl::StatusOr<Image> image = Decode(AsBytes(damaged), small);
      EXPECT_TRUE(image.ok() || ReasonOf(image.status()).has_value()) << at << ", " << flip;
    }
  }
}

TEST_P(DecodeFixture, IsTheSameTwice) {
  const absl::StatusOr<Image> first = Decode(AsBytes(file_), {});
  const absl::StatusOr<Image> second = Decode(AsBytes(file_), {});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(std::ranges::equal(first->pixels(), second->pixels()));
}

TEST(Decode, ThreadsDoNotDisturbOneAnother) {
  const std::vector<std::string> names = FixtureNames();
  std::vector<Image> expected;
  expected.reserve(names.size());
  for (const std::string& name : names) expected.push_back(*Decode(AsBytes(ReadFixture(name)), {}));
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    threads.reserve(wrong.size());
    for (int& count : wrong) {
      threads.emplace_back([&names, &expected, &count] {
        for (int round = 0; round < 10; ++round) {
          for (std::size_t i = 0; i < names.size(); ++i) {
            const absl::StatusOr<Image> image = Decode(AsBytes(ReadFixture(names[i])), {});
            if (!image.ok() || !std::ranges::equal(image->pixels(), expected[i].pixels())) ++count;
          }
        }
      });
    }
  }
  EXPECT_THAT(wrong, testing::Each(0));
}

INSTANTIATE_TEST_SUITE_P(All, DecodeFixture, testing::ValuesIn(FixtureNames()),
                         [](const auto& name) {
                           std::string label = name.param;
                           std::ranges::replace(label, '.', '_');
                           return label;
                         });

}  // namespace
}  // namespace pixembed
