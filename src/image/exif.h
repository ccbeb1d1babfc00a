// What an image's EXIF data says. Internal to the room.
#ifndef PIXEMBED_SRC_IMAGE_EXIF_H_
#define PIXEMBED_SRC_IMAGE_EXIF_H_

#include "src/image/byte_reader.h"
#include "src/image/image.h"

namespace pixembed {

// The orientation that the EXIF data of a JPEG, PNG or WebP ask for and that Decode does not apply:
// 2 to 8; 1 (upright) where they ask for none. Source: Pillow 13.0.0 Image.py getexif, for EXIF
// data (XMP is not looked at).
int ExifOrientation(Format format, Bytes bytes);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_EXIF_H_
