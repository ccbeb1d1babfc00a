#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/image/image.h"

namespace pixembed {
namespace {

using Table = std::array<float, 256>;

// Every step is rounded to float32, in the reference's order.
// Source: transformers 5.23.0 image_processing_backends.py _fuse_mean_std_and_rescale_factor,
// rescale_and_normalize; torchvision 0.26.0 transforms/v2/functional/_misc.py normalize_image.
float TorchvisionValue(const PreprocessSpec& spec, int channel, int level) {
  const auto value = static_cast<float>(level);
  if (!spec.normalize) {
    return spec.rescale ? value * static_cast<float>(spec.rescale_factor) : value;
  }
  const float scale = spec.rescale ? static_cast<float>(1.0 / spec.rescale_factor) : 1.0f;
  const float mean = static_cast<float>(spec.mean[channel]) * scale;
  const float std = static_cast<float>(spec.std[channel]) * scale;
  return (value - mean) / std;
}

// Source: transformers 5.23.0 image_transforms.py rescale, normalize.
float PilValue(const PreprocessSpec& spec, int channel, int level) {
  const float value =
      spec.rescale ? static_cast<float>(level * spec.rescale_factor) : static_cast<float>(level);
  if (!spec.normalize) return value;
  return (value - static_cast<float>(spec.mean[channel])) / static_cast<float>(spec.std[channel]);
}

Table LevelTable(const PreprocessSpec& spec, int channel) {
  Table table;
  for (int level = 0; level < 256; ++level) {
    table[level] = spec.backend == Backend::kPil ? PilValue(spec, channel, level)
                                                 : TorchvisionValue(spec, channel, level);
  }
  return table;
}

}  // namespace

// A channel has 256 possible values: they are computed once, with the reference's arithmetic, and
// looked up.
void Normalize(const Image& image, const PreprocessSpec& spec, std::span<float> chw) {
  const Table red = LevelTable(spec, 0);
  const Table green = LevelTable(spec, 1);
  const Table blue = LevelTable(spec, 2);
  const std::size_t plane = image.size_bytes() / 3;
  const std::uint8_t* pixel = image.pixels().data();
  float* out = chw.data();
  for (std::size_t i = 0; i < plane; ++i, pixel += 3) {
    out[i] = red[pixel[0]];
    out[plane + i] = green[pixel[1]];
    out[2 * plane + i] = blue[pixel[2]];
  }
}

}  // namespace pixembed
