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

struct Vnni : Avx2Quads<Vnni> {
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = 2;  // 12 sums, 2 of weights, an operand
  static constexpr std::size_t kQuads = 1;
  static constexpr std::int32_t kLargestByte = 255;
  static constexpr std::int32_t kMostOfOneSign = 0;

  PIXEMBED_VECTOR_CODE static Ints Dot(Ints sums, const Ints* bytes, const Ints* weights) {
    return Ints(_mm256_dpbusd_avx_epi32(__m256i(sums), __m256i(*bytes), __m256i(*weights)));
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
