// The kernel of float_kernel.h for AVX2 with FMA: 16 registers of 8 floats. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/float_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx2,fma")))

#include "src/model/float_kernel_body.h"
#include "src/model/layer_norm_body.h"
#include "src/model/registers_avx2.h"

namespace pixembed {
namespace {

struct Avx2 : Avx2Panels<Avx2> {
  // As many sums, of 7 loads a step instead of 8: a Zen 3 makes no more of them than products, and
  // is slowed where another thread of the core loads, too.
  static constexpr std::size_t kRows = 4;
  static constexpr std::size_t kVectors = 3;
  static constexpr bool kInterleaved = true;

  PIXEMBED_VECTOR_CODE static void Interleave(const float* rows, std::ptrdiff_t stride,
                                              std::size_t depth, float* to) {
    static_assert(kRows == 4);
    InterleaveFour(rows, stride, depth, to);
    const std::size_t done = depth / kLanes * kLanes;
    for (std::size_t row = 0; row < kRows; ++row, rows += stride) {
      for (std::size_t k = done; k < depth; ++k) to[k * kRows + row] = rows[k];
    }
  }

  PIXEMBED_VECTOR_CODE static __m256 SelectNegative(__m256 sign, __m256 a, __m256 b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(sign, Zero(), _CMP_LT_OQ));
  }
};

}  // namespace

const FloatKernel* Avx2FloatKernel() {
  using Body = FloatBody<Avx2>;
  static constexpr FloatKernel kKernel = {
      .instructions = "AVX2",
      .rows = Avx2::kRows,
      .columns = Body::kColumns,
      .packed_floats = Body::PackedFloats,
      .pack = Body::Pack,
      .scratch_floats = Body::ScratchFloats,
      .run = Body::Run,
      .normalize = LayerNormBody<Avx2>::Run,
  };
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const FloatKernel* Avx2FloatKernel() { return nullptr; }

}  // namespace pixembed

#endif
