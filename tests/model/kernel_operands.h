// What the tests of the kernels in plain memory multiply, and where they work.
#ifndef PIXEMBED_TESTS_MODEL_KERNEL_OPERANDS_H_
#define PIXEMBED_TESTS_MODEL_KERNEL_OPERANDS_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

namespace pixembed {

// `count` numbers from -2 to 2, with nothing behind them: AddressSanitizer sees a step too far.
inline std::vector<float> Noise(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(random()) / static_cast<float>(std::mt19937::max()) * 4.0F - 2.0F;
  }
  return values;
}

// To the nearest bfloat16, of two that are as near to the even one.
inline float RoundedToBFloat16(float number) {
  constexpr std::uint32_t kBelow = 0xffff;  // bits that bfloat16 has not
  auto bits = std::bit_cast<std::uint32_t>(number);
  bits += (kBelow >> 1U) + (bits >> 16U & 1U);
  return std::bit_cast<float>(bits & ~kBelow);
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Bytes = std::unique_ptr<std::byte, Free>;

// At least so many, aligned to 64.
inline Bytes Aligned(std::size_t bytes) {
  constexpr std::size_t kAlignment = 64;
  return Bytes(static_cast<std::byte*>(
      std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment)));
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_KERNEL_OPERANDS_H_
