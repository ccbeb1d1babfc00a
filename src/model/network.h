// What a family builds. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_NETWORK_H_
#define PIXEMBED_SRC_MODEL_NETWORK_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/image/image.h"
#include "src/model/device_kernels.h"

namespace pixembed {

// What is known of a network once it is built.
struct NetworkInfo {
  // The input is cut into patches of this size, row by row; pixels beyond the last whole patch are
  // not looked at. A network that wants whole images says patch == input.
  Size patch;
  int tokens = 0;
  int dimension = 0;
  // At most so many tokens look at each other. 0: all do.
  int attended_tokens = 0;
  bool has_cls = false;
  // Elements of transformers' output_hidden_states: 0 is what the first block gets, i what block i
  // gives, the last one before any final norm. 0: the network does not give them.
  int hidden_states = 0;
  // Where images have grids of their own: the patches that every image is padded to, and the tokens
  // that it gives. 0: the network takes images of one size.
  int max_patches = 0;
  // What gives PatchBatch::patches in the form that this network multiplies (SplitPatches); it
  // takes float32, too. Null: float32 only.
  const DeviceKernels* patch_splitter = nullptr;
  // Every number of the architecture, as text, for the fingerprint.
  std::string architecture;
};

// What a pass takes: the images of a batch, cut into patches.
struct PatchBatch {
  // [N, P, 3 * patch.height * patch.width] float32, normalized pixels, each patch in the order
  // (channel, y, x). That is the order of a convolution's weight, so that the embedding is one
  // matrix product, and [N, 3, H, W] itself where patch == input. Or what
  // NetworkInfo::patch_splitter gives of such images.
  at::Tensor patches;
  // Rows and columns of each image's own patches, which are the first of its P; the rest is 0.
  // Without NetworkInfo::max_patches all are alike, and there is no rest.
  std::vector<Size> grids;
};

// What a pass gives. All [N, tokens, dimension] float32.
struct HiddenStates {
  at::Tensor last;                      // last_hidden_state
  std::vector<at::Tensor> layers = {};  // those that were asked for, in their order
  // How many of each image's tokens, from the first on, are not padding. Empty: all.
  std::vector<std::int64_t> own_tokens = {};
};

// Immutable, thread-safe.
class Network {
 public:
  Network() = default;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;
  virtual ~Network() = default;

  virtual const NetworkInfo& info() const = 0;

  // `layers`: indices in [0, info().hidden_states), ascending. What nobody asks for costs nothing.
  virtual HiddenStates Forward(const PatchBatch& batch, std::span<const int> layers) const = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_NETWORK_H_
