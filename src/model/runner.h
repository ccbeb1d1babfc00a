// Runners for the two kinds of device. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_RUNNER_H_
#define PIXEMBED_SRC_MODEL_RUNNER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"

namespace pixembed {

// What all runners of a device share.
struct RunnerParts {
  std::shared_ptr<const Network> network;
  std::shared_ptr<const PixelTable> pixels;
};

std::unique_ptr<Runner> NewCpuRunner(RunnerParts parts);

// Whether passes may be recorded and replayed (bucket_graphs.h), and who is told that they are not.
struct GraphOptions {
  bool allowed = false;
  std::function<void(const std::string&)> warn = nullptr;  // thread-safe; may be empty
};

// With graphs, batches of uint8 images of one size are replayed of which only last_hidden_state is
// asked. `module` outlives the runner. Errors: DEVICE_FAILURE, OUT_OF_MEMORY.
absl::StatusOr<std::unique_ptr<Runner>> NewCudaRunner(const CudaModule& module, RunnerParts parts,
                                                      int ordinal, GraphOptions graphs);

// Gives `runner` one image at a time and one thread. That makes a vector the same bits whatever the
// batch, the runner and the number of threads: each call then has the same shapes, and every one of
// LibTorch's operators is a function of its operands once it does not split its work. What varies
// otherwise: a matrix product orders its sums by the number of its rows and by threads, attention
// by threads, and element-wise operators compute the ends of a thread's share with other
// instructions.
std::unique_ptr<Runner> NewDeterministicRunner(std::unique_ptr<Runner> runner);

// Runs `network` on the patches of a batch, pools the hidden states that each spec asks for and
// finishes its vector. REQUIRES: specs.size() == batch.patches.size(0).
std::vector<Embedding> RunNetwork(const Network& network, const PatchBatch& batch,
                                  std::span<const OutputSpec> specs);

// What RunNetwork does after the pass, which gave `states`. `layers`: those of states.layers.
std::vector<Embedding> PoolStates(const HiddenStates& states, std::span<const int> layers,
                                  std::span<const OutputSpec> specs);

// PatchBatch::grids of these images, and P for them.
std::vector<Size> GridsOf(const Network& network, std::span<const Image* const> images);
std::int64_t PatchesOf(const Network& network, std::span<const Size> grids);

// What FillPatchRow does, by tensor operations on any device: `images` [N, H, W, 3] uint8 or
// float32, `table` [3 * 256] float32 (PixelTable::values) -> the patches that Network::Forward
// takes.
at::Tensor GatherPatches(const at::Tensor& images, const at::Tensor& table, Size patch);

// The same for images of different sizes: `samples` holds those of one after the other; -> [N,
// max_patches, ...], 0 where an image has no patch.
at::Tensor GatherPaddedPatches(const at::Tensor& samples, std::span<const Size> sizes,
                               const at::Tensor& table, Size patch, std::int64_t max_patches);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_RUNNER_H_
