// The kernel of integer_kernel.h for AVX_VNNI: 16 registers of 32 bytes. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include <cstddef>
#include <cstdint>

#include "src/model/integer_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#include "src/model/avx_vnni.h"

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma,avxvnni")))

#include "src/model/int8_kernel_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

struct Vnni : Avx2Floats<Vnni> {
  using Ints = std::int32_t __attribute__((vector_size(32)));
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = 2;  // 12 sums, 2 of weights, an operand

  PIXEMBED_VECTOR_CODE static Ints LoadInts(const std::byte* from) {
    return Ints(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  PIXEMBED_VECTOR_CODE static Ints BroadcastInts(std::int32_t x) {
    return Ints(_mm256_set1_epi32(x));
  }
  PIXEMBED_VECTOR_CODE static Ints Dot(Ints sums, Ints bytes, Ints weights) {
    return Ints(_mm256_dpbusd_avx_epi32(__m256i(sums), __m256i(bytes), __m256i(weights)));
  }
  PIXEMBED_VECTOR_CODE static __m256 ToFloats(Ints x) { return _mm256_cvtepi32_ps(__m256i(x)); }
  PIXEMBED_VECTOR_CODE static void StoreBytes(__m256 x, std::uint8_t* to) {
    const __m256i ints = _mm256_cvtps_epi32(x);
    const __m128i shorts =
        _mm_packus_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(shorts, shorts));
  }
};

}  // namespace

const IntegerKernel* AvxVnniInt8Kernel() {
  static constexpr IntegerKernel kKernel = IntegerKernelOf<Int8Body<Vnni>>("AVX_VNNI");
  return HasAvxVnni() ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const IntegerKernel* AvxVnniInt8Kernel() { return nullptr; }

}  // namespace pixembed

#endif
