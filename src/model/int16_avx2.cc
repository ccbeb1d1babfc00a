// The int16 kernel of integer_kernel.h for AVX2: 16 registers of 16 shorts. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/integer_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma")))

#include "src/model/int16_kernel_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

struct Avx2 : Avx2Pairs<Avx2> {
  using Avx2Pairs::MultiplyAdd;
  PIXEMBED_VECTOR_CODE static Register MultiplyAdd(Register pairs, Register weights,
                                                   Register sums) {
    const __m256i products = _mm256_madd_epi16(__m256i(pairs), __m256i(weights));
    auto sum = Register(_mm256_add_epi32(__m256i(sums), products));
    // Else the compiler multiplies first and adds later, from memory.
    asm("" : "+x"(sum));
    return sum;
  }
};

}  // namespace

const IntegerKernel* Avx2Int16Kernel() {
  static constexpr IntegerKernel kKernel = IntegerKernelOf<Int16Body<Avx2>>("AVX2");
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const IntegerKernel* Avx2Int16Kernel() { return nullptr; }

}  // namespace pixembed

#endif
