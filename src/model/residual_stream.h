// What the branches of a network's blocks are added to. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_RESIDUAL_STREAM_H_
#define PIXEMBED_SRC_MODEL_RESIDUAL_STREAM_H_

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include "src/model/device_kernels.h"
#include "src/model/layers.h"

namespace pixembed {

// A sum [N, T, width] float32. With a device's kernels the last branch is not added before the next
// norm, which does both in one pass over memory. One pass of a network; one thread.
class ResidualStream {
 public:
  // Adds to `sum` itself. `kernels`: null, or of its device.
  explicit ResidualStream(at::Tensor sum, const DeviceKernels* kernels = nullptr);

  // The sum of all that was added so far, which later additions change.
  at::Tensor& Sum();

  // Sum() += scale * branch. `branch`: float32 or bfloat16, not changed afterwards. `scale`:
  // [width], or undefined: 1.
  void Add(at::Tensor branch, const at::Tensor& scale);

  // norm(Sum()), for `taker`: in the type that it takes without another pass.
  at::Tensor NormalizedFor(const Linear& taker, const LayerNorm& norm);
  // The same in float32.
  at::Tensor Normalized(const LayerNorm& norm);

 private:
  at::Tensor Normalize(const LayerNorm& norm, at::ScalarType type);

  at::Tensor sum_;
  const DeviceKernels* kernels_;  // null: there are none, or they do not take this width
  at::Tensor branch_;             // not added yet; undefined: there is none
  at::Tensor scale_;              // of branch_
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_RESIDUAL_STREAM_H_
