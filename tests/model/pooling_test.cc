#include "src/model/pooling.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "src/model/model.h"

namespace pixembed {
namespace {

std::vector<float> Row(const at::Tensor& pooled, int row) {
  const at::Tensor values = pooled[row].contiguous();
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

// [1, 3, 2]: one image, three tokens, two features.
at::Tensor Worked() { return at::tensor({1.0F, 8.0F, 2.0F, -4.0F, 6.0F, 2.0F}).view({1, 3, 2}); }

TEST(Pooling, MeanIsOverAllTokens) {
  EXPECT_THAT(Row(Pool(Pooling::kMean, Worked()), 0), testing::ElementsAre(3.0F, 2.0F));
}

TEST(Pooling, ClsIsTheFirstToken) {
  EXPECT_THAT(Row(Pool(Pooling::kCls, Worked()), 0), testing::ElementsAre(1.0F, 8.0F));
}

TEST(Pooling, MaxIsPerFeature) {
  EXPECT_THAT(Row(Pool(Pooling::kMax, Worked()), 0), testing::ElementsAre(6.0F, 8.0F));
}

TEST(Pooling, MaskedMeanIsOverTheTokensOfTheImageItself) {
  const at::Tensor twice = Worked().expand({2, 3, 2});
  const at::Tensor pooled = Pool(Pooling::kMaskedMean, twice, std::array<std::int64_t, 2>{2, 3});
  EXPECT_THAT(Row(pooled, 0), testing::ElementsAre(1.5F, 2.0F));
  EXPECT_THAT(Row(pooled, 1), testing::ElementsAre(3.0F, 2.0F));
  EXPECT_THAT(Row(Pool(Pooling::kMaskedMean, Worked()), 0), testing::ElementsAre(3.0F, 2.0F));
}

TEST(PoolingName, IsWhatFlagsSay) {
  EXPECT_EQ(PoolingName(Pooling::kMean), "mean");
  EXPECT_EQ(PoolingName(Pooling::kCls), "cls");
  EXPECT_EQ(PoolingName(Pooling::kMax), "max");
  EXPECT_EQ(PoolingName(Pooling::kMaskedMean), "masked_mean");
}

}  // namespace
}  // namespace pixembed
