#include <algorithm>
#include <bit>
#include <cstdint>

#include "src/model/model.h"

namespace pixembed {

std::int64_t PaddedBatchSize(std::int64_t images) {
  constexpr std::uint64_t kLargestPower = 16;  // beyond, the next power would waste too much
  constexpr std::uint64_t kSmallestStep = 8;
  const auto count = static_cast<std::uint64_t>(images);
  if (count <= kLargestPower) return static_cast<std::int64_t>(std::bit_ceil(count));
  const std::uint64_t step = std::max(kSmallestStep, std::bit_floor(count - 1) / 4);
  return static_cast<std::int64_t>((count + step - 1) / step * step);
}

}  // namespace pixembed
