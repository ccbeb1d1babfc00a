#include "src/image/exif.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "src/image/byte_reader.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"

namespace pixembed {
namespace {

constexpr int kOrientationTag = 274;
constexpr int kShort = 3;
constexpr std::string_view kPrefix("Exif\0\0", 6);

int OrientationIn(Format format, std::string_view file) {
  return ExifOrientation(format, {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()});
}

std::string Exif(std::uint32_t orientation) {
  return TiffFile({{kOrientationTag, kShort, {orientation}}}, "");
}

std::string JpegSegment(std::uint8_t marker, const std::string& data) {
  std::string segment = "\xFF";
  segment.push_back(static_cast<char>(marker));
  return segment + BigEndian(data.size() + 2, 2) + data;
}

std::string Jpeg(const std::string& segments) { return "\xFF\xD8" + segments + "\xFF\xDA"; }

std::string Webp(const std::string& exif) {
  return "RIFF" + LittleEndian(0, 4) + "WEBP" + "VP8X" + LittleEndian(3, 4) + "abc" +
         std::string(1, '\0') + "EXIF" + LittleEndian(exif.size(), 4) + exif;
}

TEST(ExifOrientation, IsReadWhereEachFormatKeepsIt) {
  for (std::uint32_t orientation = 2; orientation <= 8; ++orientation) {
    const std::string exif = Exif(orientation);
    const std::string segment = std::string(kPrefix) + exif;
    EXPECT_EQ(OrientationIn(Format::kJpeg, Jpeg(JpegSegment(0xE1, segment))), orientation);
    EXPECT_EQ(OrientationIn(Format::kPng, PngFile(1, 1, 8, 2, "", PngChunk("eXIf", exif))),
              orientation);
    EXPECT_EQ(OrientationIn(Format::kWebp, Webp(exif)), orientation);
    EXPECT_EQ(OrientationIn(Format::kWebp, Webp(segment)), orientation);
  }
}

TEST(ExifOrientation, OfAJpegComesAfterOtherSegmentsAndJunkAndBeforeTheScan) {
  const std::string segment = JpegSegment(0xE1, std::string(kPrefix) + Exif(6));
  const std::string other = JpegSegment(0xE1, "http://ns.adobe.com/xap/1.0/");
  EXPECT_EQ(OrientationIn(Format::kJpeg, Jpeg(other + "\x11\xFF\xFF" + segment.substr(1))), 6);
  EXPECT_EQ(OrientationIn(Format::kJpeg, Jpeg("") + segment), 1);
}

TEST(ExifOrientation, IsUprightWhereThereIsNoneOrNoSuch) {
  EXPECT_EQ(OrientationIn(Format::kJpeg, Jpeg("")), 1);
  EXPECT_EQ(OrientationIn(Format::kGif, "GIF89a"), 1);
  for (const std::uint32_t value : {0U, 1U, 9U, 600U}) {
    EXPECT_EQ(OrientationIn(Format::kWebp, Webp(Exif(value))), 1) << value;
  }
  EXPECT_EQ(OrientationIn(Format::kWebp, Webp("no TIFF header")), 1);
}

TEST(ExifOrientation, AFileThatEndsAnywhereIsNoTrouble) {
  const std::string files[] = {Jpeg(JpegSegment(0xE1, std::string(kPrefix) + Exif(6))),
                               PngFile(1, 1, 8, 2, "", PngChunk("eXIf", Exif(6))), Webp(Exif(6))};
  const Format formats[] = {Format::kJpeg, Format::kPng, Format::kWebp};
  for (std::size_t i = 0; i < std::size(files); ++i) {
    for (std::size_t size = 0; size <= files[i].size(); ++size) {
      const int orientation = OrientationIn(formats[i], std::string_view(files[i]).substr(0, size));
      EXPECT_TRUE(orientation == 1 || orientation == 6) << size;
    }
  }
}

}  // namespace
}  // namespace pixembed
