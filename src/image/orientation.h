// Orientation: where a file's metadata say how its picture was held, and turning it upright.
//
// Values are EXIF's: 1 upright, 2 mirrored, 3 upside down, ..., 5 to 8 with their sides swapped.
// Source: Pillow 13.0.0 src/PIL/ImageOps.py exif_transpose, src/PIL/Image.py getexif, Exif.
#ifndef PIXEMBED_SRC_IMAGE_ORIENTATION_H_
#define PIXEMBED_SRC_IMAGE_ORIENTATION_H_

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "src/image/byte_reader.h"
#include "src/image/image.h"

namespace pixembed {

inline constexpr int kUpright = 1;

// Whether an orientation swaps the sides.
bool SwapsSides(int orientation);

// The image, turned upright, with its transparency.
Image Oriented(Image image, int orientation);

// What exif_transpose makes of the tag's value: of any number but 1 to 8, and of what is no number,
// kUpright.
int OrientationOf(std::optional<double> value);

// The orientation in EXIF data, with or without "Exif\0\0" before its TIFF header; nothing
// where there is no tag.
// Errors: CORRUPT_IMAGE (no TIFF header: Pillow raises).
absl::StatusOr<std::optional<int>> OrientationOfExif(Bytes exif);

// The orientation in an XMP packet; kUpright where there is none.
int OrientationOfXmp(std::string_view xmp);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_ORIENTATION_H_
