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

}  // namespace
}  // namespace pixembed
