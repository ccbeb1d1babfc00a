#include "src/model/position_map.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <c10/core/Device.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "src/image/image.h"
#include "src/model/architecture.h"

namespace pixembed {

PositionMap::PositionMap(at::Tensor map, c10::Device device)
    : map_(std::move(map)), device_(device) {}

at::Tensor PositionMap::For(Size grid) const {
  const std::pair key(grid.height, grid.width);
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = kept_.find(key); known != kept_.end()) return known->second;
  }
  const std::array<std::int64_t, 2> target = {grid.height, grid.width};
  at::Tensor positions =
      at::_upsample_bilinear2d_aa(map_, at::OptionalIntArrayRef(target), /*align_corners=*/false,
                                  /*scale_factors=*/std::optional<at::ArrayRef<double>>())
          .reshape({map_.size(1), Count(grid)})
          .t()
          .contiguous()
          .to(device_);
  const std::lock_guard lock(mutex_);
  // What is kept stays: another stream of the device may still read what its own would overwrite.
  const bool fits = kept_numbers_ + positions.numel() <= kMostKept;
  if (fits && kept_.emplace(key, positions).second) kept_numbers_ += positions.numel();
  return positions;
}

}  // namespace pixembed
