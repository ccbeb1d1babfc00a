#include "src/model/attention_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/model/kernel_operands.h"
#include "tests/model/plain_tiles.h"

#define PIXEMBED_VECTOR_CODE

#include "src/model/tile_attention_body.h"

namespace pixembed {
namespace {

// Of sums of products of normal numbers, against the same in float64.
constexpr float kTolerance = 5e-6F;
// The same of values up to 2, where their weights are rounded to 8 bits.
constexpr float kRoundedTolerance = 2.0F * 0x1p-8F;

struct Case {
  std::size_t queries;
  std::size_t tokens;
  std::size_t head_dim;
  bool added;
};

std::vector<float> Expected(const Case& shape, const std::vector<float>& queries,
                            const std::vector<float>& keys, const std::vector<float>& values,
                            const std::vector<float>& added, double scale) {
  std::vector<float> out(shape.queries * shape.head_dim);
  for (std::size_t q = 0; q < shape.queries; ++q) {
    std::vector<double> weights(shape.tokens);
    double sum = 0.0;
    for (std::size_t t = 0; t < shape.tokens; ++t) {
      double score = shape.added ? added[q * shape.tokens + t] : 0.0;
      for (std::size_t d = 0; d < shape.head_dim; ++d) {
        score += scale * queries[q * shape.head_dim + d] * keys[t * shape.head_dim + d];
      }
      sum += weights[t] = std::exp(score);
    }
    for (std::size_t d = 0; d < shape.head_dim; ++d) {
      double mixed = 0.0;
      for (std::size_t t = 0; t < shape.tokens; ++t) {
        mixed += weights[t] * values[t * shape.head_dim + d];
      }
      out[q * shape.head_dim + d] = static_cast<float>(mixed / sum);
    }
  }
  return out;
}

std::vector<float> Rounded(std::vector<float> numbers) {
  std::ranges::transform(numbers, numbers.begin(), RoundedToBFloat16);
  return numbers;
}

// Queries (by the scale), keys, values and weights.
enum class Rounds { kNothing, kToBFloat16 };

void ExpectTheDefinition(const AttentionKernel& kernel, Rounds rounds, const Case& shape) {
  const auto dim = static_cast<std::ptrdiff_t>(shape.head_dim);
  const std::vector<float> queries = Noise(shape.queries * shape.head_dim, 1);
  const std::vector<float> keys = Noise(shape.tokens * shape.head_dim, 2);
  const std::vector<float> values = Noise(shape.tokens * shape.head_dim, 3);
  const std::vector<float> added = Noise(shape.added ? shape.queries * shape.tokens : 0, 4);
  std::vector<float> out(queries.size());
  const Bytes scratch =
      Aligned(sizeof(float) * kernel.scratch_floats(shape.tokens, shape.head_dim));
  HeadAttention head{.queries = {queries.data(), dim},
                     .keys = {keys.data(), dim},
                     .values = {values.data(), dim},
                     .added = {},
                     .first = 0,
                     .last = shape.queries,
                     .tokens = shape.tokens,
                     .head_dim = shape.head_dim,
                     // So that the sums of deep products are no larger than of others.
                     .scale = 2.0F / std::sqrt(std::max(static_cast<float>(shape.head_dim), 64.0F)),
                     .out = out.data(),
                     .out_stride = dim};
  if (shape.added) head.added = {added.data(), static_cast<std::ptrdiff_t>(shape.tokens)};
  kernel.run(head, reinterpret_cast<float*>(scratch.get()));
  std::vector<float> expected;
  if (rounds == Rounds::kNothing) {
    expected = Expected(shape, queries, keys, values, added, head.scale);
  } else {
    std::vector<float> scaled = queries;
    for (float& number : scaled) number *= head.scale;
    expected = Expected(shape, Rounded(scaled), Rounded(keys), Rounded(values), added, 1.0);
  }
  const float tolerance = rounds == Rounds::kNothing ? kTolerance : kRoundedTolerance;
  for (std::size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], expected[i], tolerance) << "number " << i;
  }

  // In two parts, from another row on: the same bits.
  std::vector<float> parts(out.size());
  head.out = parts.data();
  head.last = std::min<std::size_t>(shape.queries, 4);
  kernel.run(head, reinterpret_cast<float*>(scratch.get()));
  head.first = head.last;
  head.last = shape.queries;
  kernel.run(head, reinterpret_cast<float*>(scratch.get()));
  EXPECT_EQ(parts, out);
}

