// The kernel of integer_kernel.h for AVX2: 16 registers of 32 bytes. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include <cstddef>
#include <cstdint>
#include <limits>

#include "src/model/integer_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma")))

#include "src/model/int8_kernel_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

// The products of bytes are added up in 16 bits before they become sums of 32: of two quads, since
// then one instruction widens both. Seven bits of activations leave room for the weights of four
// such products, nearly always as they are.
struct Avx2 : Avx2Quads<Avx2> {
  static constexpr std::size_t kRows = 3;
  static constexpr std::size_t kVectors = 3;  // 9 sums, some of 6 of weights, 2 operands
  static constexpr std::size_t kQuads = 2;
  static constexpr std::int32_t kLargestByte = 127;
  static constexpr std::int32_t kMostOfOneSign =
      std::numeric_limits<std::int16_t>::max() / kLargestByte;

  PIXEMBED_VECTOR_CODE static Ints Dot(Ints sums, const Ints* bytes, const Ints* weights) {
    const __m256i first = _mm256_maddubs_epi16(__m256i(bytes[0]), __m256i(weights[0]));
    const __m256i second = _mm256_maddubs_epi16(__m256i(bytes[1]), __m256i(weights[kVectors]));
    const __m256i products =
        _mm256_madd_epi16(_mm256_add_epi16(first, second), _mm256_set1_epi16(1));
    auto sum = Ints(_mm256_add_epi32(__m256i(sums), products));
    // Else the compiler multiplies first and adds later, from memory.
    asm("" : "+x"(sum));
    return sum;
  }
};

}  // namespace

const IntegerKernel* Avx2Int8Kernel() {
  static constexpr IntegerKernel kKernel = IntegerKernelOf<Int8Body<Avx2>>("AVX2");
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const IntegerKernel* Avx2Int8Kernel() { return nullptr; }

}  // namespace pixembed

#endif
