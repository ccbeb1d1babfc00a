#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/bucket_graphs.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/device_kernels.h"
#include "src/model/guard.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/runner.h"

namespace pixembed {
namespace {

// Uploads uint8 where images are, a quarter of the bytes of float32; the rest happens on the
// device, on a stream of its own, so that two runners of a device overlap copies and kernels.
class CudaRunner final : public Runner {
 public:
  // `recorder`: null where every pass is eager.
  CudaRunner(const CudaModule& module, RunnerParts parts, c10::Stream stream,
             std::unique_ptr<GraphRecorder> recorder, std::function<void(const std::string&)> warn)
      : module_(module), parts_(std::move(parts)), stream_(stream) {
    const c10::InferenceMode inference;
    const c10::StreamGuard guard(stream_);
    const std::span<const float> values = parts_.pixels->values();
    table_ = at::from_blob(const_cast<float*>(values.data()),
                           {static_cast<std::int64_t>(values.size())}, at::kFloat)
                 .to(stream_.device());
    if (recorder == nullptr) return;
    graphs_ = std::make_unique<BucketGraphs>(
        std::move(recorder), stream_.device(),
        [this](const at::Tensor& pixels) { return LastHiddenState(pixels); }, std::move(warn));
  }
  CudaRunner(const CudaRunner&) = delete;
  CudaRunner& operator=(const CudaRunner&) = delete;
  ~CudaRunner() override = default;

  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int /*threads*/) override {
    assert(!images.empty() && images.size() == specs.size());
    return Guarded([&]() -> absl::StatusOr<std::vector<Embedding>> {
      const c10::InferenceMode inference;
      const c10::StreamGuard guard(stream_);
      const at::Tensor staged = Stage(images);
      // Pooling copies the vectors, and so waits for the stream: the staging memory is free again
      // after it.
      if (graphs_ != nullptr && HaveGraphs(images, specs)) {
        const at::Tensor last = graphs_->Run(SameSize(staged, images));
        if (last.defined()) return PoolStates({.last = last}, {}, specs);
      }
      return RunNetwork(*parts_.network, Cut(images, staged), specs);
    });
  }

  void ReleaseUnusedMemory() override { module_.ReleaseUnusedMemory(); }

 private:
  bool HaveGraphs(std::span<const Image* const> images, std::span<const OutputSpec> specs) const {
    return parts_.network->info().max_patches == 0 && images.front()->sample() == Sample::kUint8 &&
           std::ranges::all_of(specs, [](const OutputSpec& spec) { return spec.layers.empty(); });
  }

  // `samples` of images of one size, as [N, H, W, 3].
  static at::Tensor SameSize(const at::Tensor& samples, std::span<const Image* const> images) {
    const Image& any = *images.front();
    return samples.view({static_cast<std::int64_t>(images.size()), any.height(), any.width(), 3});
  }

  // `images`: [N, H, W, 3] on the device -> PatchBatch::patches.
  at::Tensor Patches(const at::Tensor& images) const {
    const NetworkInfo& info = parts_.network->info();
    const DeviceKernels* const splitter = info.patch_splitter;
    if (splitter != nullptr && images.scalar_type() == at::kByte && splitter->Splits(info.patch)) {
      return splitter->SplitPatches(images, table_, info.patch);
    }
    return GatherPatches(images, table_, info.patch);
  }

  // `pixels`: [N, H, W, 3] uint8 on the device.
  at::Tensor LastHiddenState(const at::Tensor& pixels) const {
    const Size patch = parts_.network->info().patch;
    const Size size = {.height = static_cast<int>(pixels.size(1)),
                       .width = static_cast<int>(pixels.size(2))};
    const std::vector<Size> grids(static_cast<std::size_t>(pixels.size(0)), Grid(size, patch));
    return parts_.network->Forward({Patches(pixels), grids}, {}).last;
  }

  PatchBatch Cut(std::span<const Image* const> images, const at::Tensor& staged) const {
    std::vector<Size> grids = GridsOf(*parts_.network, images);
    const std::int64_t count = PatchesOf(*parts_.network, grids);
    const Size patch = parts_.network->info().patch;
    const at::Tensor samples = staged.to(stream_.device(), /*non_blocking=*/true);
    if (parts_.network->info().max_patches == 0) {
      return {Patches(SameSize(samples, images)), std::move(grids)};
    }
    std::vector<Size> sizes;
    sizes.reserve(images.size());
    for (const Image* image : images) sizes.push_back({image->height(), image->width()});
    return {GatherPaddedPatches(samples, sizes, table_, patch, count), std::move(grids)};
  }

