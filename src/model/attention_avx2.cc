// The kernel of attention_kernel.h for AVX2 with FMA: 16 registers of 8 floats. Only functions
// marked PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/attention_kernel.h"

#ifdef __x86_64__
#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma")))

#include "src/model/attention_kernel_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

struct Avx2 : Avx2Panels<Avx2> {};

}  // namespace

const AttentionKernel* Avx2AttentionKernel() {
  static constexpr AttentionKernel kKernel = {AttentionBody<Avx2>::Run,
                                              AttentionBody<Avx2>::ScratchFloats};
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const AttentionKernel* Avx2AttentionKernel() { return nullptr; }

}  // namespace pixembed

#endif
