#include "src/model/linear.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/Device.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/model/activation.h"
#include "src/model/elementwise.h"
#include "src/model/float_kernel.h"
#include "src/model/integer_kernel.h"
#include "src/model/model.h"
#include "src/model/precision.h"
#include "src/model/thread_team.h"
#include "src/model/weights.h"
#include "tests/checkpoint/safetensors_bytes.h"
#include "tests/model/tensor_values.h"

namespace pixembed {
namespace {

constexpr float kTolerance = 1e-6F;

auto Near(const std::vector<float>& expected) {
  return testing::Pointwise(testing::FloatNear(kTolerance), expected);
}

TEST(Linear, MultipliesByRowsAndAddsTheBias) {
  const at::Tensor weight = at::tensor({1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F}).view({3, 2});
  const at::Tensor x = at::tensor({1.0F, -1.0F}).view({1, 1, 2});
  EXPECT_THAT(Values(Linear(weight, at::tensor({0.5F, 0.0F, -1.0F})).Forward(x)),
              Near({-0.5F, -1.0F, -2.0F}));
  EXPECT_THAT(Values(Linear(weight).Forward(x)), Near({-1.0F, -1.0F, -1.0F}));
}

TEST(Linear, IsUndefinedWhereItsWeightIs) {
  EXPECT_FALSE(Linear().defined());
  EXPECT_FALSE(Linear(at::Tensor()).defined());
  EXPECT_TRUE(Linear(at::tensor({1.0F}).view({1, 1})).defined());
}

// The packed weight is of no batch in particular.
TEST(Linear, TakesAnyNumberOfRowsAndAnyStrides) {
  const at::Tensor weight = at::randn({50, 70});
  const at::Tensor bias = at::randn({50});
  const Linear linear(weight, bias);
  for (const std::int64_t rows : {1, 3, 197, 1000}) {
    const at::Tensor x = at::randn({rows, 2, 70});
    const at::Tensor y = linear.Forward(x);
    ASSERT_EQ(y.sizes(), (std::vector<std::int64_t>{rows, 2, 50}));
    EXPECT_TRUE(at::allclose(y, at::linear(x, weight, bias), /*rtol=*/1e-5, /*atol=*/1e-5));
  }
  const at::Tensor turned = at::randn({70, 9}).t();
  EXPECT_TRUE(at::allclose(linear.Forward(turned), at::linear(turned, weight, bias), 1e-5, 1e-5));
}

// A row is a function of itself, as --deterministic and callers who compare bits like it.
TEST(Linear, GivesARowTheSameBitsAloneAmongOthersAndOnAnyNumberOfThreads) {
  if (NativeFloatKernel() == nullptr) GTEST_SKIP() << "products are LibTorch's on this CPU";
  const Linear linear(at::randn({200, 300}), at::randn({200}));
  const at::Tensor x = at::randn({450, 300});
  const auto forward = [&](const at::Tensor& rows, int threads) {
    const ThreadTeam team(threads);
    return linear.Forward(rows, Activation::kGelu);
  };
  const at::Tensor all = forward(x, 1);
  for (const std::int64_t row : {0, 13, 224, 449}) {
    EXPECT_TRUE(at::equal(forward(x.narrow(0, row, 1), 1), all.narrow(0, row, 1))) << row;
  }
  for (const int threads : {2, 3, 7}) EXPECT_TRUE(at::equal(forward(x, threads), all)) << threads;
  // The threads' shares are cut differently.
  const at::Tensor many = at::randn({980, 300});
  const at::Tensor all_of_many = forward(many, 1);
  for (const int threads : {2, 3, 7}) {
    EXPECT_TRUE(at::equal(forward(many, threads), all_of_many)) << threads;
  }
}

TEST(Linear, AppliesAnyActivationToItsResult) {
  const at::Tensor weight = at::randn({50, 70});
  const at::Tensor bias = at::randn({50});
  const at::Tensor x = at::randn({9, 70});
  for (const Activation activation :
       {Activation::kNone, Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu,
        Activation::kRelu, Activation::kSilu}) {
    at::Tensor expected = at::linear(x, weight, bias);
    Activate(activation, expected);
    EXPECT_TRUE(at::allclose(Linear(weight, bias).Forward(x, activation), expected, 1e-5, 1e-5))
        << ActivationName(activation);
  }
}

TEST(Linear, AddsToWhatIsThere) {
  const at::Tensor weight = at::randn({50, 700});
  const at::Tensor bias = at::randn({50});
  const at::Tensor scale = at::randn({50});
  const at::Tensor x = at::randn({2, 9, 700});
  const at::Tensor before = at::randn({2, 9, 50});
  const at::Tensor product = at::linear(x, weight, bias);
  const Linear linear(weight, bias);
  at::Tensor sum = before.clone();
  linear.AddTo(x, {}, sum);
  EXPECT_TRUE(at::allclose(sum, before.add(product), 1e-5, 1e-4));
  sum = before.clone();
  linear.AddTo(x, scale, sum);
  EXPECT_TRUE(at::allclose(sum, before.add(product.mul(scale)), 1e-5, 1e-4));
  // Into a view with other strides.
  sum = before.transpose(0, 1).contiguous().transpose(0, 1);
  linear.AddTo(x, scale, sum);
  EXPECT_TRUE(at::allclose(sum, before.add(product.mul(scale)), 1e-5, 1e-4));
}

TEST(Linear, OfBFloat16RoundsItsOperandsAndItsResult) {
  if (!CheckNative(Precision::kBFloat16, std::vector<Device>{Device{}}).ok()) {
    GTEST_SKIP() << "this CPU does not multiply bfloat16";
  }
  // 257 needs 9 bits, one more than bfloat16 keeps: it becomes 256.
  const Linear linear(at::tensor({257.0F, 2.0F}).view({1, 2}), {}, Precision::kBFloat16);
  EXPECT_THAT(Values(linear.Forward(at::tensor({1.0F, 1.0F, 257.0F, 0.0F}).view({2, 2}))),
              Near({258.0F, 65536.0F}));

  const at::Tensor weight = at::randn({50, 70});
  const at::Tensor bias = at::randn({50});
  const at::Tensor x = at::randn({9, 70});
  const at::Tensor y = Linear(weight, bias, Precision::kBFloat16).Forward(x);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::allclose(y, at::linear(x, weight, bias), /*rtol=*/0.02, /*atol=*/0.2));
}

class LinearOfIntegers : public testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (!CheckNative(GetParam(), std::vector<Device>{Device{}}).ok()) {
      GTEST_SKIP() << "this CPU does not multiply " << PrecisionName(GetParam());
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Of, LinearOfIntegers, testing::Values(Precision::kInt16, Precision::kInt8),
                         [](const auto& precision) {
                           return std::string(PrecisionName(precision.param));
                         });

// Five standard deviations of what rounding leaves out of a sum of 70 products of numbers from
// N(0, 1): a group's activations range over 5 and its weights to 3, so that a product's error has
// the deviation sqrt(((5 / largest activation)^2 + (3 / largest weight)^2) / 12).
double RoundingError(Precision precision) {
  const bool int8 = precision == Precision::kInt8;
  const IntegerKernel& kernel = int8 ? *NativeInt8Kernel() : *NativeInt16Kernel();
  const double activation = 5.0 / kernel.largest_activation;
  const double weight = 3.0 / (int8 ? 127.0 : 2047.0);
  return 5.0 * std::sqrt(70.0 * (activation * activation + weight * weight) / 12.0);
}

TEST_P(LinearOfIntegers, IsNearFloat32ForAnyNumberOfRowsAndAnyStrides) {
  const double error = RoundingError(GetParam());
  const at::Tensor weight = at::randn({50, 70});
  const at::Tensor bias = at::randn({50});
  const Linear linear(weight, bias, GetParam());
  EXPECT_TRUE(linear.defined());
  for (const std::int64_t rows : {1, 3, 197, 1000}) {
    const at::Tensor x = at::randn({rows, 2, 70});
    const at::Tensor y = linear.Forward(x);
    ASSERT_EQ(y.sizes(), (std::vector<std::int64_t>{rows, 2, 50}));
    EXPECT_TRUE(at::allclose(y, at::linear(x, weight, bias), /*rtol=*/1e-5, /*atol=*/error));
  }
  const at::Tensor turned = at::randn({70, 9}).t();
  EXPECT_TRUE(at::allclose(linear.Forward(turned), at::linear(turned, weight, bias), 1e-5, error));
  EXPECT_TRUE(at::allclose(Linear(weight.t().contiguous().t(), {}, GetParam()).Forward(turned),
                           at::linear(turned, weight), 1e-5, error));
}

TEST_P(LinearOfIntegers, GivesARowTheSameBitsAloneAmongOthersAndOnAnyNumberOfThreads) {
  const Linear linear(at::randn({33, 130}), at::randn({33}), GetParam());
  const at::Tensor x = at::randn({301, 130});
  const at::Tensor one_thread = [&] {
    const ThreadTeam team(1);
    return linear.Forward(x);
  }();
  for (const std::int64_t row : {0, 6, 95, 96, 300}) {
    EXPECT_TRUE(at::equal(linear.Forward(x.narrow(0, row, 1)), one_thread.narrow(0, row, 1)));
  }
  const ThreadTeam team(3);
  EXPECT_TRUE(at::equal(linear.Forward(x), one_thread));
}

TEST_P(LinearOfIntegers, FusesGelu) {
  const at::Tensor weight = at::randn({20, 70});
  const Linear linear(weight, {}, GetParam());
  ASSERT_TRUE(linear.fuses_gelu());
  EXPECT_FALSE(Linear(weight).fuses_gelu());
  const at::Tensor x = at::randn({9, 70});
  EXPECT_TRUE(at::allclose(linear.ForwardGelu(x), at::linear(at::gelu(x), weight), 0.01, 0.3));
}

TEST(Linear, IsAnotherWhileItIsSwitched) {
  const at::Tensor weight = at::eye(3, at::kFloat);
  Linear linear(weight);
  bool doubled = false;
  linear.SwitchTo(Linear(weight.mul(2.0)), &doubled);
  const at::Tensor x = at::tensor({1.0F, 2.0F, 3.0F}).view({1, 3});
  EXPECT_THAT(Values(linear.Forward(x)), Near({1, 2, 3}));
  doubled = true;
  EXPECT_THAT(Values(linear.Forward(x)), Near({2, 4, 6}));
  doubled = false;
  EXPECT_THAT(Values(linear.Forward(x)), Near({1, 2, 3}));
}

TEST(Linears, LieBelowEachOtherInTheOrderOfTheirNamesWithZerosForAMissingBias) {
  const std::vector<float> numbers = {3, 4, 30, 1, 2};
  const std::string header =
      R"({"k.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},
          "k.bias": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
          "q.weight": {"dtype": "F32", "shape": [1, 2], "data_offsets": [12, 20]}})";
  auto bytes = std::make_shared<const std::string>(SafetensorsBytes(
      header, {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)}));
  auto weights =
      Weights::Parse(std::as_bytes(std::span(bytes->data(), bytes->size())), bytes, "test");
  ASSERT_TRUE(weights.ok()) << weights.status();
  WeightReader reader(*weights, c10::kCPU);
  const WeightScope root = reader.Root(std::array<std::string_view, 1>{""}, "q.weight");
  const at::Tensor x = at::tensor({1.0F, 0.5F}).view({1, 2});

  const Linear both = ReadLinears(root, {{"q", false}, {"k"}}, /*in=*/2, /*out=*/1);
  EXPECT_THAT(Values(both.Forward(x)), Near({2, 35}));
  const Linear query = ReadLinears(root, {{"q", false}}, 2, 1);
  EXPECT_THAT(Values(query.Forward(x)), Near({2}));

  // By the path of all.
  if (NativeInt8Kernel() != nullptr) {
    SwitchedProducts switches;
    WeightReader switched(*weights, c10::kCPU, {}, &switches);
    const WeightScope scope = switched.Root(std::array<std::string_view, 1>{""}, "q.weight");
    EXPECT_THAT(Values(ReadLinears(scope, {{"q", false}, {"k"}}, 2, 1).Forward(x)), Near({2, 35}));
    ASSERT_EQ(switches.size(), 1U);
    EXPECT_EQ(switches.front().path, "q+k");
  }
  EXPECT_FALSE(ReadLinears(root, {{"k"}, {"q"}}, 2, 1).defined());
  EXPECT_THAT(std::string(reader.status().message()), testing::HasSubstr("q.bias"));
}

}  // namespace
}  // namespace pixembed