  // The samples of all images, one after the other, where the device can fetch them.
  at::Tensor Stage(std::span<const Image* const> images) {
    // One model's images are of one kind: its processor decides.
    const Sample sample = images.front()->sample();
    const at::ScalarType type = sample == Sample::kFloat32 ? at::kFloat : at::kByte;
    std::int64_t samples = 0;
    for (const Image* image : images) samples += static_cast<std::int64_t>(image->samples());
    if (!staging_.defined() || staging_.size(0) < samples || staging_.scalar_type() != type) {
      staging_ = at::empty({samples}, at::TensorOptions().dtype(type).pinned_memory(
                                          stream_.device_type() == c10::kCUDA));
    }
    auto* next = static_cast<std::byte*>(staging_.mutable_data_ptr());
    for (const Image* image : images) {
      assert(image->sample() == sample);
      std::memcpy(next, image->data().data(), image->size_bytes());
      next += image->size_bytes();
    }
    return staging_.narrow(0, 0, samples);
  }

  const CudaModule& module_;
  RunnerParts parts_;
  c10::Stream stream_;
  at::Tensor table_;    // [3 * 256] on the device
  at::Tensor staging_;  // [samples of the largest batch so far], pinned host memory
  std::unique_ptr<BucketGraphs> graphs_;  // null: every pass is eager. Last: it uses the others
};

}  // namespace

at::Tensor GatherPatches(const at::Tensor& images, const at::Tensor& table, Size patch) {
  const std::int64_t batch = images.size(0);
  const std::int64_t rows = images.size(1) / patch.height;
  const std::int64_t columns = images.size(2) / patch.width;
  const at::Tensor patches = images.narrow(1, 0, rows * patch.height)
                                 .narrow(2, 0, columns * patch.width)
                                 .reshape({batch, rows, patch.height, columns, patch.width, 3})
                                 .permute({0, 1, 3, 5, 2, 4});  // (channel, y, x) within a patch
  const std::int64_t values = std::int64_t{3} * patch.height * patch.width;
  if (images.scalar_type() == at::kFloat) return patches.reshape({batch, rows * columns, values});
  const at::Tensor first_of_channel =
      at::arange(0, 3 * 256, 256, images.options().dtype(at::kInt)).view({3, 1, 1});
  const at::Tensor places = patches.to(at::kInt).add_(first_of_channel);
  return at::index_select(table, 0, places.reshape({-1})).view({batch, rows * columns, values});
}

at::Tensor GatherPaddedPatches(const at::Tensor& samples, std::span<const Size> sizes,
                               const at::Tensor& table, Size patch, std::int64_t max_patches) {
  at::Tensor patches = at::zeros({static_cast<std::int64_t>(sizes.size()), max_patches,
                                  std::int64_t{3} * patch.height * patch.width},
                                 samples.options().dtype(at::kFloat));
  std::int64_t first = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Size size = sizes[i];
    const std::int64_t count = std::int64_t{3} * size.height * size.width;
    const at::Tensor image = samples.narrow(0, first, count).view({1, size.height, size.width, 3});
    patches[static_cast<std::int64_t>(i)]
        .narrow(0, 0, Count(Grid(size, patch)))
        .copy_(GatherPatches(image, table, patch)[0]);
    first += count;
  }
  return patches;
}

absl::StatusOr<std::unique_ptr<Runner>> NewCudaRunner(const CudaModule& module, RunnerParts parts,
                                                      int ordinal, GraphOptions graphs) {
  const absl::StatusOr<c10::Stream> stream = module.NewStream(ordinal);
  if (!stream.ok()) return stream.status();
  std::unique_ptr<GraphRecorder> recorder;
  if (graphs.allowed) {
    absl::StatusOr<std::unique_ptr<GraphRecorder>> made = module.NewGraphRecorder();
    if (!made.ok()) return made.status();
    recorder = *std::move(made);
  }
  return Guarded([&]() -> absl::StatusOr<std::unique_ptr<Runner>> {
    return std::make_unique<CudaRunner>(module, std::move(parts), *stream, std::move(recorder),
                                        std::move(graphs.warn));
  });
}

}  // namespace pixembed