void ExpectTheDefinitionOf(const AttentionKernel& kernel, Rounds rounds,
                           std::initializer_list<std::size_t> all_queries,
                           std::initializer_list<std::size_t> all_tokens,
                           std::initializer_list<std::size_t> head_dims) {
  for (const std::size_t queries : all_queries) {
    for (const std::size_t tokens : all_tokens) {
      for (const std::size_t head_dim : head_dims) {
        for (const bool added : {false, true}) {
          SCOPED_TRACE(std::to_string(queries) + " x " + std::to_string(tokens) + " x " +
                       std::to_string(head_dim));
          ExpectTheDefinition(kernel, rounds, {queries, tokens, head_dim, added});
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

void ExpectTheDefinitionOfAllShapes(const AttentionKernel* kernel,
                                    Rounds rounds = Rounds::kNothing) {
  if (kernel == nullptr) GTEST_SKIP() << "this CPU cannot run it";
  // Whole and broken registers and blocks of rows, in every direction.
  ExpectTheDefinitionOf(*kernel, rounds, {1, 5, 6, 7, 13, 14, 15, 16, 17, 29, 33},
                        {1, 7, 8, 15, 16, 17, 33, 64, 65, 197},
                        {1, 5, 8, 16, 20, 32, 48, 64, 72, 80});
  // Several blocks of the depth.
  ExpectTheDefinitionOf(*kernel, rounds, {1, 15}, {255, 256, 257, 600}, {64, 256, 257, 300});
}

TEST(AttentionKernel, OfAvx2GivesWhatTheDefinitionGives) {
  ExpectTheDefinitionOfAllShapes(Avx2AttentionKernel());
}

TEST(AttentionKernel, OfAvx512GivesWhatTheDefinitionGives) {
  ExpectTheDefinitionOfAllShapes(Avx512AttentionKernel());
}

TEST(AttentionKernel, OfAmxGivesWhatTheDefinitionGivesOfRoundedNumbers) {
  ExpectTheDefinitionOfAllShapes(AmxBFloat16AttentionKernel(), Rounds::kToBFloat16);
}

TEST(AttentionKernel, OfTilesInPlainCodeGivesWhatTheDefinitionGivesOfRoundedNumbers) {
  using Body = TileAttentionBody<PlainTiles>;
  static constexpr AttentionKernel kKernel = {Body::Run, Body::ScratchFloats};
  ExpectTheDefinitionOfAllShapes(&kKernel, Rounds::kToBFloat16);
}

// Weights that bfloat16 holds: nothing but the operands is rounded.
TEST(AttentionKernel, OfAmxOfEqualScoresGivesTheMeanOfTheValues) {
  const AttentionKernel* const kernel = AmxBFloat16AttentionKernel();
  if (kernel == nullptr) GTEST_SKIP() << "this CPU cannot run it";
  constexpr std::size_t kTokens = 197;
  constexpr std::size_t kHeadDim = 72;
  const std::vector<float> zeros(kTokens * kHeadDim);
  const std::vector<float> values = Noise(kTokens * kHeadDim, 3);
  std::vector<float> out(kTokens * kHeadDim);
  const Bytes scratch = Aligned(sizeof(float) * kernel->scratch_floats(kTokens, kHeadDim));
  kernel->run({.queries = {zeros.data(), kHeadDim},
               .keys = {zeros.data(), kHeadDim},
               .values = {values.data(), kHeadDim},
               .added = {},
               .first = 0,
               .last = kTokens,
               .tokens = kTokens,
               .head_dim = kHeadDim,
               .scale = 1.0F,
               .out = out.data(),
               .out_stride = kHeadDim},
              reinterpret_cast<float*>(scratch.get()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    double sum = 0.0;
    for (std::size_t token = 0; token < kTokens; ++token) {
      sum += RoundedToBFloat16(values[token * kHeadDim + i % kHeadDim]);
    }
    ASSERT_NEAR(out[i], sum / kTokens, kTolerance) << "number " << i;
  }
}

}  // namespace
}  // namespace pixembed
