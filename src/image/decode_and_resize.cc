#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/preprocess.h"

namespace pixembed {
namespace {

// A size that keeps the proportions of a picture.
std::string SizeText(const ResizeTarget& target) {
  if (target.fit.has_value()) {
    return absl::StrCat("fit ", target.fit->width, "x", target.fit->height);
  }
  return absl::StrCat("shortest_edge ", target.shortest_edge, ", size.longest_edge ",
                      target.longest_edge);
}

// The reference refuses a picture whose size comes out as 0; one that comes out huge is refused
// here, before memory is asked for.
absl::Status CheckOutput(const PreprocessSpec& spec, Size input, const DecodeLimits& limits) {
  const Size resized = ResizedSize(spec, input);
  if (resized.height < 1 || resized.width < 1) {
    return MakeError(
        Reason::kEmptyImage,
        absl::StrCat("the image of ", input.width, "x", input.height,
                     " pixels would be resized to ", resized.width, "x", resized.height,
                     " by the model's processor (size.", SizeText(*spec.resize), ")"));
  }
  const Size output = OutputSize(spec, input);
  const std::int64_t pixels = std::int64_t{output.height} * output.width;
  if (pixels > limits.max_pixels) {
    return MakeError(Reason::kTooManyPixels,
                     absl::StrCat("the image of ", input.width, "x", input.height,
                                  " pixels would be resized to ", output.width, "x", output.height,
                                  " = ", pixels, " pixels, more than the limit of ",
                                  limits.max_pixels, " (--max_image_pixels)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Image> DecodeAndResize(std::span<const std::byte> encoded,
                                      const DecodeLimits& limits, const PreprocessSpec& spec,
                                      const DecodePolicy& policy) {
  absl::StatusOr<Image> image = DecodeColumns(
      encoded, limits,
      [&](Size size) -> absl::StatusOr<Columns> {
        if (absl::Status s = CheckOutput(spec, size, limits); !s.ok()) return s;
        return InputColumns(spec, size);
      },
      policy);
  if (!image.ok()) return image;
  if (absl::Status status = ConvertToRgb(spec, *image); !status.ok()) return status;
  const Size size = {image->height(), image->width()};
  const bool in_float = spec.rescale_first && spec.resize.has_value();
  if (!in_float && ResizedSize(spec, size) == size && OutputSize(spec, size) == size) return image;
  try {
    return Resize(*image, spec);
  } catch (const std::bad_alloc&) {
    return MakeError(Reason::kOutOfMemory, "no memory for resizing the image");
  }
}

}  // namespace pixembed
