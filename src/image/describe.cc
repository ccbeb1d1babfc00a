#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/digest/digest.h"
#include "src/error/error.h"
#include "src/image/byte_reader.h"
#include "src/image/exif.h"
#include "src/image/image.h"
#include "src/image/preprocess.h"
#include "src/image/resample.h"

namespace pixembed {
namespace {

absl::StatusOr<ImageDescription> DescribeSteps(std::span<const std::byte> encoded,
                                               const DecodeLimits& limits,
                                               const PreprocessSpec& spec) {
  const absl::StatusOr<ImageHeader> header = ReadHeader(encoded, limits);
  if (!header.ok()) return header.status();
  // What the service does, with all that it refuses.
  const absl::StatusOr<Image> input = DecodeAndResize(encoded, limits, spec);
  if (!input.ok()) return input.status();
  const absl::StatusOr<Image> decoded = Decode(encoded, limits);
  if (!decoded.ok()) return decoded.status();

  ImageDescription description;
  description.format = header->format;
  description.mode = header->mode;
  description.size = {decoded->height(), decoded->width()};
  description.oriented = header->orientation != 1;
  description.orientation =
      description.oriented
          ? header->orientation
          : ExifOrientation(header->format, {reinterpret_cast<const std::uint8_t*>(encoded.data()),
                                             encoded.size()});
  description.resized = ResizedSize(spec, description.size);
  const Window window = CropWindow(spec, description.size);
  description.crop_top = window.top;
  description.crop_left = window.left;
  description.input = {input->height(), input->width()};
  description.decoded_sha256 = Hex(Sha256(std::as_bytes(decoded->pixels())));
  std::vector<float> chw(input->size_bytes());
  Normalize(*input, spec, chw);
  description.input_sha256 = Hex(Sha256(std::as_bytes(std::span(chw))));
  return description;
}

}  // namespace

absl::StatusOr<ImageDescription> DescribeImage(std::span<const std::byte> encoded,
                                               const DecodeLimits& limits,
                                               const PreprocessSpec& spec) {
  try {
    return DescribeSteps(encoded, limits, spec);
  } catch (const std::bad_alloc&) {
    return MakeError(Reason::kOutOfMemory, "no memory for describing the image");
  }
}

}  // namespace pixembed
