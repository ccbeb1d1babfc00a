// The kernel of integer_kernel.h for AVX512_VNNI: 32 registers of 64 bytes. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include <cstddef>
#include <cstdint>

#include "src/model/integer_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

#include "src/model/int8_kernel_body.h"
#include "src/model/registers_avx512.h"

namespace pixembed {
namespace {

struct Vnni : Avx512Floats<Vnni> {
  using Ints = std::int32_t __attribute__((vector_size(64)));
  static constexpr std::size_t kRows = 14;
  static constexpr std::size_t kVectors = 2;  // 28 sums, 2 of weights, an operand
  static constexpr std::size_t kQuads = 1;
  static constexpr std::int32_t kLargestByte = 255;
  static constexpr std::int32_t kMostOfOneSign = 0;

  PIXEMBED_VECTOR_CODE static Ints LoadInts(const std::byte* from) {
    return Ints(_mm512_loadu_si512(from));
  }
  PIXEMBED_VECTOR_CODE static Ints BroadcastInts(std::int32_t x) {
    return Ints(_mm512_set1_epi32(x));
  }
  PIXEMBED_VECTOR_CODE static Ints Dot(Ints sums, const Ints* bytes, const Ints* weights) {
    return Ints(_mm512_dpbusd_epi32(__m512i(sums), __m512i(*bytes), __m512i(*weights)));
  }
  PIXEMBED_VECTOR_CODE static __m512 ToFloats(Ints x) { return _mm512_cvtepi32_ps(__m512i(x)); }
  PIXEMBED_VECTOR_CODE static void StoreBytes(__m512 x, std::uint8_t* to) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(x)));
  }
};

}  // namespace

const IntegerKernel* Avx512Int8Kernel() {
  static constexpr IntegerKernel kKernel = IntegerKernelOf<Int8Body<Vnni>>("AVX512_VNNI");
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl")
             ? &kKernel
             : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const IntegerKernel* Avx512Int8Kernel() { return nullptr; }

}  // namespace pixembed

#endif
