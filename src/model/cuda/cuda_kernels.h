// DeviceKernels of a CUDA device. Internal to the CUDA half.
#ifndef PIXEMBED_SRC_MODEL_CUDA_CUDA_KERNELS_H_
#define PIXEMBED_SRC_MODEL_CUDA_CUDA_KERNELS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "src/model/device_kernels.h"

namespace pixembed {

// Of device `ordinal`, which is of `architecture` ("sm_90") and multiplies bfloat16. Errors:
// DEVICE_FAILURE: the libraries that make kernels are missing, or do not know the device.
absl::StatusOr<std::unique_ptr<DeviceKernels>> NewCudaKernels(int ordinal,
                                                              std::string architecture);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_CUDA_CUDA_KERNELS_H_
