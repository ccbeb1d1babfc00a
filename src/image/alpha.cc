#include "src/image/alpha.h"

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "src/image/image.h"

namespace pixembed {

void CompositeOnto(Color background, std::span<const std::uint8_t> alpha,
                   std::span<std::uint8_t> rgb) {
  assert(rgb.size() == 3 * alpha.size());
  constexpr int kPrecisionBits = 7;
  const auto blend = [](std::uint8_t over, std::uint8_t under, std::uint32_t alpha_of_over) {
    const std::uint32_t weight = alpha_of_over << kPrecisionBits;
    const std::uint32_t rest = (255U << kPrecisionBits) - weight;
    const std::uint32_t sum = over * weight + under * rest + (0x80U << kPrecisionBits);
    return static_cast<std::uint8_t>((((sum >> 8) + sum) >> 8) >> kPrecisionBits);
  };
  std::uint8_t* pixel = rgb.data();
  for (const std::uint8_t a : alpha) {
    pixel[0] = blend(pixel[0], background.red, a);
    pixel[1] = blend(pixel[1], background.green, a);
    pixel[2] = blend(pixel[2], background.blue, a);
    pixel += 3;
  }
}

void ReplaceColor(Color transparent, Color background, std::span<std::uint8_t> rgb) {
  for (std::size_t i = 0; i < rgb.size(); i += 3) {
    if (Color{rgb[i], rgb[i + 1], rgb[i + 2]} != transparent) continue;
    rgb[i] = background.red;
    rgb[i + 1] = background.green;
    rgb[i + 2] = background.blue;
  }
}

absl::Status ConvertToRgb(const PreprocessSpec& spec, Image& image) {
  constexpr Color kWhite = {255, 255, 255};
  const Transparency transparency = image.transparency();
  image.set_transparency({});
  if (!spec.convert_rgb) return absl::OkStatus();
  switch (transparency.kind) {
    case Transparency::Kind::kNone:
      break;
    case Transparency::Kind::kColor:
      ReplaceColor(transparency.color, kWhite, image.pixels());
      break;
    case Transparency::Kind::kUnreadable:
      return MakeError(
          Reason::kUnsupportedFormat,
          "the file gives a transparency that is no color, which the model's processor "
          "(do_convert_rgb) cannot put on white");
  }
  return absl::OkStatus();
}

}  // namespace pixembed
