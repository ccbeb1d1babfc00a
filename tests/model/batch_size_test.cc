#include "src/model/batch_size.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "src/model/model.h"

namespace pixembed {
namespace {

using testing::ElementsAre;

TEST(PaddedBatchSize, IsAPowerOfTwoFirstAndThenAMultiple) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t size = 1; size <= 256; ++size) {
    if (PaddedBatchSize(size) == size) sizes.push_back(size);
  }
  EXPECT_THAT(sizes, ElementsAre(1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192,
                                 224, 256));
}

TEST(PaddedBatchSize, IsTheNextSuchSizeAndLittleMore) {
  for (std::int64_t images = 1; images <= 70'000; ++images) {
    const std::int64_t padded = PaddedBatchSize(images);
    ASSERT_GE(padded, images);
    ASSERT_EQ(PaddedBatchSize(padded), padded);
    if (images > 32) {
      ASSERT_LT((padded - images) * 5, padded) << images;
    }
  }
}

TEST(BestBatchSize, FillsWhatMultipliesAndNoMore) {
  struct Case {
    int tokens;
    int in_registers;
    int in_tiles;
  };
  // ViT-B/32, of 160 pixels, ViT-B/16, DINOv2 of 224 pixels, ViT-B/16 of 384.
  for (const auto& [tokens, in_registers, in_tiles] :
       {Case{50, 4, 4}, {101, 4, 4}, {197, 1, 2}, {257, 1, 2}, {577, 1, 1}}) {
    EXPECT_EQ(BestBatchSize(Multiplier::kVectors, tokens), in_registers) << tokens;
    EXPECT_EQ(BestBatchSize(Multiplier::kTiles, tokens), in_tiles) << tokens;
    EXPECT_EQ(BestBatchSize(Multiplier::kOther, tokens), 4) << tokens;
  }
}

}  // namespace
}  // namespace pixembed
