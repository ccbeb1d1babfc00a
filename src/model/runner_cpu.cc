#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/activation_cache.h"
#include "src/model/architecture.h"
#include "src/model/guard.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/runner.h"

namespace pixembed {
namespace {

// The number of threads belongs to the calling thread, and LibTorch sets it up when it first asks:
// that has to happen before it is set here, or it would be set back in the middle of a pass.
void UseThreads(int threads) {
  if (at::get_num_threads() != threads) at::set_num_threads(threads);
}

class CpuRunner final : public Runner {
 public:
  explicit CpuRunner(RunnerParts parts) : parts_(std::move(parts)) {}

  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int threads) override {
    assert(!images.empty() && images.size() == specs.size());
    return Guarded([&]() -> absl::StatusOr<std::vector<Embedding>> {
      const c10::InferenceMode inference;
      UseThreads(threads);
      const ActivationCache::Use use(cache_);
      return RunNetwork(*parts_.network, Patches(images), specs);
    });
  }

 private:
  at::Tensor Patches(std::span<const Image* const> images) const {
    const Size patch = parts_.network->info().patch;
    const Size grid = Grid(parts_.input, patch);
    const auto batch = static_cast<std::int64_t>(images.size());
    const std::int64_t values = std::int64_t{3} * patch.height * patch.width;
    at::Tensor patches = at::empty({batch, Count(grid), values}, at::kFloat);
    auto* const data = patches.mutable_data_ptr<float>();
    const std::int64_t row_values = grid.width * values;
    at::parallel_for(0, batch * grid.height, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const Image& image = *images[static_cast<std::size_t>(row / grid.height)];
        assert(image.height() == parts_.input.height && image.width() == parts_.input.width);
        FillPatchRow(image, *parts_.pixels, patch, static_cast<int>(row % grid.height),
                     data + row * row_values);
      }
    });
    return patches;
  }

  RunnerParts parts_;
  ActivationCache cache_;
};

}  // namespace

std::unique_ptr<Runner> NewCpuRunner(RunnerParts parts) {
  ActivationCache::Install();
  return std::make_unique<CpuRunner>(std::move(parts));
}

}  // namespace pixembed
