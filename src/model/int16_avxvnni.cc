// The int16 kernel of integer_kernel.h for AVX_VNNI: 16 registers of 16 shorts. Only functions
// marked PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/integer_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#include "src/model/avx_vnni.h"

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma,avxvnni")))

#include "src/model/int16_kernel_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

struct Vnni : Avx2Pairs<Vnni> {
  using Avx2Pairs::MultiplyAdd;
  PIXEMBED_VECTOR_CODE static Register MultiplyAdd(Register pairs, Register weights,
                                                   Register sums) {
    return Register(_mm256_dpwssd_avx_epi32(__m256i(sums), __m256i(pairs), __m256i(weights)));
  }
};

}  // namespace

const IntegerKernel* AvxVnniInt16Kernel() {
  static constexpr IntegerKernel kKernel = IntegerKernelOf<Int16Body<Vnni>>("AVX_VNNI");
  return HasAvxVnni() ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const IntegerKernel* AvxVnniInt16Kernel() { return nullptr; }

}  // namespace pixembed

#endif
