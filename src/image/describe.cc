#include <cstddef>
#include <new>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/digest/digest.h"
#include "src/error/error.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/orientation.h"
#include "src/image/preprocess.h"
#include "src/image/resample.h"

namespace pixembed {
namespace {

absl::StatusOr<ImageDescription> DescribeSteps(std::span<const std::byte> encoded,
                                               const DecodeLimits& limits,
                                               const PreprocessSpec& spec,
                                               const DecodePolicy& policy) {
  const absl::StatusOr<ImageHeader> header = ReadHeader(encoded, limits, policy);
  if (!header.ok()) return header.status();
  // What the service does, with all that it refuses.
  const absl::StatusOr<Image> input = DecodeAndResize(encoded, limits, spec, policy);
  if (!input.ok()) return input.status();
  const absl::StatusOr<Image> decoded = Decode(encoded, limits, policy);
  if (!decoded.ok()) return decoded.status();

  ImageDescription description;
  description.format = header->format;
  description.mode = header->mode;
  description.size = {decoded->height(), decoded->width()};
  description.orientation = header->orientation != kUpright
                                ? header->orientation
                                : OptionalOrientation(encoded, limits).value_or(kUpright);
  description.oriented = description.orientation != kUpright &&
                         (header->orientation != kUpright || policy.apply_exif_orientation);
  description.resized = ResizedSize(spec, description.size);
  const Window window = CropWindow(spec, description.size);
  description.crop_top = window.top;
  description.crop_left = window.left;
  description.input = {input->height(), input->width()};
  if (spec.resize.has_value() && spec.resize->patches.has_value()) {
    const int side = spec.resize->patches->patch;
    description.patches = (description.input.height / side) * (description.input.width / side);
  }
  description.decoded_sha256 = Hex(Sha256(std::as_bytes(decoded->pixels())));
  const std::vector<float> values = PixelValues(*input, spec);
  description.input_sha256 = Hex(Sha256(std::as_bytes(std::span(values))));
  return description;
}

}  // namespace

absl::StatusOr<ImageDescription> DescribeImage(std::span<const std::byte> encoded,
                                               const DecodeLimits& limits,
                                               const PreprocessSpec& spec,
                                               const DecodePolicy& policy) {
  try {
    return DescribeSteps(encoded, limits, spec, policy);
  } catch (const std::bad_alloc&) {
    return MakeError(Reason::kOutOfMemory, "no memory for describing the image");
  }
}

}  // namespace pixembed
