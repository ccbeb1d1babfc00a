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

void FillPatchRow(const Image& image, const PixelTable& table, Size patch, int patch_row,
                  float* patches) {
  const int columns = image.width() / patch.width;
  const std::ptrdiff_t channel = std::ptrdiff_t{patch.height} * patch.width;
  for (int y = 0; y < patch.height; ++y) {
    const std::uint8_t* pixel = image.row(patch_row * patch.height + y);
    float* line = patches + std::ptrdiff_t{y} * patch.width;
    for (int column = 0; column < columns; ++column, line += 3 * channel) {
      for (int x = 0; x < patch.width; ++x, pixel += 3) {
        line[x] = table.at(0, pixel[0]);
        line[channel + x] = table.at(1, pixel[1]);
        line[2 * channel + x] = table.at(2, pixel[2]);
      }
    }
  }
}

}  // namespace pixembed
