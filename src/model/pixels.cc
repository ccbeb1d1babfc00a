#include "src/model/pixels.h"

#include <cstddef>
#include <cstdint>

#include "src/image/image.h"

namespace pixembed {

PixelTable::PixelTable(const PreprocessSpec& spec) {
  Image values(/*width=*/256, /*height=*/1);
  for (std::size_t i = 0; i < values.size_bytes(); ++i) {
    values.pixels()[i] = static_cast<std::uint8_t>(i / 3);
  }
  Normalize(values, spec, values_);
}

namespace {

// `samples`: the image's; value(channel, sample) is what goes into a patch.
template <typename T, typename Value>
void Fill(const T* samples, int image_width, Size patch, int patch_row, const Value& value,
          float* patches) {
  const int columns = image_width / patch.width;
  const std::ptrdiff_t channel = std::ptrdiff_t{patch.height} * patch.width;
  for (int y = 0; y < patch.height; ++y) {
    const T* pixel = samples + (std::ptrdiff_t{patch_row} * patch.height + y) * image_width * 3;
    float* line = patches + std::ptrdiff_t{y} * patch.width;
    for (int column = 0; column < columns; ++column, line += 3 * channel) {
      for (int x = 0; x < patch.width; ++x, pixel += 3) {
        line[x] = value(0, pixel[0]);
        line[channel + x] = value(1, pixel[1]);
        line[2 * channel + x] = value(2, pixel[2]);
      }
    }
  }
}

}  // namespace

void FillPatchRow(const Image& image, const PixelTable& table, Size patch, int patch_row,
                  float* patches) {
  if (image.sample() == Sample::kFloat32) {
    const auto same = [](int /*channel*/, float value) { return value; };
    Fill(image.values().data(), image.width(), patch, patch_row, same, patches);
  } else {
    const auto looked_up = [&table](int channel, std::uint8_t level) {
      return table.at(channel, level);
    };
    Fill(image.pixels().data(), image.width(), patch, patch_row, looked_up, patches);
  }
}

}  // namespace pixembed
