// What a GPU's kernels are made of is accepted by NVIDIA's compiler, which needs no device.
#include "src/model/cuda/kernel_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(CompileFusedKernels, ForEveryGenerationThatMultipliesBFloat16) {
  for (const char* architecture : {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"}) {
    for (const int width : {192, 768, 2048}) {
      const auto code = CompileFusedKernels(
          architecture, std::vector<std::string>{absl::StrCat("WIDTH=", width)});
      ASSERT_TRUE(code.ok()) << code.status();
      EXPECT_THAT(*code, HasSubstr("AddScaledNormalizeToFloat"));
    }
    const auto code = CompileFusedKernels(
        architecture, std::vector<std::string>{"PATCH_HEIGHT=14", "PATCH_WIDTH=14"});
    ASSERT_TRUE(code.ok()) << code.status();
    EXPECT_THAT(*code, HasSubstr("SplitPatches"));
  }
}

// Asks for the compiler and whether it knows the device, no more.
TEST(CompileFusedKernels, WithoutAnyKernel) {
  const auto code = CompileFusedKernels("sm_90", {});
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_THAT(*code, Not(HasSubstr("Normalize")));
}

TEST(CompileFusedKernels, SaysWhatIsWrong) {
  const auto unknown = CompileFusedKernels("sm_1", {});
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(ReasonOf(unknown.status()), Reason::kDeviceFailure);
  const auto wrong = CompileFusedKernels("sm_90", std::vector<std::string>{"WIDTH=nonsense"});
  ASSERT_FALSE(wrong.ok());
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr("nonsense"));
}

}  // namespace
}  // namespace pixembed
