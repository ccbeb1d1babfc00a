// Which LibTorch a process may have loaded. at::show_config is ours here: it says what a process
// says that brought a LibTorch of another version.
#include <ATen/Version.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/headeronly/version.h>

#include <string>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "src/model/model.h"

namespace {

std::string config;

}  // namespace

std::string at::show_config() { return config; }

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// As LibTorch writes it, with this version.
std::string ConfigOf(const std::string& version) {
  return "PyTorch built with:\n  - GCC 13.3\n  - Build settings: BLAS_INFO=mkl, TORCH_VERSION=" +
         version + ", USE_CUDA=ON, \n";
}

TEST(CheckRuntimeTest, TheVersionThatItWasBuiltWithIsTaken) {
  for (const std::string& said :
       {ConfigOf(TORCH_VERSION), std::string("TORCH_VERSION=") + TORCH_VERSION,
        std::string("TORCH_VERSION=") + TORCH_VERSION + "\n"}) {
    config = said;
    EXPECT_EQ(CheckRuntime(), absl::OkStatus()) << said;
  }
}

TEST(CheckRuntimeTest, EveryOtherIsRefusedAndNamed) {
  const std::string built = TORCH_VERSION;
  for (const std::string& loaded : {std::string("2.9.1"), std::string("1.13.0"), built + "1",
                                    built + ".dev20260101", built.substr(0, built.size() - 1)}) {
    config = ConfigOf(loaded);
    const absl::Status status = CheckRuntime();
    EXPECT_EQ(ReasonOf(status), Reason::kUnusableProcess) << loaded;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("LibTorch " + loaded + " loaded"),
                                                     HasSubstr("built with " + built + ":")));
  }
}

TEST(CheckRuntimeTest, OneThatDoesNotSayIsRefused) {
  for (const char* const said : {"", "PyTorch built with:\n  - GCC 13.3\n"}) {
    config = said;
    const absl::Status status = CheckRuntime();
    EXPECT_EQ(ReasonOf(status), Reason::kUnusableProcess);
    EXPECT_THAT(std::string(status.message()), HasSubstr("LibTorch unknown"));
  }
}

}  // namespace
}  // namespace pixembed
