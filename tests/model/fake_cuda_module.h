// The CUDA half of a program on a host whose only device is the CPU.
#ifndef PIXEMBED_TESTS_MODEL_FAKE_CUDA_MODULE_H_
#define PIXEMBED_TESTS_MODEL_FAKE_CUDA_MODULE_H_

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/device_kernels.h"
#include "tests/model/fake_graphs.h"

namespace pixembed {

class FakeCudaModule final : public CudaModule {
 public:
  explicit FakeCudaModule(FakeGraphLog* graphs) : graphs_(*graphs) {}

  absl::StatusOr<std::vector<std::string>> Devices() const override {
    return std::vector<std::string>{"fake"};
  }
  absl::StatusOr<bool> MultipliesBFloat16(int /*ordinal*/) const override { return false; }
  absl::StatusOr<const DeviceKernels*> Kernels(int /*ordinal*/) const override {
    return MakeError(Reason::kDeviceFailure, "a fake");
  }
  absl::StatusOr<c10::Stream> NewStream(int /*ordinal*/) const override {
    return c10::Stream(c10::Stream::DEFAULT, c10::Device(c10::kCPU));
  }
  void ReleaseUnusedMemory() const override { ++releases_; }
  absl::StatusOr<std::unique_ptr<GraphRecorder>> NewGraphRecorder() const override {
    return std::make_unique<FakeRecorder>(&graphs_);
  }

  int releases() const { return releases_; }

 private:
  FakeGraphLog& graphs_;
  mutable int releases_ = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_FAKE_CUDA_MODULE_H_
