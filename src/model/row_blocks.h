// How the kernels of the room go through rows. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_ROW_BLOCKS_H_
#define PIXEMBED_SRC_MODEL_ROW_BLOCKS_H_

#include <cstddef>

namespace pixembed {

// The rows of the next block of the `rows` that are left: as few blocks as there can be of `most`
// rows each, and these as alike as possible, since of a block of few the sums wait for themselves.
// REQUIRES: both > 0.
constexpr std::size_t NextBlock(std::size_t rows, std::size_t most) {
  return rows / ((rows + most - 1) / most);
}

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ROW_BLOCKS_H_
