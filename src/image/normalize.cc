#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/image/image.h"
#include "src/image/preprocess.h"

namespace pixembed {
namespace {

using Table = std::array<float, 256>;

// Source: torchvision 0.26.0 transforms/v2/functional/_misc.py normalize_image.
float NormalizedValue(const PreprocessSpec& spec, int channel, float value) {
  if (!spec.normalize) return value;
  return (value - static_cast<float>(spec.mean[channel])) / static_cast<float>(spec.std[channel]);
}

// Every step is rounded to float32, in the reference's order.
// Source: transformers 5.23.0 image_processing_backends.py _fuse_mean_std_and_rescale_factor,
// rescale_and_normalize; torchvision 0.26.0 transforms/v2/functional/_misc.py normalize_image.
float TorchvisionValue(const PreprocessSpec& spec, int channel, int level) {
  const auto value = static_cast<float>(level);
  if (spec.rescale_first) {
    return NormalizedValue(spec, channel, value * static_cast<float>(spec.rescale_factor));
  }
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
  return NormalizedValue(
      spec, channel,
      spec.rescale ? static_cast<float>(level * spec.rescale_factor) : static_cast<float>(level));
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

void NormalizeValues(const PreprocessSpec& spec, Image& image) {
  if (!spec.normalize) return;
  std::array<float, 3> mean;
  std::array<float, 3> std;
  for (std::size_t c = 0; c < 3; ++c) {
    mean[c] = static_cast<float>(spec.mean[c]);
    std[c] = static_cast<float>(spec.std[c]);
  }
  float* value = image.values().data();
  const float* const end = value + image.samples();
  for (; value != end; value += 3) {
    for (std::size_t c = 0; c < 3; ++c) value[c] = (value[c] - mean[c]) / std[c];
  }
}

// A channel has 256 possible values: they are computed once, with the reference's arithmetic, and
// looked up.
void Normalize(const Image& image, const PreprocessSpec& spec, std::span<float> chw) {
  const std::size_t plane = image.samples() / 3;
  float* out = chw.data();
  if (image.sample() == Sample::kFloat32) {
    const float* value = image.values().data();
    for (std::size_t i = 0; i < plane; ++i, value += 3) {
      for (std::size_t c = 0; c < 3; ++c) out[c * plane + i] = value[c];
    }
    return;
  }
  const Table red = LevelTable(spec, 0);
  const Table green = LevelTable(spec, 1);
  const Table blue = LevelTable(spec, 2);
  const std::uint8_t* pixel = image.pixels().data();
  for (std::size_t i = 0; i < plane; ++i, pixel += 3) {
    out[i] = red[pixel[0]];
    out[plane + i] = green[pixel[1]];
    out[2 * plane + i] = blue[pixel[2]];
  }
}

std::vector<float> PixelValues(const Image& image, const PreprocessSpec& spec) {
  std::vector<float> chw(image.samples());
  Normalize(image, spec, chw);
  if (!spec.resize.has_value() || !spec.resize->patches.has_value()) return chw;
  const auto side = static_cast<std::size_t>(spec.resize->patches->patch);
  const auto max_patches = static_cast<std::size_t>(spec.resize->patches->max_patches);
  const auto width = static_cast<std::size_t>(image.width());
  const std::size_t plane = chw.size() / 3;
  std::vector<float> patches(max_patches * side * side * 3);
  for (std::size_t i = 0; i < plane; ++i) {
    const std::size_t y = i / width;
    const std::size_t x = i % width;
    const std::size_t patch = y / side * (width / side) + x / side;
    float* const pixel = &patches[((patch * side + y % side) * side + x % side) * 3];
    for (std::size_t c = 0; c < 3; ++c) pixel[c] = chw[c * plane + i];
  }
  return patches;
}

}  // namespace pixembed
