#include "src/image/orientation.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "src/image/byte_reader.h"
#include "src/image/image.h"
#include "src/image/tiff_directory.h"

namespace pixembed {
namespace {

Bytes WithoutExifPrefix(Bytes data) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  const bool has_prefix = data.size() >= kPrefix.size() &&
                          std::memcmp(data.data(), kPrefix.data(), kPrefix.size()) == 0;
  return has_prefix ? data.subspan(kPrefix.size()) : data;
}

}  // namespace

bool SwapsSides(int orientation) { return orientation >= 5 && orientation <= 8; }

int OrientationOf(std::optional<double> value) {
  for (int orientation = 2; orientation <= 8; ++orientation) {
    if (value == orientation) return orientation;
  }
  return kUpright;
}

Image Oriented(Image image, int orientation) {
  if (orientation == kUpright) return image;
  const int width = image.width();
  const int height = image.height();
  Image result(SwapsSides(orientation) ? height : width, SwapsSides(orientation) ? width : height);
  result.set_transparency(image.transparency());
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  for (int y = 0; y < result.height(); ++y) {
    std::uint8_t* out = result.row(y);
    for (int x = 0; x < result.width(); ++x, out += 3) {
      const int across = SwapsSides(orientation) ? y : x;
      const int down = SwapsSides(orientation) ? x : y;
      const int source_x = from_right ? width - 1 - across : across;
      const int source_y = from_bottom ? height - 1 - down : down;
      std::memcpy(out, image.row(source_y) + std::ptrdiff_t{source_x} * 3, 3);
    }
  }
  return result;
}

absl::StatusOr<std::optional<int>> OrientationOfExif(Bytes exif) {
  // One in the file, and the one that Pillow adds to what PNG stores without.
  const Bytes data = WithoutExifPrefix(WithoutExifPrefix(exif));
  if (data.empty()) return std::nullopt;
  const absl::StatusOr<TiffDirectory> directory = TiffDirectory::ReadEmbedded(data);
  if (!directory.ok()) return directory.status();
  if (!directory->Has(TiffTag::kOrientation)) return std::nullopt;
  return OrientationOf(directory->Number(TiffTag::kOrientation));
}

int OrientationOfXmp(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (std::size_t at = xmp.find(kName); at != std::string_view::npos;
       at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with('>')) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest.front() >= '0' && rest.front() <= '9') {
      return OrientationOf(rest.front() - '0');
    }
  }
  return kUpright;
}

}  // namespace pixembed
