// The kernels of float_kernel.h for AMX: eight tiles of 16 rows of 64 bytes. Only functions marked
// PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/float_kernel.h"

#ifdef __x86_64__
#include <immintrin.h>

#include <string_view>

#define PIXEMBED_VECTOR_CODE __attribute__((target("avx512f,avx512bw,avx512bf16")))

#include "src/model/amx.h"
#include "src/model/layer_norm_body.h"
#include "src/model/registers_amx.h"
#include "src/model/tile_kernel_body.h"

namespace pixembed {
namespace {

struct Amx : AmxTiles<Amx> {
  PIXEMBED_VECTOR_CODE static __m512 SelectNegative(__m512 sign, __m512 a, __m512 b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(sign, Zero(), _CMP_LT_OQ), b, a);
  }
};

template <int parts>
constexpr FloatKernel KernelOf(std::string_view instructions) {
  using Body = TileBody<Amx, parts>;
  return {
      .instructions = instructions,
      .rows = Body::kRows,
      .columns = Body::kColumns,
      .packed_floats = Body::PackedFloats,
      .pack = Body::Pack,
      .scratch_floats = Body::ScratchFloats,
      .run = Body::Run,
      .normalize = LayerNormBody<Amx>::Run,
  };
}

}  // namespace

const FloatKernel* AmxFloatKernel() {
  static constexpr FloatKernel kKernel = KernelOf<3>("AMX, in three parts of bfloat16");
  return HasAmx() ? &kKernel : nullptr;
}

const FloatKernel* AmxBFloat16Kernel() {
  static constexpr FloatKernel kKernel = KernelOf<1>("AMX");
  return HasAmx() ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const FloatKernel* AmxFloatKernel() { return nullptr; }
const FloatKernel* AmxBFloat16Kernel() { return nullptr; }

}  // namespace pixembed

#endif
