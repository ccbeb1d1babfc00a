#include "src/model/output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "src/model/model.h"

namespace pixembed {
namespace {

template <typename T>
std::vector<T> Values(const Embedding& embedding) {
  std::vector<T> values(embedding.values.size() / sizeof(T));
  std::memcpy(values.data(), embedding.values.data(), embedding.values.size());
  return values;
}

TEST(Output, Float32IsTheVectorItself) {
  const std::array<float, 3> pooled = {1.5F, -2.0F, 0.25F};
  const Embedding embedding = MakeEmbedding(pooled, {});
  EXPECT_EQ(embedding.data_type, DataType::kFloat32);
  EXPECT_EQ(embedding.dimensions, 3);
  EXPECT_EQ(embedding.scale, 1.0F);
  EXPECT_THAT(Values<float>(embedding), testing::ElementsAreArray(pooled));
}

TEST(Output, TruncatesBeforeItNormalizes) {
  const std::array<float, 4> pooled = {3.0F, 4.0F, 100.0F, 100.0F};
  const Embedding embedding = MakeEmbedding(pooled, {.normalize = true, .dimensions = 2});
  EXPECT_EQ(embedding.dimensions, 2);
  EXPECT_THAT(Values<float>(embedding), testing::ElementsAre(0.6F, 0.8F));
}

TEST(Output, AZeroVectorStaysZeroWhenNormalized) {
  const std::array<float, 2> pooled = {0.0F, 0.0F};
  EXPECT_THAT(Values<float>(MakeEmbedding(pooled, {.normalize = true})),
              testing::ElementsAre(0.0F, 0.0F));
}

TEST(Output, Int8ScalesTheLargestMagnitudeTo127) {
  const std::array<float, 5> pooled = {2.54F, -1.27F, 0.03F, 0.0F, -2.54F};
  const Embedding embedding = MakeEmbedding(pooled, {.data_type = DataType::kInt8});
  EXPECT_FLOAT_EQ(embedding.scale, 0.02F);
  EXPECT_THAT(Values<std::int8_t>(embedding), testing::ElementsAre(127, -64, 2, 0, -127));
}

TEST(Output, Int8OfZerosIsZeros) {
  const std::array<float, 2> pooled = {0.0F, 0.0F};
  const Embedding embedding = MakeEmbedding(pooled, {.data_type = DataType::kInt8});
  EXPECT_THAT(Values<std::int8_t>(embedding), testing::ElementsAre(0, 0));
}

TEST(Output, BinaryPutsTheFirstDimensionInTheHighestBit) {
  const std::array<float, 10> pooled = {1, -1, 0, 2, -3, -1, -1, 1, 1, 0};
  const Embedding embedding = MakeEmbedding(pooled, {.data_type = DataType::kBinary});
  EXPECT_EQ(embedding.dimensions, 10);
  EXPECT_THAT(Values<std::uint8_t>(embedding), testing::ElementsAre(0b10010001, 0b10000000));
}

TEST(Output, HalvesAreTwoBytesEach) {
  const std::array<float, 2> pooled = {1.0F, -2.0F};
  EXPECT_THAT(Values<std::uint16_t>(MakeEmbedding(pooled, {.data_type = DataType::kFloat16})),
              testing::ElementsAre(0x3C00, 0xC000));
  EXPECT_THAT(Values<std::uint16_t>(MakeEmbedding(pooled, {.data_type = DataType::kBFloat16})),
              testing::ElementsAre(0x3F80, 0xC000));
}

TEST(Float16, RoundsToNearestEven) {
  EXPECT_EQ(ToFloat16(0.0F), 0x0000);
  EXPECT_EQ(ToFloat16(-0.0F), 0x8000);
  EXPECT_EQ(ToFloat16(2049.0F), 0x6800);        // half way to 2050: down to the even 2048
  EXPECT_EQ(ToFloat16(2051.0F), 0x6802);        // half way to 2050: up to the even 2052
  EXPECT_EQ(ToFloat16(65504.0F), 0x7BFF);       // the largest
  EXPECT_EQ(ToFloat16(65519.0F), 0x7BFF);       // below half way to 65536
  EXPECT_EQ(ToFloat16(65520.0F), 0x7C00);       // half way: infinity
  EXPECT_EQ(ToFloat16(0x1p-14F), 0x0400);       // the smallest normal
  EXPECT_EQ(ToFloat16(0x1p-24F), 0x0001);       // the smallest subnormal
  EXPECT_EQ(ToFloat16(0x1p-25F), 0x0000);       // half way: down to the even 0
  EXPECT_EQ(ToFloat16(0x1.8p-24F), 0x0002);     // half way: up to the even 2
  EXPECT_EQ(ToFloat16(-0x1.ff8p-15F), 0x83FF);  // the largest subnormal
  EXPECT_EQ(ToFloat16(-0x1.ffcp-15F), 0x8400);  // half way to the smallest normal
  EXPECT_EQ(ToFloat16(std::numeric_limits<float>::infinity()), 0x7C00);
  EXPECT_EQ(ToFloat16(std::numeric_limits<float>::quiet_NaN()) & 0x7E00, 0x7E00);
}

TEST(BFloat16, RoundsToNearestEven) {
  EXPECT_EQ(ToBFloat16(std::bit_cast<float>(0x3F808000U)), 0x3F80);  // half way: down to even
  EXPECT_EQ(ToBFloat16(std::bit_cast<float>(0x3F818000U)), 0x3F82);  // half way: up to even
  EXPECT_EQ(ToBFloat16(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(ToBFloat16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(ToBFloat16(std::numeric_limits<float>::infinity()), 0x7F80);
  // A NaN whose payload lies in the dropped half stays one.
  EXPECT_TRUE(std::isnan(std::bit_cast<float>(
      static_cast<std::uint32_t>(ToBFloat16(std::bit_cast<float>(0x7F800001U))) << 16)));
}

TEST(Output, NotANumberIsNoUndefinedInteger) {
  const std::array<float, 3> pooled = {std::numeric_limits<float>::quiet_NaN(),
                                       std::numeric_limits<float>::infinity(), 1.0F};
  const Embedding embedding = MakeEmbedding(pooled, {.data_type = DataType::kInt8});
  EXPECT_THAT(Values<std::int8_t>(embedding), testing::ElementsAre(0, 0, 0));
}

TEST(Output, WhatIsNotFiniteSaysSoInEveryDataType) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const DataType type : {DataType::kFloat32, DataType::kFloat16, DataType::kBFloat16,
                              DataType::kInt8, DataType::kBinary}) {
    const OutputSpec spec = {.data_type = type};
    EXPECT_TRUE(MakeEmbedding(std::array{1.0F, 0.0F}, spec).finite);
    EXPECT_FALSE(MakeEmbedding(std::array{1.0F, kNan}, spec).finite);
    EXPECT_FALSE(MakeEmbedding(std::array{-kInfinity, 1.0F}, spec).finite);
    // What was cut off does not count.
    EXPECT_TRUE(MakeEmbedding(std::array{1.0F, kNan}, {.dimensions = 1, .data_type = type}).finite);
  }
}

TEST(Output, ANumberThatTheDataTypeCannotHoldIsNotFinite) {
  const std::array<float, 2> large = {65520.0F, 1.0F};
  EXPECT_TRUE(MakeEmbedding(large, {}).finite);
  EXPECT_TRUE(MakeEmbedding(large, {.data_type = DataType::kInt8}).finite);
  EXPECT_FALSE(MakeEmbedding(large, {.data_type = DataType::kFloat16}).finite);
  const std::array<float, 2> largest = {std::numeric_limits<float>::max(), 1.0F};
  EXPECT_TRUE(MakeEmbedding(largest, {}).finite);
  EXPECT_FALSE(MakeEmbedding(largest, {.data_type = DataType::kBFloat16}).finite);
}

TEST(FloatValues, AreTheNumbersOfTheVector) {
  const std::vector<float> values = {1.5F, -2.0F, 0.0F};
  EXPECT_EQ(FloatValues(MakeEmbedding(values, {})), values);
}

TEST(CosineSimilarity, IsOfDirectionsAndMinusOneWhereANumberIsNone) {
  const std::vector<float> right = {2.0F, 0.0F};
  const std::vector<float> zero = {0.0F, 0.0F};
  EXPECT_DOUBLE_EQ(CosineSimilarity(right, std::vector<float>{5.0F, 0.0F}), 1.0);
  EXPECT_DOUBLE_EQ(CosineSimilarity(right, std::vector<float>{0.0F, 3.0F}), 0.0);
  EXPECT_DOUBLE_EQ(CosineSimilarity(right, std::vector<float>{-1.0F, 0.0F}), -1.0);
  EXPECT_DOUBLE_EQ(CosineSimilarity(zero, zero), 1.0);
  EXPECT_DOUBLE_EQ(CosineSimilarity(right, zero), -1.0);
  EXPECT_DOUBLE_EQ(CosineSimilarity(right, std::vector<float>{std::nanf(""), 1.0F}), -1.0);
}

}  // namespace
}  // namespace pixembed
