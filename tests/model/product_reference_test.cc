#include "src/model/product_reference.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/randn.h>
#include <c10/core/ScalarType.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "src/model/device_kernels.h"
#include "tests/model/fake_kernels.h"

namespace pixembed {
namespace {

constexpr std::int64_t kRows = 1000;  // more than are looked at
constexpr std::int64_t kIn = 4096;
constexpr std::int64_t kOut = 24;

ProductOperands Operands(bool gelu, at::ScalarType out) {
  return {.x = at::randn({2, kRows / 2, kIn}).to(at::kBFloat16),
          .weight = at::randn({kOut, kIn}).div(std::sqrt(double{kIn})).to(at::kBFloat16),
          .bias = at::randn({kOut}).to(out),
          .gelu = gelu,
          .out = out};
}

class ProductReferenceTest : public testing::Test {
 protected:
  // Calls `test` with operands of every kind.
  template <typename Test>
  static void ForAll(const Test& test) {
    for (const bool gelu : {false, true}) {
      for (const at::ScalarType out : {at::kFloat, at::kBFloat16}) {
        SCOPED_TRACE(testing::Message() << "gelu " << gelu << ", " << out);
        test(Operands(gelu, out));
      }
    }
  }
};

TEST_F(ProductReferenceTest, AcceptsWhatIsRoundedOnce) {
  ForAll([](const ProductOperands& operands) {
    EXPECT_TRUE(IsProduct(operands, FakeKernels().Multiply(operands)));
  });
}

TEST_F(ProductReferenceTest, AcceptsWhatLibTorchGives) {
  ForAll([](const ProductOperands& operands) {
    const at::Tensor y = MultiplyByLibTorch(operands);
    EXPECT_EQ(y.scalar_type(), operands.out);
    EXPECT_TRUE(IsProduct(operands, y));
  });
}

TEST_F(ProductReferenceTest, AcceptsAProductOfNothingButZeros) {
  ProductOperands operands = Operands(false, at::kBFloat16);
  operands.x.zero_();
  operands.bias = at::Tensor();
  EXPECT_TRUE(IsProduct(operands, FakeKernels().Multiply(operands)));
}

TEST_F(ProductReferenceTest, RefusesASumThatLeavesOutAStepOfTheDepth) {
  constexpr std::int64_t kStep = 16;
  ForAll([](const ProductOperands& operands) {
    ProductOperands shorter = operands;
    shorter.x = operands.x.narrow(-1, 0, kIn - kStep).contiguous();
    shorter.weight = operands.weight.narrow(-1, 0, kIn - kStep).contiguous();
    EXPECT_FALSE(IsProduct(operands, FakeKernels().Multiply(shorter)));
  });
}

TEST_F(ProductReferenceTest, RefusesAWrongLastRow) {
  ForAll([](const ProductOperands& operands) {
    const at::Tensor y = FakeKernels().Multiply(operands);
    y.select(0, -1).select(0, -1).zero_();
    EXPECT_FALSE(IsProduct(operands, y));
  });
}

TEST_F(ProductReferenceTest, RefusesWhatIsNoNumber) {
  ForAll([](const ProductOperands& operands) {
    const at::Tensor y = FakeKernels().Multiply(operands);
    y.select(0, 0).select(0, 0).select(0, 0).fill_(std::numeric_limits<double>::quiet_NaN());
    EXPECT_FALSE(IsProduct(operands, y));
  });
}

}  // namespace
}  // namespace pixembed
