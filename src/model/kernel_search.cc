#include "src/model/kernel_search.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"

namespace pixembed {

std::optional<std::size_t> FastestKernel(std::size_t count,
                                         absl::FunctionRef<float(std::size_t, int)> milliseconds,
                                         absl::FunctionRef<bool(std::size_t)> holds) {
  constexpr int kRounds = 3;
  constexpr float kRound = 1.0F;  // milliseconds of a kernel, about
  constexpr int kFewestCalls = 3;
  constexpr int kMostCalls = 20;
  constexpr float kWorthwhile = 0.98F;
  struct Candidate {
    std::size_t place;
    int calls;
    float milliseconds = std::numeric_limits<float>::infinity();
  };
  std::vector<Candidate> candidates;
  for (std::size_t place = 0; place < count; ++place) {
    (void)milliseconds(place, 1);  // the first call loads the kernel
    const float once = milliseconds(place, 1);
    if (!std::isfinite(once)) continue;
    const float calls =
        std::clamp(kRound / std::max(once, kRound / kMostCalls), static_cast<float>(kFewestCalls),
                   static_cast<float>(kMostCalls));
    candidates.push_back({place, static_cast<int>(calls)});
  }
  // In turn, so that whatever else the device does meets all of them.
  for (int round = 0; round < kRounds; ++round) {
    for (Candidate& candidate : candidates) {
      candidate.milliseconds =
          std::min(candidate.milliseconds, milliseconds(candidate.place, candidate.calls));
    }
  }
  if (!candidates.empty() && candidates.front().place == 0) {
    candidates.front().milliseconds *= kWorthwhile;
  }
  std::ranges::stable_sort(candidates, {}, &Candidate::milliseconds);
  for (const Candidate& candidate : candidates) {
    if (holds(candidate.place)) return candidate.place;
  }
  return std::nullopt;
}

}  // namespace pixembed
