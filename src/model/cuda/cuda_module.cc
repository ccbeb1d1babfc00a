#include "src/model/cuda/cuda_module.h"

#include <ATen/Context.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/cuda/cuda_kernels.h"
#include "src/model/device_kernels.h"
#include "src/model/guard.h"

namespace pixembed {
namespace {

// Held while a graph is recorded or destroyed, and while memory is given back: LibTorch's allocator
// must not give it back during a recording, and both change what it shares between threads.
std::mutex& AllocatorMutex() {
  static std::mutex mutex;
  return mutex;
}

class CapturedGraph final : public DeviceGraph {
 public:
  CapturedGraph() = default;
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;
  ~CapturedGraph() override {
    output_.reset();
    const std::lock_guard lock(AllocatorMutex());
    graph_ = nullptr;
  }

  const at::Tensor& output() const override { return output_; }

  absl::Status Replay() override {
    return Guarded([this] {
      graph_->replay();
      return absl::OkStatus();
    });
  }

  // Once. Errors: as GraphRecorder::Record.
  absl::Status Capture(at::cuda::MempoolId_t pool, const std::function<at::Tensor()>& work) {
    const std::lock_guard lock(AllocatorMutex());
    // Thread-local: what the other workers do meanwhile is no business of this one.
    absl::Status status = Guarded([&] {
      graph_->capture_begin(pool, cudaStreamCaptureModeThreadLocal);
      return absl::OkStatus();
    });
    if (!status.ok()) {
      StopAllocating(pool);
      return status;
    }
    status = Guarded([&] {
      output_ = work();
      return absl::OkStatus();
    });
    const absl::Status end = Guarded([this] {
      graph_->capture_end();
      return absl::OkStatus();
    });
    if (!end.ok()) StopAllocating(pool);
    return status.ok() ? end : status;
  }

 private:
  // What capture_end leaves undone where it fails: otherwise the allocator would take the recording
  // to go on for ever. Where it is not left undone, this fails without harm.
  static void StopAllocating(at::cuda::MempoolId_t pool) {
    const auto device = c10::cuda::current_device();
    (void)Guarded([&] {
      c10::cuda::CUDACachingAllocator::endAllocateToPool(device, pool);
      c10::cuda::CUDACachingAllocator::releasePool(device, pool);
      return absl::OkStatus();
    });
    (void)Guarded([&] {
      at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(pool);
      at::getHostAllocator(at::kCUDA)->release_pool(pool);
      return absl::OkStatus();
    });
  }

  std::unique_ptr<at::cuda::CUDAGraph> graph_ = std::make_unique<at::cuda::CUDAGraph>();
  at::Tensor output_;
};

class PoolRecorder final : public GraphRecorder {
 public:
  absl::StatusOr<std::unique_ptr<DeviceGraph>> Record(
      const std::function<at::Tensor()>& work) override {
    return Guarded([&]() -> absl::StatusOr<std::unique_ptr<DeviceGraph>> {
      auto graph = std::make_unique<CapturedGraph>();
      if (absl::Status status = graph->Capture(pool_, work); !status.ok()) return status;
      return graph;
    });
  }

 private:
  const at::cuda::MempoolId_t pool_ = at::cuda::graph_pool_handle();
};

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

  absl::StatusOr<const DeviceKernels*> Kernels(int ordinal) const override {
    const std::lock_guard lock(kernels_mutex_);
    std::unique_ptr<DeviceKernels>& kernels = kernels_[ordinal];
    if (kernels == nullptr) {
      const absl::StatusOr<cudaDeviceProp> properties = Properties(ordinal);
      if (!properties.ok()) return properties.status();
      auto made = Guarded([&] {
        return NewCudaKernels(ordinal, absl::StrCat("sm_", properties->major, properties->minor));
      });
      if (!made.ok()) return made.status();
      kernels = *std::move(made);
    }
    return kernels.get();
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
      const std::lock_guard lock(AllocatorMutex());
      c10::cuda::CUDACachingAllocator::emptyCache();
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::unique_ptr<GraphRecorder>> NewGraphRecorder() const override {
    return Guarded([]() -> absl::StatusOr<std::unique_ptr<GraphRecorder>> {
      return std::make_unique<PoolRecorder>();
    });
  }

 private:
  static absl::StatusOr<cudaDeviceProp> Properties(int ordinal) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, ordinal) == cudaSuccess) return properties;
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat("CUDA device ", ordinal, " does not answer"));
  }

  mutable std::mutex kernels_mutex_;
  mutable std::map<int, std::unique_ptr<DeviceKernels>> kernels_;  // by ordinal
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const CudaModule* PixembedCudaModule() {
  static const LinkedCudaModule module;
  return &module;
}

}  // namespace pixembed
