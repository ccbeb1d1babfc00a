// Position embeddings for grids of any size. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_POSITION_MAP_H_
#define PIXEMBED_SRC_MODEL_POSITION_MAP_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "src/image/image.h"

namespace pixembed {

// Positions on a grid of their own, resized to those of images. Resized on the CPU whatever the
// device: LibTorch 2.11.0 gives other numbers for some grids on a CUDA device, by up to half of the
// largest. What was asked for first is kept, up to a bound, so that a device does not wait for it
// again. Immutable to its users; thread-safe.
class PositionMap {
 public:
  // Of kept positions, in numbers; 64 MiB.
  static constexpr std::int64_t kMostKept = std::int64_t{16} << 20;

  // `map`: [1, width, rows, columns] float32 on the CPU. Gives positions on `device`.
  PositionMap(at::Tensor map, c10::Device device);

  // [Count(grid), width], row by row; not to be written to. Source: transformers 5.23.0
  // models/siglip2/modeling_siglip2.py Siglip2VisionEmbeddings.resize_positional_embeddings.
  at::Tensor For(Size grid) const;

 private:
  at::Tensor map_;
  c10::Device device_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<int, int>, at::Tensor> kept_;  // by rows and columns
  mutable std::int64_t kept_numbers_ = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_POSITION_MAP_H_
