#include "src/model/runner.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/stack.h>
#include <c10/core/Device.h>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/output.h"
#include "src/model/pooling.h"

namespace pixembed {
namespace {

class DeterministicRunner final : public Runner {
 public:
  explicit DeterministicRunner(std::unique_ptr<Runner> runner) : runner_(std::move(runner)) {}

  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int /*threads*/) override {
    std::vector<Embedding> embeddings;
    embeddings.reserve(images.size());
    for (std::size_t i = 0; i < images.size(); ++i) {
      absl::StatusOr<std::vector<Embedding>> one =
          runner_->Embed(images.subspan(i, 1), specs.subspan(i, 1), /*threads=*/1);
      if (!one.ok()) return one.status();
      embeddings.push_back(std::move(one->front()));
    }
    return embeddings;
  }

  void ReleaseUnusedMemory() override { runner_->ReleaseUnusedMemory(); }

 private:
  std::unique_ptr<Runner> runner_;
};

// Every layer that a spec asks for, once, ascending.
std::vector<int> LayersOf(std::span<const OutputSpec> specs) {
  std::vector<int> layers;
  for (const OutputSpec& spec : specs) {
    layers.insert(layers.end(), spec.layers.begin(), spec.layers.end());
  }
  std::ranges::sort(layers);
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

// [N, T, D]: one state, or the mean of several. `given` are the layers of `states.layers`.
at::Tensor Select(const HiddenStates& states, std::span<const int> given,
                  std::span<const int> wanted) {
  if (wanted.empty()) return states.last;
  std::vector<at::Tensor> selected;
  selected.reserve(wanted.size());
  for (const int layer : wanted) {
    const auto place = std::ranges::lower_bound(given, layer) - given.begin();
    selected.push_back(states.layers[static_cast<std::size_t>(place)]);
  }
  return selected.size() == 1 ? selected.front() : at::mean(at::stack(selected), 0);
}

}  // namespace

std::unique_ptr<Runner> NewDeterministicRunner(std::unique_ptr<Runner> runner) {
  return std::make_unique<DeterministicRunner>(std::move(runner));
}

std::vector<Size> GridsOf(const Network& network, std::span<const Image* const> images) {
  std::vector<Size> grids;
  grids.reserve(images.size());
  for (const Image* image : images) {
    grids.push_back(Grid({image->height(), image->width()}, network.info().patch));
  }
  return grids;
}

std::int64_t PatchesOf(const Network& network, std::span<const Size> grids) {
  const int max_patches = network.info().max_patches;
  const std::int64_t patches = max_patches > 0 ? max_patches : Count(grids.front());
  for ([[maybe_unused]] const Size grid : grids) {
    assert(max_patches > 0 ? Count(grid) <= patches : grid == grids.front());
  }
  return patches;
}

std::vector<Embedding> RunNetwork(const Network& network, const PatchBatch& batch,
                                  std::span<const OutputSpec> specs) {
  const std::vector<int> layers = LayersOf(specs);
  return PoolStates(network.Forward(batch, layers), layers, specs);
}

std::vector<Embedding> PoolStates(const HiddenStates& states, std::span<const int> layers,
                                  std::span<const OutputSpec> specs) {
  // [N, D] on the CPU, made for what is asked for.
  std::map<std::tuple<Pooling, std::vector<int>>, at::Tensor> pooled;
  std::vector<Embedding> embeddings;
  embeddings.reserve(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    at::Tensor& rows = pooled[{specs[i].pooling, specs[i].layers}];
    if (!rows.defined()) {
      const at::Tensor hidden = Select(states, layers, specs[i].layers);
      rows = Pool(specs[i].pooling, hidden, states.own_tokens).to(c10::kCPU).contiguous();
    }
    const auto width = static_cast<std::size_t>(rows.size(1));
    embeddings.push_back(
        MakeEmbedding({rows.const_data_ptr<float>() + i * width, width}, specs[i]));
  }
  return embeddings;
}

}  // namespace pixembed
