// Images -> what a network takes. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_PIXELS_H_
#define PIXEMBED_SRC_MODEL_PIXELS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "src/image/image.h"

namespace pixembed {

// Normalize() of each of the 256 values of each channel. Normalize works value by value, so that a
// look-up gives its bits, on the CPU and on a GPU.
class PixelTable {
 public:
  explicit PixelTable(const PreprocessSpec& spec);

  float at(int channel, std::uint8_t value) const {
    return values_[static_cast<std::size_t>(channel) * 256 + value];
  }
  // [3, 256].
  std::span<const float> values() const { return values_; }

 private:
  std::array<float, std::size_t{3} * 256> values_;
};

// Writes the patches of `image` that lie in row `patch_row` of the grid: [grid width, 3,
// patch.height, patch.width]. See Network::Forward. Levels are looked up in `table`; an image of
// float32 holds the values themselves.
void FillPatchRow(const Image& image, const PixelTable& table, Size patch, int patch_row,
                  float* patches);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PIXELS_H_
