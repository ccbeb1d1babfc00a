#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
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
#include "src/model/guard.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/runner.h"
#include "src/model/thread_team.h"

namespace pixembed {
namespace {

class CpuRunner final : public Runner {
 public:
  explicit CpuRunner(RunnerParts parts) : parts_(std::move(parts)) {}
  CpuRunner(const CpuRunner&) = delete;
  CpuRunner& operator=(const CpuRunner&) = delete;
  ~CpuRunner() override { ThreadTeam::SendHome(); }

  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int threads) override {
    assert(!images.empty() && images.size() == specs.size());
    return Guarded([&]() -> absl::StatusOr<std::vector<Embedding>> {
      const c10::InferenceMode inference;
      const ThreadTeam team(threads);
      const ActivationCache::Use use(cache_);
      return RunNetwork(*parts_.network, Cut(images), specs);
    });
  }

 private:
  PatchBatch Cut(std::span<const Image* const> images) const {
    const Size patch = parts_.network->info().patch;
    std::vector<Size> grids = GridsOf(*parts_.network, images);
    const auto batch = static_cast<std::int64_t>(images.size());
    const std::int64_t count = PatchesOf(*parts_.network, grids);
    const std::int64_t values = std::int64_t{3} * patch.height * patch.width;
    at::Tensor patches = at::empty({batch, count, values}, at::kFloat);

    // A row of an image's grid, and where it goes.
    struct Row {
      const Image* image;
      int index;
      float* patches;
    };
    std::vector<Row> rows;
    auto* first = patches.mutable_data_ptr<float>();
    for (std::size_t i = 0; i < images.size(); ++i, first += count * values) {
      const std::int64_t row_values = grids[i].width * values;
      for (int row = 0; row < grids[i].height; ++row) {
        rows.push_back({images[i], row, first + row * row_values});
      }
      std::fill(first + grids[i].height * row_values, first + count * values, 0.0F);
    }
    InParallel(static_cast<std::int64_t>(rows.size()), [&](std::int64_t i, int /*thread*/) {
      const Row& row = rows[static_cast<std::size_t>(i)];
      FillPatchRow(*row.image, *parts_.pixels, patch, row.index, row.patches);
    });
    return {std::move(patches), std::move(grids)};
  }

  RunnerParts parts_;
  ActivationCache cache_;
};

}  // namespace

std::unique_ptr<Runner> NewCpuRunner(RunnerParts parts) {
  return std::make_unique<CpuRunner>(std::move(parts));
}

}  // namespace pixembed
