// Run with empty stand-ins for NVIDIA's libraries on the search path: every symbol of the CUDA half
// resolves, and no device answers.
#include "src/model/cuda/cuda_module.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include "src/error/error.h"

namespace pixembed {
namespace {

TEST(CudaModule, LoadsWhereItsLibrariesAre) {
  const auto module = LoadCudaModule();
  ASSERT_TRUE(module.ok()) << module.status();
  const auto devices = (*module)->Devices();
  ASSERT_FALSE(devices.ok());
  EXPECT_EQ(ReasonOf(devices.status()), Reason::kDeviceFailure);
}

TEST(CudaModule, WithoutADeviceMemoryIsGivenBackAndNothingIsRecorded) {
  const auto module = LoadCudaModule();
  ASSERT_TRUE(module.ok()) << module.status();
  (*module)->ReleaseUnusedMemory();
  const auto recorder = (*module)->NewGraphRecorder();
  ASSERT_TRUE(recorder.ok()) << recorder.status();
  const auto graph = (*recorder)->Record([] { return at::Tensor(); });
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(ReasonOf(graph.status()), Reason::kDeviceFailure) << graph.status();
  (*module)->ReleaseUnusedMemory();
}

TEST(CudaModule, WithoutADeviceThereAreNoKernels) {
  const auto module = LoadCudaModule();
  ASSERT_TRUE(module.ok()) << module.status();
  const auto kernels = (*module)->Kernels(0);
  ASSERT_FALSE(kernels.ok());
  EXPECT_EQ(ReasonOf(kernels.status()), Reason::kDeviceFailure) << kernels.status();
}

}  // namespace
}  // namespace pixembed
