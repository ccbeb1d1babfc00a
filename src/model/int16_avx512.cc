// The int16 kernel of integer_kernel.h for AVX512_VNNI: 32 registers of 32 shorts. Only functions
// marked PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include <cstddef>
#include <cstdint>

#include "src/model/integer_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx512f,avx512vnni")))

#include "src/model/int16_kernel_body.h"
#include "src/model/registers_avx512.h"

namespace pixembed {
namespace {

// Twice: as a register of floats, and as one of pairs of shorts.
struct Vnni : Avx512Panels<Vnni> {
  using Number = std::int32_t;
  // GCC's own: of an array of Intel's integer registers it keeps a copy in memory.
  using Register = std::int32_t __attribute__((vector_size(64)));
  static constexpr std::size_t kDepth = kInt16Group / 2;

  using Avx512Panels::Broadcast;
  using Avx512Panels::Load;
  using Avx512Panels::MultiplyAdd;
  PIXEMBED_VECTOR_CODE static Register Load(const std::int32_t* from) {
    return Register(_mm512_loadu_si512(from));
  }
  PIXEMBED_VECTOR_CODE static Register Zero() { return Register{}; }
  PIXEMBED_VECTOR_CODE static Register Broadcast(std::int32_t x) {
    return Register(_mm512_set1_epi32(x));
  }
  PIXEMBED_VECTOR_CODE static Register MultiplyAdd(Register pairs, Register weights,
                                                   Register sums) {
    return Register(_mm512_dpwssd_epi32(__m512i(sums), __m512i(pairs), __m512i(weights)));
  }
  PIXEMBED_VECTOR_CODE static __m512 ToFloats(Register x) { return _mm512_cvtepi32_ps(__m512i(x)); }
  PIXEMBED_VECTOR_CODE static void StorePairs(__m512 x, std::int32_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x)));
  }
  // Numbers of 4 bytes are moved alike, whatever they mean.
  PIXEMBED_VECTOR_CODE static void Interleave(const std::int32_t* rows, std::ptrdiff_t stride,
                                              std::size_t depth, std::int32_t* to) {
    constexpr auto kEveryRow = static_cast<__mmask16>((1U << kRows) - 1U);
    const auto* const numbers = reinterpret_cast<const float*>(rows);
    for (std::size_t k = 0; k < depth; k += kLanes) {
      __m512 block[kLanes] = {};
      for (std::size_t row = 0; row < kRows; ++row) {
        block[row] = Load(numbers + static_cast<std::ptrdiff_t>(row) * stride + k);
      }
      Transpose(block);
      for (const __m512 step : block) {
        _mm512_mask_storeu_ps(to, kEveryRow, step);
        to += kRows;
      }
    }
  }
};

}  // namespace

const IntegerKernel* Avx512Int16Kernel() {
  static constexpr IntegerKernel kKernel = IntegerKernelOf<Int16Body<Vnni>>("AVX512_VNNI");
  return __builtin_cpu_supports("avx512vnni") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const IntegerKernel* Avx512Int16Kernel() { return nullptr; }

}  // namespace pixembed

#endif
