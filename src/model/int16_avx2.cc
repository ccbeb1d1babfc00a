// The int16 kernel of integer_kernel.h for AVX2: 16 registers of 16 shorts. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include <cstddef>
#include <cstdint>

#include "src/model/integer_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma")))

#include "src/model/int16_kernel_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

// Twice: as a register of floats, and as one of pairs of shorts.
struct Avx2 : Avx2Floats<Avx2> {
  using Number = std::int32_t;
  // GCC's own: of an array of Intel's integer registers it keeps a copy in memory.
  using Register = std::int32_t __attribute__((vector_size(32)));
  static constexpr std::size_t kRows = 4;
  static constexpr std::size_t kVectors = 3;  // 12 sums, 3 of weights, an operand
  static constexpr std::size_t kDepth = kInt16Group / 2;
  static constexpr std::size_t kUnroll = 8;

  using Avx2Floats::Broadcast;
  using Avx2Floats::Load;
  using Avx2Floats::MultiplyAdd;
  PIXEMBED_VECTOR_CODE static Register Load(const std::int32_t* from) {
    return Register(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  PIXEMBED_VECTOR_CODE static Register Zero() { return Register{}; }
  PIXEMBED_VECTOR_CODE static Register Broadcast(std::int32_t x) {
    return Register(_mm256_set1_epi32(x));
  }
  PIXEMBED_VECTOR_CODE static Register MultiplyAdd(Register pairs, Register weights,
                                                   Register sums) {
    const __m256i products = _mm256_madd_epi16(__m256i(pairs), __m256i(weights));
    auto sum = Register(_mm256_add_epi32(__m256i(sums), products));
    // Else the compiler multiplies first and adds later, from memory.
    asm("" : "+x"(sum));
    return sum;
  }
  PIXEMBED_VECTOR_CODE static __m256 ToFloats(Register x) { return _mm256_cvtepi32_ps(__m256i(x)); }
  PIXEMBED_VECTOR_CODE static void StorePairs(__m256 x, std::int32_t* to) {
    const __m256i ints = _mm256_cvtps_epi32(x);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(to),
        _mm_packs_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1)));
  }
  // Numbers of 4 bytes are moved alike, whatever they mean.
  PIXEMBED_VECTOR_CODE static void Interleave(const std::int32_t* rows, std::ptrdiff_t stride,
                                              std::size_t depth, std::int32_t* to) {
    static_assert(kRows == 4);
    InterleaveFour(reinterpret_cast<const float*>(rows), stride, depth,
                   reinterpret_cast<float*>(to));
  }
};

}  // namespace

const IntegerKernel* Avx2Int16Kernel() {
  using Body = Int16Body<Avx2>;
  static constexpr IntegerKernel kKernel = {
      .instructions = "AVX2",
      .packed_bytes = Body::PackedBytes,
      .pack = Body::Pack,
      .scratch_bytes = Body::ScratchBytes,
      .run = Body::Run,
  };
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const IntegerKernel* Avx2Int16Kernel() { return nullptr; }

}  // namespace pixembed

#endif
