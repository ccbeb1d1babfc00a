// CUDA source to machine code, on the host that runs it: NVRTC is there wherever LibTorch's CUDA
// half is, and a build needs no compiler for devices. Internal to the CUDA half.
#ifndef PIXEMBED_SRC_MODEL_CUDA_KERNEL_COMPILER_H_
#define PIXEMBED_SRC_MODEL_CUDA_KERNEL_COMPILER_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace pixembed {

// The machine code (cubin) of fused_kernels.cu. `architecture`: "sm_90". `definitions`:
// "WIDTH=768". Takes about half a second; needs no device. Thread-safe. Errors: DEVICE_FAILURE: no
// NVRTC, or what it says of the source.
absl::StatusOr<std::string> CompileFusedKernels(const std::string& architecture,
                                                std::span<const std::string> definitions);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_CUDA_KERNEL_COMPILER_H_
