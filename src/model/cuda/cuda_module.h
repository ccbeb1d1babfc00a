// The door to the CUDA half, which is a shared module of its own: one program serves both kinds of
// device, and a host without CUDA never loads LibTorch's CUDA libraries. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_CUDA_CUDA_MODULE_H_
#define PIXEMBED_SRC_MODEL_CUDA_CUDA_MODULE_H_

#include <c10/core/Stream.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pixembed {

// What the module offers; made in cuda/cuda_module.cc. Thread-safe. Once it is loaded, ATen's
// functions take tensors on CUDA devices.
class CudaModule {
 public:
  CudaModule() = default;
  CudaModule(const CudaModule&) = delete;
  CudaModule& operator=(const CudaModule&) = delete;
  virtual ~CudaModule() = default;

  // Names by ordinal, not empty. Errors: DEVICE_FAILURE.
  virtual absl::StatusOr<std::vector<std::string>> Devices() const = 0;

  // Whether device `ordinal` has matrix units for bfloat16. Errors: DEVICE_FAILURE.
  virtual absl::StatusOr<bool> MultipliesBFloat16(int ordinal) const = 0;

  // A stream of the pool of device `ordinal`. Errors: DEVICE_FAILURE, OUT_OF_MEMORY.
  virtual absl::StatusOr<c10::Stream> NewStream(int ordinal) const = 0;

  // Gives the memory that LibTorch keeps for later back to the devices, so that other streams and
  // other programs can have it. Waits for what the devices are doing.
  virtual void ReleaseUnusedMemory() const = 0;
};

// The module, loaded on the first call.
// Errors: DEVICE_FAILURE: no driver, no module, or a library that it needs is missing.
absl::StatusOr<const CudaModule*> LoadCudaModule();

// The function that the module exports by this name, and its type.
inline constexpr char kCudaModuleEntry[] = "PixembedCudaModule";
using CudaModuleEntry = const CudaModule*();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_CUDA_CUDA_MODULE_H_
