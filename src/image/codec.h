// The contract between decode.cc and the codecs. One format = one codec_*.cc = one row in
// decode.cc's table. The types of a codec's library never leave its file.
#ifndef PIXEMBED_SRC_IMAGE_CODEC_H_
#define PIXEMBED_SRC_IMAGE_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/image/byte_reader.h"
#include "src/image/image.h"

namespace pixembed {

// Columns [begin, end) of a picture.
struct Columns {
  int begin = 0;
  int end = 0;
  friend bool operator==(const Columns&, const Columns&) = default;
};

// What the caller will look at.
struct Needed {
  Columns columns;
  // What shows through where the image is transparent; nothing: alpha is dropped.
  std::optional<Color> background;
};

// Stateless, thread-safe. A codec never prints, never exits, and answers every failure with a
// status that carries a reason; std::bad_alloc may leave it.
struct Codec {
  Format format;
  // Whether the first bytes are the format's signature, by the rule of Pillow's _accept. A file
  // that one codec accepts is offered to no other.
  bool (*accepts)(Bytes bytes);
  // Reads the header, checks size and limits (HeaderFor), decodes nothing.
  absl::StatusOr<ImageHeader> (*read_header)(Bytes bytes, const DecodeLimits& limits);
  // `header` is what read_header answered for the same bytes and limits; the image has its size.
  // Pixels outside the columns `needed` may be indeterminate; the status does not depend on them.
  // On a background the image has no transparency(), which it shows.
  // For transparency it may hold 4 bytes a pixel beside what the header says.
  absl::StatusOr<Image> (*decode)(Bytes bytes, const ImageHeader& header,
                                  const DecodeLimits& limits, const Needed& needed);
  // The orientation that the metadata say, 1 to 8; nullptr where Pillow finds none in the format,
  // or applies it unasked. REQUIRES: read_header accepts the bytes.
  // Errors: CORRUPT_IMAGE, TRUNCATED_IMAGE: metadata that Pillow cannot read.
  absl::StatusOr<int> (*read_orientation)(Bytes bytes) = nullptr;
};

extern const Codec kAvifCodec;
extern const Codec kBmpCodec;
extern const Codec kGifCodec;
extern const Codec kJpegCodec;
extern const Codec kPngCodec;
extern const Codec kTiffCodec;
extern const Codec kWebpCodec;

// Whether an image of this size may be decoded. Errors: CORRUPT_IMAGE (a side is not positive),
// TOO_MANY_PIXELS.
absl::Status CheckSize(Format format, std::int64_t width, std::int64_t height,
                       const DecodeLimits& limits);

// A header of this size, if CheckSize allows it. `working_bytes` is what decoding needs beside the
// result; `mode` is Pillow's, of static storage.
absl::StatusOr<ImageHeader> HeaderFor(Format format, std::string_view mode, std::int64_t width,
                                      std::int64_t height, std::size_t working_bytes,
                                      const DecodeLimits& limits);

// The most that ReadHeader holds for a file of so many bytes, whatever it says: libraries index the
// chunks of a file, and tags of it are read as numbers, up to 8 bytes for one. Texts of a PNG are
// inflated to a mebibyte each, items of an AVIF are as large as codec_avif.cc lets them be.
constexpr std::size_t HeaderMemory(std::size_t encoded_bytes) {
  return 8 * encoded_bytes + (std::size_t{8} << 20);
}

// The orientation, 1 to 8, that the metadata say and Decode applies only where its policy asks; 1
// also where the format has none, as in TIFF, which is turned unasked.
// Errors: CORRUPT_IMAGE, TRUNCATED_IMAGE: metadata that Pillow cannot read; OUT_OF_MEMORY.
// REQUIRES: ReadHeader accepts the image.
absl::StatusOr<int> OptionalOrientation(std::span<const std::byte> encoded,
                                        const DecodeLimits& limits);

// Decode (image.h) where only some columns of the picture will be looked at; the others may be
// indeterminate. `needed` is asked once, when the size is known, and may refuse the image: its
// error is the answer.
absl::StatusOr<Image> DecodeColumns(std::span<const std::byte> encoded, const DecodeLimits& limits,
                                    absl::FunctionRef<absl::StatusOr<Columns>(Size size)> needed,
                                    const DecodePolicy& policy = {});

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_CODEC_H_
