// The kernel of attention_kernel.h for AVX-512: 32 registers of 16 floats. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/attention_kernel.h"

#ifdef __x86_64__
#define PIXEMBED_VECTOR_CODE __attribute__((target("avx512f")))

#include "src/model/attention_kernel_body.h"
#include "src/model/registers_avx512.h"

namespace pixembed {
namespace {

struct Avx512 : Avx512Panels<Avx512> {};

}  // namespace

const AttentionKernel* Avx512AttentionKernel() {
  static constexpr AttentionKernel kKernel = {AttentionBody<Avx512>::Run,
                                              AttentionBody<Avx512>::ScratchFloats};
  return __builtin_cpu_supports("avx512f") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const AttentionKernel* Avx512AttentionKernel() { return nullptr; }

}  // namespace pixembed

#endif
