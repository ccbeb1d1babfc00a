#include "src/model/residual_stream.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/core/ScalarType.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "src/model/layers.h"
#include "src/model/linear.h"
#include "src/model/model.h"
#include "tests/model/fake_kernels.h"
#include "tests/model/tensor_values.h"

namespace pixembed {
namespace {

constexpr std::int64_t kWidth = 8;

class ResidualStreamTest : public testing::Test {
 protected:
  static at::Tensor Tokens() { return at::randn({2, 3, kWidth}); }
  static at::Tensor Branch() { return Tokens().to(at::kBFloat16); }

  const LayerNorm norm_{at::randn({kWidth}), at::randn({kWidth}), 1e-6};
  const FakeKernels kernels_{};
};

TEST_F(ResidualStreamTest, AddsToTheTensorThatItWasGiven) {
  const at::Tensor x = Tokens();
  const at::Tensor before = x.clone();
  const at::Tensor branch = Tokens();
  const at::Tensor scale = at::randn({kWidth});
  ResidualStream stream(x);
  stream.Add(branch, {});
  EXPECT_EQ(Values(x), Values(before.add(branch)));
  stream.Add(branch, scale);
  EXPECT_TRUE(at::allclose(x, before.add(branch).add(branch.mul(scale))));
  EXPECT_EQ(stream.Sum().data_ptr(), x.data_ptr());
  EXPECT_EQ(Values(stream.Normalized(norm_)), Values(norm_.Forward(x)));
}

TEST_F(ResidualStreamTest, WithKernelsABranchIsAddedByTheNextNorm) {
  const at::Tensor x = Tokens();
  const at::Tensor before = x.clone();
  const at::Tensor branch = Branch();
  const at::Tensor scale = at::randn({kWidth});
  ResidualStream stream(x, &kernels_);
  stream.Add(branch, scale);
  EXPECT_EQ(Values(x), Values(before));
  const at::Tensor normed = stream.Normalized(norm_);
  const at::Tensor sum = before.add(branch.to(at::kFloat).mul(scale));
  EXPECT_EQ(kernels_.added, 1);
  EXPECT_TRUE(at::allclose(x, sum));
  EXPECT_TRUE(at::allclose(normed, norm_.Forward(sum), 1e-5, 1e-6));
  // Once.
  EXPECT_EQ(Values(stream.Normalized(norm_)), Values(normed));
  EXPECT_EQ(kernels_.added, 1);
}

TEST_F(ResidualStreamTest, WithKernelsTheSumHoldsWhatWasAdded) {
  const at::Tensor before = Tokens();
  const at::Tensor first = Branch();
  const at::Tensor second = Branch();
  ResidualStream stream(before.clone(), &kernels_);
  stream.Add(first, {});
  stream.Add(second, {});
  EXPECT_TRUE(at::allclose(stream.Sum(), before.add(first).add(second)));
  stream.Normalized(norm_);
  EXPECT_EQ(kernels_.added, 0);
}

TEST_F(ResidualStreamTest, NormalizesInTheTypeThatTheNextProductTakes) {
  const Linear exact(at::randn({kWidth, kWidth}));
  const Linear rounded(at::randn({kWidth, kWidth}), {}, Precision::kBFloat16, BranchType::kByDevice,
                       &kernels_);
  ResidualStream stream(Tokens(), &kernels_);
  EXPECT_EQ(stream.NormalizedFor(exact, norm_).scalar_type(), at::kFloat);
  EXPECT_EQ(stream.NormalizedFor(rounded, norm_).scalar_type(), at::kBFloat16);
}

TEST_F(ResidualStreamTest, OfAWidthThatTheKernelsDoNotTakeGoesByLibTorch) {
  const LayerNorm norm{at::ones({7}), at::zeros({7}), 1e-6};
  const at::Tensor x = at::randn({2, 3, 7});
  const at::Tensor branch = at::randn({2, 3, 7}).to(at::kBFloat16);
  const at::Tensor sum = x.add(branch);
  ResidualStream stream(x, &kernels_);
  stream.Add(branch, {});
  EXPECT_TRUE(at::allclose(x, sum));
  EXPECT_EQ(Values(stream.Normalized(norm)), Values(norm.Forward(x)));
  EXPECT_EQ(kernels_.normalized, 0);
}

}  // namespace
}  // namespace pixembed
