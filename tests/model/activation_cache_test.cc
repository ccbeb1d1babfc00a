#include "src/model/activation_cache.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace pixembed {
namespace {

constexpr std::int64_t kFloats = 1 << 18;  // 1 MiB
constexpr std::size_t kBytes = kFloats * sizeof(float);

at::Tensor Floats(std::int64_t count) { return at::empty({count}, at::kFloat); }

class ActivationCacheTest : public testing::Test {
 protected:
  ActivationCacheTest() { ActivationCache::Install(); }
};

TEST_F(ActivationCacheTest, GivesTheSameMemoryAgain) {
  ActivationCache cache;
  const ActivationCache::Use use(cache);
  const void* first = Floats(kFloats).data_ptr();
  EXPECT_EQ(cache.kept_bytes(), kBytes);
  EXPECT_EQ(Floats(kFloats).data_ptr(), first);
}

TEST_F(ActivationCacheTest, MemoryIsAlignedForVectors) {
  ActivationCache cache;
  const ActivationCache::Use use(cache);
  for (const std::int64_t count : {1, 1000, 100'003}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(Floats(count).data_ptr()) % 64, 0U);
  }
}

TEST_F(ActivationCacheTest, KeepsAtMostTwiceThePeak) {
  ActivationCache cache;
  const ActivationCache::Use use(cache);
  // Growing blocks: none fits the next request.
  for (std::int64_t count = kFloats; count <= 16 * kFloats; count += kFloats / 2) Floats(count);
  EXPECT_LE(cache.kept_bytes(), 32 * kBytes);
}

TEST_F(ActivationCacheTest, ASmallRequestDoesNotTakeALargeBlock) {
  ActivationCache cache;
  const ActivationCache::Use use(cache);
  const void* large = Floats(4 * kFloats).data_ptr();
  const at::Tensor small = Floats(kFloats);
  EXPECT_NE(small.data_ptr(), large);
  EXPECT_EQ(cache.kept_bytes(), 4 * kBytes);
}

TEST_F(ActivationCacheTest, BlocksMayOutliveTheCache) {
  at::Tensor survivor;
  {
    ActivationCache cache;
    const ActivationCache::Use use(cache);
    survivor = Floats(kFloats);
  }
  survivor.fill_(1.0F);
  EXPECT_EQ(survivor.const_data_ptr<float>()[kFloats - 1], 1.0F);
}

TEST_F(ActivationCacheTest, OutsideOfAUseNothingIsKept) {
  ActivationCache cache;
  std::optional<at::Tensor> tensor;
  {
    const ActivationCache::Use use(cache);
    tensor = Floats(kFloats);
  }
  tensor.reset();
  EXPECT_EQ(cache.kept_bytes(), 0U);
}

}  // namespace
}  // namespace pixembed
