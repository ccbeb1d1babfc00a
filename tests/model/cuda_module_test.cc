// Run with empty stand-ins for NVIDIA's libraries on the search path: every symbol of the CUDA half
// resolves, and no device answers.
#include "src/model/cuda/cuda_module.h"

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

}  // namespace
}  // namespace pixembed
