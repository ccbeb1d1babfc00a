// The kernel of float_kernel.h for AVX-512: 32 registers of 16 floats. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/float_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx512f")))

#include "src/model/float_kernel_body.h"
#include "src/model/layer_norm_body.h"
#include "src/model/registers_avx512.h"

namespace pixembed {
namespace {

struct Avx512 : Avx512Panels<Avx512> {
  static constexpr bool kInterleaved = false;

  PIXEMBED_VECTOR_CODE static __m512 SelectNegative(__m512 sign, __m512 a, __m512 b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(sign, Zero(), _CMP_LT_OQ), b, a);
  }
};

}  // namespace

const FloatKernel* Avx512FloatKernel() {
  using Body = FloatBody<Avx512>;
  static constexpr FloatKernel kKernel = {
      .instructions = "AVX-512",
      .rows = Avx512::kRows,
      .columns = Body::kColumns,
      .packed_floats = Body::PackedFloats,
      .pack = Body::Pack,
      .scratch_floats = Body::ScratchFloats,
      .run = Body::Run,
      .normalize = LayerNormBody<Avx512>::Run,
  };
  return __builtin_cpu_supports("avx512f") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const FloatKernel* Avx512FloatKernel() { return nullptr; }

}  // namespace pixembed

#endif
