#include "src/model/linear.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Device.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
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
#include "tests/model/fake_kernels.h"
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

// Of 300 inputs.
void ExpectTheSameBitsOfARow(const Linear& linear) {
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

// A row is a function of itself, as --deterministic and callers who compare bits like it.
TEST(Linear, GivesARowTheSameBitsAloneAmongOthersAndOnAnyNumberOfThreads) {
  if (NativeFloatKernel() == nullptr) GTEST_SKIP() << "products are LibTorch's on this CPU";
  ExpectTheSameBitsOfARow(Linear(at::randn({200, 300}), at::randn({200})));
}

TEST(Linear, OfBFloat16ByTilesGivesARowTheSameBitsAloneAmongOthersAndOnAnyNumberOfThreads) {
  if (AmxBFloat16Kernel() == nullptr) GTEST_SKIP() << "this CPU has no tiles";
  ExpectTheSameBitsOfARow(Linear(at::randn({200, 300}), at::randn({200}), Precision::kBFloat16));
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

TEST(Linear, OfBFloat16RoundsItsOperands) {
  if (!CheckNative(Precision::kBFloat16, std::vector<Device>{Device{}}).ok()) {
    GTEST_SKIP() << "this CPU does not multiply bfloat16";
  }
  // 257 needs 9 bits, one more than bfloat16 keeps: it becomes 256.
  const Linear linear(at::tensor({257.0F, 2.0F}).view({1, 2}), {}, Precision::kBFloat16);
  EXPECT_TRUE(linear.rounds_to_bfloat16());
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

// Six standard deviations of what rounding leaves out of each sum x w, as if every rounding were
// off by anything up to half a step: [rows of x, rows of weight]. A step is that of the whole row,
// whose groups have smaller ones.
at::Tensor RoundingError(Precision precision, const at::Tensor& x, const at::Tensor& weight) {
  const bool int8 = precision == Precision::kInt8;
  const IntegerKernel& kernel = int8 ? *NativeInt8Kernel() : *NativeInt16Kernel();
  const at::Tensor x_step =
      x.amax(-1).clamp_min(0).sub(x.amin(-1).clamp_max(0)).div(kernel.largest_activation);
  at::Tensor w_step = weight.abs().amax(-1).div(int8 ? 127.0 : 2047.0);
  if (int8 && kernel.largest_activation == 127) {
    // Four weights of one sign beside each other stay below 258: see int8_avx2.cc.
    const std::int64_t rest = (4 - weight.size(1) % 4) % 4;
    const at::Tensor padded = at::cat({weight, at::zeros({weight.size(0), rest})}, 1);
    for (const at::Tensor& sign : {padded.relu(), padded.neg().relu()}) {
      w_step = at::maximum(w_step, sign.view({weight.size(0), -1, 4}).sum(-1).amax(-1).div(258.0));
    }
  }
  const at::Tensor of_x = x_step.mul(x_step).unsqueeze(1).mul(weight.mul(weight).sum(-1));
  const at::Tensor of_w = x.mul(x).sum(-1).unsqueeze(1).mul(w_step.mul(w_step));
  return of_x.add(of_w).div(12.0).sqrt().mul(6.0).add(1e-5);
}

TEST_P(LinearOfIntegers, IsNearFloat32ForAnyNumberOfRowsAndAnyStrides) {
  const at::Tensor weight = at::randn({50, 70});
  const at::Tensor bias = at::randn({50});
  const Linear linear(weight, bias, GetParam());
  EXPECT_TRUE(linear.defined());
  const auto expect_near = [&](const at::Tensor& y, const at::Tensor& x, const at::Tensor& added) {
    const at::Tensor expected =
        at::linear(x, weight, added.defined() ? std::optional(added) : std::nullopt);
    const at::Tensor error = RoundingError(GetParam(), x.reshape({-1, 70}), weight);
    const at::Tensor distance = y.sub(expected).abs().view({-1, 50});
    EXPECT_TRUE(distance.le(error).all().item<bool>())
        << distance.div(error).max().item<float>() << " times what rounding explains";
  };
  for (const std::int64_t rows : {1, 3, 197, 1000}) {
    const at::Tensor x = at::randn({rows, 2, 70});
    const at::Tensor y = linear.Forward(x);
    ASSERT_EQ(y.sizes(), (std::vector<std::int64_t>{rows, 2, 50}));
    expect_near(y, x, bias);
  }
  const at::Tensor turned = at::randn({70, 9}).t();
  expect_near(linear.Forward(turned), turned, bias);
  expect_near(Linear(weight.t().contiguous().t(), {}, GetParam()).Forward(turned), turned, {});
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

TEST(Linear, SplitIsTheOneInFloat32WithinTwoToTheSixteenth) {
  // Three times 60 is no multiple of 8: zeros follow.
  for (const std::int64_t in : {64, 60}) {
    const at::Tensor weight = at::randn({40, in});
    const at::Tensor bias = at::randn({40});
    const at::Tensor x = at::randn({3, 7, in});
    const FakeKernels kernels;
    const Linear split = Linear::Split(weight, bias, kernels);
    const at::Tensor expected = at::linear(x, weight, bias);
    // Of what the sums consist of: products about 1 in size, each off by three parts in 2^17.
    const double tolerance = static_cast<double>(in) * 3.0 / (1 << 17);
    EXPECT_TRUE(at::allclose(split.Forward(x), expected, /*rtol=*/0.0, tolerance));
    // Rounding alone is far from that.
    const at::Tensor by_rounding =
        at::linear(x.to(at::kBFloat16), weight.to(at::kBFloat16), bias.to(at::kBFloat16));
    EXPECT_FALSE(at::allclose(by_rounding.to(at::kFloat), expected, 0.0, tolerance));
    // What is split already is not split again.
    const at::Tensor rounded = x.to(at::kBFloat16);
    const at::Tensor rest = at::sub(x, rounded).to(at::kBFloat16);
    const at::Tensor operand = at::constant_pad_nd(at::cat({rounded, rest, rounded}, -1),
                                                   {0, SplitWidth(in) - 3 * in}, /*value=*/0);
    EXPECT_TRUE(at::equal(split.Forward(operand), split.Forward(x)));
    EXPECT_EQ(kernels.multiplied, 3);
  }
}

TEST(Linear, OfBFloat16GoesByADevicesKernels) {
  for (const auto& [in, out] : {std::pair(16, 48), std::pair(48, 16)}) {
    const at::Tensor weight = at::randn({out, in});
    const at::Tensor bias = at::randn({out});
    const FakeKernels kernels;
    const Linear linear(weight, bias, Precision::kBFloat16, BranchType::kByDevice, &kernels);
    EXPECT_EQ(linear.kernels(), &kernels);
    const at::Tensor x = at::randn({2, 5, in}).to(at::kBFloat16);
    const at::Tensor expected =
        at::linear(x.to(at::kFloat), weight.to(at::kBFloat16).to(at::kFloat), bias);
    // Two roundings to bfloat16, of the bias and of the result.
    constexpr double kRounding = 2.0 / 256;
    const auto near = [&](const at::Tensor& actual, const at::Tensor& y) {
      return at::allclose(actual.to(at::kFloat), y, kRounding, kRounding * 4);
    };
    EXPECT_EQ(linear.ForwardWithin(x).scalar_type(), at::kBFloat16);
    EXPECT_TRUE(near(linear.ForwardWithin(x), expected));
    EXPECT_TRUE(near(linear.Forward(x), expected));
    EXPECT_TRUE(near(linear.ForwardWithin(x, Activation::kGelu), at::gelu(expected)));
    EXPECT_TRUE(near(linear.ForwardWithin(x, Activation::kRelu), at::relu(expected)));
    EXPECT_EQ(kernels.multiplied, 5);
  }
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
