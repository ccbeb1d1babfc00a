#include "src/model/batch_size.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "src/model/model.h"

namespace pixembed {
namespace {

// Where a larger batch stops paying: beyond, it only adds latency.
constexpr int kMostImages = 4;
// One image of so many tokens keeps registers busy between two loads of a weight. More rows at once
// only push each other out of the caches.
constexpr int kTokensThatFillRegisters = 160;
// Tiles are faster, and wait for weights longer: two images fill them. Of larger ones two do not
// fit into the second cache together.
constexpr int kTokensThatFillTiles = 320;

}  // namespace

int BestBatchSize(Multiplier multiplier, int tokens) {
  if (multiplier == Multiplier::kOther || tokens < kTokensThatFillRegisters) return kMostImages;
  return multiplier == Multiplier::kTiles && tokens < kTokensThatFillTiles ? 2 : 1;
}

std::int64_t PaddedBatchSize(std::int64_t images) {
  constexpr std::uint64_t kLargestPower = 16;  // beyond, the next power would waste too much
  constexpr std::uint64_t kSmallestStep = 8;
  const auto count = static_cast<std::uint64_t>(images);
  if (count <= kLargestPower) return static_cast<std::int64_t>(std::bit_ceil(count));
  const std::uint64_t step = std::max(kSmallestStep, std::bit_floor(count - 1) / 4);
  return static_cast<std::int64_t>((count + step - 1) / step * step);
}

}  // namespace pixembed
