#include "src/model/activation.h"

#include <gtest/gtest.h>

#include <optional>

namespace pixembed {
namespace {

TEST(Activation, AreFoundByTheNamesOfConfigurations) {
  EXPECT_EQ(ActivationByName("gelu"), Activation::kGelu);
  EXPECT_EQ(ActivationByName("gelu_pytorch_tanh"), Activation::kGeluTanh);
  EXPECT_EQ(ActivationByName("swish"), Activation::kSilu);
  EXPECT_EQ(ActivationByName("mish"), std::nullopt);
  EXPECT_EQ(ActivationName(Activation::kQuickGelu), "quick_gelu");
}

}  // namespace
}  // namespace pixembed
