#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>

// jpeglib.h uses FILE and size_t without including them.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"
#include "tests/image/random_image.h"

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

// ---- a part of the columns

// A file of random pixels and size, with sampling factors, colours, restarts and scans at random.
std::string RandomJpeg(std::mt19937& random) {
  jpeg_compress_struct cinfo;
  jpeg_error_mgr errors;
  cinfo.err = jpeg_std_error(&errors);
  jpeg_create_compress(&cinfo);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): the library's type
  jpeg_mem_dest(&cinfo, &bytes, &size);
  const Image image = RandomImage(random, Draw(random, 1, 300), Draw(random, 1, 50));
  cinfo.image_width = static_cast<JDIMENSION>(image.width());
  cinfo.image_height = static_cast<JDIMENSION>(image.height());
  cinfo.input_components = 3;
  cinfo.in_color_space = JCS_RGB;
  jpeg_set_defaults(&cinfo);
  jpeg_set_quality(&cinfo, Draw(random, 5, 100), TRUE);
  const J_COLOR_SPACE spaces[] = {JCS_YCbCr, JCS_YCbCr, JCS_YCbCr, JCS_GRAYSCALE, JCS_RGB};
  jpeg_set_colorspace(&cinfo, spaces[Draw(random, 0, 4)]);
  const int factors[] = {1, 2, 4};
  cinfo.comp_info[0].h_samp_factor = factors[Draw(random, 0, 2)];
  cinfo.comp_info[0].v_samp_factor = Draw(random, 1, 2);
  cinfo.restart_interval = Draw(random, 0, 1) == 0 ? 0 : static_cast<unsigned>(Draw(random, 1, 9));
  if (Draw(random, 0, 3) == 0) jpeg_simple_progression(&cinfo);
  jpeg_start_compress(&cinfo, TRUE);
  for (int y = 0; y < image.height(); ++y) {
    auto* row = const_cast<JSAMPROW>(image.row(y));  // which it does not write
    jpeg_write_scanlines(&cinfo, &row, 1);
  }
  jpeg_finish_compress(&cinfo);
  std::string file(reinterpret_cast<const char*>(bytes), size);
  jpeg_destroy_compress(&cinfo);
  std::free(bytes);
  return file;
}

TEST(Jpeg, ThePixelsOfTheNeededColumnsAreThoseOfTheWholePicture) {
  const std::uint32_t seed = TestSeed();
  SCOPED_TRACE(absl::StrCat("PIXEMBED_SEED=", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 1000; ++round) {
    std::string file = RandomJpeg(random);
    if (round % 4 == 3) {  // damaged
      for (int i = Draw(random, 1, 8); i > 0; --i) {
        file[static_cast<std::size_t>(Draw(random, 0, static_cast<int>(file.size()) - 1))] =
            static_cast<char>(random());
      }
    }
    const absl::StatusOr<Image> whole = Decode(AsBytes(file), {});
    Columns needed;
    const absl::StatusOr<Image> part = DecodeColumns(AsBytes(file), {}, [&](Size size) {
      needed.begin = Draw(random, 0, size.width - 1);
      needed.end = Draw(random, needed.begin + 1, size.width);
      return needed;
    });
    ASSERT_EQ(part.status(), whole.status());
    if (!whole.ok()) continue;
    for (int y = 0; y < whole->height(); ++y) {
      ASSERT_TRUE(std::equal(PixelAt(*whole, needed.begin, y), PixelAt(*whole, needed.end, y),
                             PixelAt(*part, needed.begin, y)))
          << "row " << y << ", columns " << needed.begin << " to " << needed.end << " of "
          << whole->width();
    }
  }
}

}  // namespace
}  // namespace pixembed
