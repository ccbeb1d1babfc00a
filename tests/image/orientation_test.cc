#include "src/image/orientation.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/error/error.h"
#include "src/image/byte_reader.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

Bytes AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Rows of letters, a pixel each.
Image Picture(const std::vector<std::string>& rows) {
  Image image(static_cast<int>(rows[0].size()), static_cast<int>(rows.size()));
  for (int y = 0; y < image.height(); ++y) {
    for (int x = 0; x < image.width(); ++x) {
      image.row(y)[std::ptrdiff_t{x} * 3] =
          static_cast<std::uint8_t>(rows[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)]);
    }
  }
  return image;
}

std::vector<std::string> Letters(const Image& image) {
  std::vector<std::string> rows;
  for (int y = 0; y < image.height(); ++y) {
    rows.emplace_back();
    for (int x = 0; x < image.width(); ++x) {
      rows.back().push_back(static_cast<char>(image.row(y)[std::ptrdiff_t{x} * 3]));
    }
  }
  return rows;
}

TEST(Oriented, TurnsAndMirrorsAsExifNumbersIt) {
  const std::vector<std::vector<std::string>> expected = {
      {"abc", "def"},      // 1
      {"cba", "fed"},      // 2
      {"fed", "cba"},      // 3
      {"def", "abc"},      // 4
      {"ad", "be", "cf"},  // 5
      {"da", "eb", "fc"},  // 6
      {"fc", "eb", "da"},  // 7
      {"cf", "be", "ad"},  // 8
  };
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Image turned = Oriented(Picture({"abc", "def"}), orientation);
    EXPECT_EQ(Letters(turned), expected[static_cast<std::size_t>(orientation) - 1]) << orientation;
    EXPECT_EQ(SwapsSides(orientation), turned.width() == 2) << orientation;
  }
}

TEST(Oriented, KeepsTheTransparency) {
  const Transparency transparency = {.kind = Transparency::Kind::kColor, .color = {1, 2, 3}};
  for (const int orientation : {1, 6}) {
    Image image = Picture({"ab", "cd"});
    image.set_transparency(transparency);
    EXPECT_EQ(Oriented(std::move(image), orientation).transparency(), transparency);
  }
}

TEST(OrientationOf, IsUprightForWhatIsNoOrientation) {
  EXPECT_EQ(OrientationOf(6), 6);
  for (const std::optional<double> value :
       {std::optional<double>(), std::optional(0.0), std::optional(9.0), std::optional(6.5),
        std::optional(-6.0), std::optional<double>(NAN), std::optional(1e300)}) {
    EXPECT_EQ(OrientationOf(value), kUpright);
  }
}

// Little-endian, one tag: orientation 6.
constexpr std::string_view kSix("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0", 22);

TEST(OrientationOfExif, ReadsTheTagBehindItsPrefixOrNone) {
  for (const std::string& prefix : {std::string(), std::string("Exif\0\0", 6)}) {
    const auto orientation = OrientationOfExif(AsBytes(prefix + std::string(kSix)));
    ASSERT_TRUE(orientation.ok()) << orientation.status();
    EXPECT_EQ(*orientation, 6);
  }
  const auto empty = OrientationOfExif({});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(*empty, std::nullopt);
}

TEST(OrientationOfExif, RefusesDataWithoutATiffHeader) {
  EXPECT_EQ(ReasonOf(OrientationOfExif(AsBytes("no header")).status()), Reason::kCorruptImage);
  EXPECT_EQ(ReasonOf(OrientationOfExif(AsBytes(kSix.substr(0, 7))).status()),
            Reason::kCorruptImage);
}

TEST(OrientationOfExif, ADirectoryThatIsCutShortHasNoTag) {
  const auto orientation = OrientationOfExif(AsBytes(kSix.substr(0, 15)));
  ASSERT_TRUE(orientation.ok()) << orientation.status();
  EXPECT_EQ(*orientation, std::nullopt);
}

TEST(OrientationOfXmp, ReadsAnAttributeOrAnElement) {
  EXPECT_EQ(OrientationOfXmp(R"(<a tiff:Orientation="6"/>)"), 6);
  EXPECT_EQ(OrientationOfXmp("<tiff:Orientation>3</tiff:Orientation>"), 3);
  EXPECT_EQ(OrientationOfXmp(R"(<a tiff:Orientation="x" tiff:Orientation="8"/>)"), 8);
  EXPECT_EQ(OrientationOfXmp(R"(<a tiff:Orientation="9"/>)"), kUpright);
  EXPECT_EQ(OrientationOfXmp(""), kUpright);
}

}  // namespace
}  // namespace pixembed
