#include "src/image/alpha.h"

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

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

}  // namespace pixembed
