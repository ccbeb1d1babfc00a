// The door to the CUDA half, which is a shared module of its own: one program serves both kinds of
// device, and a host without CUDA never loads LibTorch's CUDA libraries. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_CUDA_CUDA_MODULE_H_
#define PIXEMBED_SRC_MODEL_CUDA_CUDA_MODULE_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/model/device_kernels.h"

namespace pixembed {

// Work of a device that was recorded once and is started again with one call. One thread at a time.
class DeviceGraph {
 public:
  DeviceGraph() = default;
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;
  virtual ~DeviceGraph() = default;

  // What the work gave: memory that each Replay fills anew, and nothing before the first.
  virtual const at::Tensor& output() const = 0;

  // Starts the work on the current stream. It reads and writes the memory that it was recorded
  // with. Errors: DEVICE_FAILURE, OUT_OF_MEMORY.
  virtual absl::Status Replay() = 0;
};

// Records graphs whose memory comes out of one pool: none may run while another one of the same
// recorder does. One thread at a time; graphs may outlive it.
class GraphRecorder {
 public:
  GraphRecorder() = default;
  GraphRecorder(const GraphRecorder&) = delete;
  GraphRecorder& operator=(const GraphRecorder&) = delete;
  virtual ~GraphRecorder() = default;

  // Records what `work` puts on the current stream, which must not be its device's default one;
  // nothing of it runs. Other threads may use the device meanwhile. What `work` reads and writes
  // but does not make must outlive the graph. Errors, of what `work` throws as well: DEVICE_FAILURE
  // (the work waits for the device, or has it allocate by itself), OUT_OF_MEMORY. The stream is
  // usable again after one.
  virtual absl::StatusOr<std::unique_ptr<DeviceGraph>> Record(
      const std::function<at::Tensor()>& work) = 0;
};

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

  // What device `ordinal`, which multiplies bfloat16, computes by kernels of ours: made on the
  // first call, lives as long as the process. Errors: DEVICE_FAILURE: the libraries that make
  // kernels are missing, or do not know the device.
  virtual absl::StatusOr<const DeviceKernels*> Kernels(int ordinal) const = 0;

  // A stream of the pool of device `ordinal`. Errors: DEVICE_FAILURE, OUT_OF_MEMORY.
  virtual absl::StatusOr<c10::Stream> NewStream(int ordinal) const = 0;

  // Gives the memory that LibTorch keeps for later back to the devices, so that other streams and
  // other programs can have it. Waits for what the devices are doing.
  virtual void ReleaseUnusedMemory() const = 0;

  // With a pool of its own. Errors: DEVICE_FAILURE, OUT_OF_MEMORY.
  virtual absl::StatusOr<std::unique_ptr<GraphRecorder>> NewGraphRecorder() const = 0;
};

// The module, loaded on the first call.
// Errors: DEVICE_FAILURE: no driver, no module, or a library that it needs is missing.
absl::StatusOr<const CudaModule*> LoadCudaModule();

// The function that the module exports by this name, and its type.
inline constexpr char kCudaModuleEntry[] = "PixembedCudaModule";
using CudaModuleEntry = const CudaModule*();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_CUDA_CUDA_MODULE_H_
