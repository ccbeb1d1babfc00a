#include "src/model/attention.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/model/attention_kernel.h"

namespace pixembed {
namespace {

// Of sums of products of normal numbers, against the same in float64.
constexpr double kTolerance = 2e-6;

// The definition, in float64.
at::Tensor Expected(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                    const at::Tensor& added, double scale) {
  at::Tensor scores =
      at::matmul(query.to(at::kDouble), key.to(at::kDouble).transpose(2, 3)).mul(scale);
  if (added.defined()) {
    scores.add_(added.to(at::kDouble).repeat({query.size(0) / added.size(0), 1, 1, 1}));
  }
  return at::matmul(at::softmax(scores, -1), value.to(at::kDouble))
      .transpose(1, 2)
      .reshape({query.size(0), query.size(2), -1})
      .to(at::kFloat);
}

struct Shape {
  std::int64_t batch, heads, queries, tokens, head_dim;
};

class AttentionShapes : public testing::TestWithParam<Shape> {};

TEST_P(AttentionShapes, GiveWhatTheDefinitionGives) {
  const auto [batch, heads, queries, tokens, head_dim] = GetParam();
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  const at::Tensor query = at::randn({batch, heads, queries, head_dim});
  const at::Tensor key = at::randn({batch, heads, tokens, head_dim});
  const at::Tensor value = at::randn({batch, heads, tokens, head_dim});
  std::vector<at::Tensor> biases = {at::Tensor(), at::randn({1, heads, queries, tokens}),
                                    at::randn({batch, 1, 1, tokens}),
                                    at::randn({batch, heads, queries, tokens})};
  for (const at::Tensor& added : biases) {
    const at::Tensor actual = ScaledDotProductAttention(query, key, value, added, scale);
    EXPECT_TRUE(
        at::allclose(actual, Expected(query, key, value, added, scale), kTolerance, kTolerance));
  }
}

// Whole and broken registers and blocks of rows, in both directions.
INSTANTIATE_TEST_SUITE_P(All, AttentionShapes,
                         testing::Values(Shape{1, 1, 1, 1, 1}, Shape{2, 3, 6, 16, 64},
                                         Shape{1, 2, 7, 17, 5}, Shape{2, 1, 5, 15, 72},
                                         Shape{1, 3, 197, 197, 64}, Shape{4, 2, 49, 49, 32},
                                         Shape{3, 4, 12, 48, 96}, Shape{1, 1, 300, 301, 128}),
                         [](const auto& named) {
                           const Shape& shape = named.param;
                           return absl::StrCat(shape.batch, "x", shape.heads, "_queries_",
                                               shape.queries, "_tokens_", shape.tokens,
                                               "_head_dim_", shape.head_dim);
                         });

// The queries, keys and values of a block are views of one product.
TEST(Attention, ReadsViewsWhereTheyLie) {
  const at::Tensor parts = at::randn({2, 19, 3, 4, 8}).permute({2, 0, 3, 1, 4});
  const at::Tensor actual = ScaledDotProductAttention(parts[0], parts[1], parts[2], {}, 0.5);
  EXPECT_TRUE(
      at::equal(actual, ScaledDotProductAttention(parts[0].contiguous(), parts[1].contiguous(),
                                                  parts[2].contiguous(), {}, 0.5)));
  const at::Tensor turned =
      at::randn({2, 4, 8, 19}).transpose(2, 3);  // its rows are not contiguous
  EXPECT_TRUE(at::equal(ScaledDotProductAttention(turned, turned, turned, {}, 0.5),
                        ScaledDotProductAttention(turned.contiguous(), turned.contiguous(),
                                                  turned.contiguous(), {}, 0.5)));
}

TEST(Attention, AnImageGetsTheSameBitsInAnyBatchOnAnyNumberOfThreads) {
  const at::Tensor qkv = at::randn({3, 5, 3, 33, 16});
  at::set_num_threads(1);
  const at::Tensor together = ScaledDotProductAttention(qkv[0], qkv[1], qkv[2], {}, 0.25);
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    for (std::int64_t image = 0; image < 5; ++image) {
      const auto one = [&](int part) { return qkv[part].narrow(0, image, 1); };
      EXPECT_TRUE(at::equal(ScaledDotProductAttention(one(0), one(1), one(2), {}, 0.25)[0],
                            together[image]))
          << threads << " threads, image " << image;
    }
  }
  at::set_num_threads(1);
}

TEST(Attention, ATokenThatIsKeptOutHasNoWeightWhateverItHolds) {
  at::Tensor value = at::randn({1, 1, 20, 4});
  at::Tensor mask = at::zeros({1, 1, 1, 20});
  mask[0][0][0][7].fill_(-std::numeric_limits<float>::infinity());
  mask[0][0][0][19].fill_(-std::numeric_limits<float>::infinity());
  const at::Tensor query = at::randn({1, 1, 3, 4});
  const at::Tensor key = at::randn({1, 1, 20, 4});
  const at::Tensor before = ScaledDotProductAttention(query, key, value, mask, 1.0);
  value[0][0][7].fill_(1e30);
  value[0][0][19].fill_(-1e30);
  EXPECT_TRUE(at::equal(ScaledDotProductAttention(query, key, value, mask, 1.0), before));
}

// Scores far apart: the weights underflow, and nothing else happens.
TEST(Attention, BearsScoresOfAnySize) {
  const at::Tensor query = at::randn({1, 2, 9, 8}).mul(1e3);
  const at::Tensor key = at::randn({1, 2, 21, 8}).mul(1e3);
  const at::Tensor value = at::randn({1, 2, 21, 8});
  EXPECT_TRUE(at::allclose(ScaledDotProductAttention(query, key, value, {}, 1.0),
                           Expected(query, key, value, {}, 1.0), kTolerance, kTolerance));
}

// As exact as bfloat16, where it may be; LibTorch's own attention of bfloat16 is the measure.
TEST(Attention, MayRoundToBFloat16) {
  const at::Tensor qkv = at::randn({3, 2, 3, 197, 64});
  const at::Tensor exact = ScaledDotProductAttention(qkv[0], qkv[1], qkv[2], {}, 0.125);
  const at::Tensor rounded =
      ScaledDotProductAttention(qkv[0], qkv[1], qkv[2], {}, 0.125, /*rounds=*/true);
  const at::Tensor half = qkv.to(at::kBFloat16);
  const at::Tensor measure =
      ScaledDotProductAttention(half[0], half[1], half[2], {}, 0.125).to(at::kFloat);
  const auto distance = [&](const at::Tensor& own) {
    return at::sub(own, exact).abs().max().item<float>();
  };
  EXPECT_EQ(rounded.scalar_type(), at::kFloat);
  EXPECT_LE(distance(rounded), distance(measure));
  if (AmxBFloat16AttentionKernel() != nullptr) {
    EXPECT_GT(distance(rounded), 0.0F);
  } else {
    EXPECT_TRUE(at::equal(rounded, exact));
  }
}

}  // namespace
}  // namespace pixembed
