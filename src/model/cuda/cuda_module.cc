#include "src/model/cuda/cuda_module.h"

#include <ATen/Context.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/guard.h"

namespace pixembed {
namespace {

class LinkedCudaModule final : public CudaModule {
 public:
  LinkedCudaModule() {
    // float32 means float32: TensorFloat-32 keeps 10 bits of the mantissa.
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowTF32CuDNN(false);
  }

  absl::StatusOr<std::vector<std::string>> Devices() const override {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
      return MakeError(Reason::kDeviceFailure,
                       absl::StrCat("CUDA finds no device: ", cudaGetErrorString(error)));
    }
    if (count == 0) return MakeError(Reason::kDeviceFailure, "the host has no CUDA device");
    std::vector<std::string> names;
    for (int ordinal = 0; ordinal < count; ++ordinal) {
      const absl::StatusOr<cudaDeviceProp> properties = Properties(ordinal);
      if (!properties.ok()) return properties.status();
      names.emplace_back(properties->name);
    }
    return names;
  }

  absl::StatusOr<bool> MultipliesBFloat16(int ordinal) const override {
    const absl::StatusOr<cudaDeviceProp> properties = Properties(ordinal);
    if (!properties.ok()) return properties.status();
    return properties->major >= 8;
  }

  absl::StatusOr<c10::Stream> NewStream(int ordinal) const override {
    return Guarded([ordinal]() -> absl::StatusOr<c10::Stream> {
      return c10::cuda::getStreamFromPool(/*isHighPriority=*/false,
                                          static_cast<c10::DeviceIndex>(ordinal))
          .unwrap();
    });
  }

  void ReleaseUnusedMemory() const override {
    // Where it fails less memory is free, and whoever asks for it is told.
    (void)Guarded([] {
      c10::cuda::CUDACachingAllocator::emptyCache();
      return absl::OkStatus();
    });
  }

 private:
  static absl::StatusOr<cudaDeviceProp> Properties(int ordinal) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, ordinal) == cudaSuccess) return properties;
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat("CUDA device ", ordinal, " does not answer"));
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const CudaModule* PixembedCudaModule() {
  static const LinkedCudaModule module;
  return &module;
}

}  // namespace pixembed
