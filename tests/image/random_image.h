// Pictures for tests of pixels: drawn from a seed that a failure shows and the environment variable
// PIXEMBED_SEED sets.
#ifndef PIXEMBED_TESTS_IMAGE_RANDOM_IMAGE_H_
#define PIXEMBED_TESTS_IMAGE_RANDOM_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include "src/image/image.h"

namespace pixembed {

inline std::uint32_t TestSeed() {
  const char* const seed = std::getenv("PIXEMBED_SEED");
  return seed != nullptr ? static_cast<std::uint32_t>(std::stoul(seed)) : std::random_device{}();
}

inline int Draw(std::mt19937& random, int min, int max) {
  return std::uniform_int_distribution<int>(min, max)(random);
}

// The three bytes of a pixel.
inline std::uint8_t* PixelAt(Image& image, int x, int y) {
  return image.row(y) + std::ptrdiff_t{x} * 3;
}
inline const std::uint8_t* PixelAt(const Image& image, int x, int y) {
  return image.row(y) + std::ptrdiff_t{x} * 3;
}

// Noise, pure black and white (where filters overshoot most), or a gradient with stripes.
inline Image RandomImage(std::mt19937& random, int width, int height) {
  Image image(width, height);
  const int kind = Draw(random, 0, 2);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width * 3; ++x) {
      int level = static_cast<int>(random() & 0xFF);
      if (kind == 1) level = level < 128 ? 0 : 255;
      if (kind == 2) level = (x / 15 + y / 3) % 2 == 0 ? (x + 2 * y) & 0xFF : 255 - (x & 0xFF);
      image.row(y)[x] = static_cast<std::uint8_t>(level);
    }
  }
  return image;
}

// Sizes that meet every path: ordinary, a few pixels on a side, one axis left alone.
inline Size RandomSize(std::mt19937& random, int max) {
  Size size = {Draw(random, 1, max), Draw(random, 1, max)};
  switch (Draw(random, 0, 3)) {
    case 0:
      size.height = Draw(random, 1, 8);
      break;
    case 1:
      size.width = Draw(random, 1, 8);
      break;
    default:
      break;
  }
  return size;
}

inline Size RandomTarget(std::mt19937& random, Size input, int max) {
  Size size = {Draw(random, 1, max), Draw(random, 1, max)};
  switch (Draw(random, 0, 4)) {
    case 0:
      size.height = input.height;
      break;
    case 1:
      size.width = input.width;
      break;
    default:
      break;
  }
  return size;
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_IMAGE_RANDOM_IMAGE_H_
