// Whether a device's kernels compute what LibTorch computes there. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_KERNEL_CHECK_H_
#define PIXEMBED_SRC_MODEL_KERNEL_CHECK_H_

#include <c10/core/Device.h>

#include <cstdint>

#include "absl/status/status.h"
#include "src/image/image.h"
#include "src/model/device_kernels.h"

namespace pixembed {

// Holds everything that `kernels` offer to a network `width` wide that cuts images into patches of
// size `patch` against LibTorch's own functions, on noise: a driver, a library or a device that
// nobody has tried must not change a vector. Takes milliseconds once the kernels are made. Under
// InferenceMode. Errors: DEVICE_FAILURE: what differs, or what failed.
absl::Status CheckKernels(const DeviceKernels& kernels, c10::Device device, std::int64_t width,
                          Size patch);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_KERNEL_CHECK_H_
