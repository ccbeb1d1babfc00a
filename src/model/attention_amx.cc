// The kernel of attention_kernel.h for AMX: eight tiles of 16 rows of 64 bytes. Only functions
// marked PIXEMBED_VECTOR_CODE hold such code, so that the library runs where there is none.
#include "src/model/attention_kernel.h"

#ifdef __x86_64__
#define PIXEMBED_VECTOR_CODE __attribute__((target("avx512f,avx512bw,avx512bf16")))

#include "src/model/amx.h"
#include "src/model/registers_amx.h"
#include "src/model/tile_attention_body.h"

namespace pixembed {
namespace {

struct Amx : AmxTiles<Amx> {};

}  // namespace

const AttentionKernel* AmxBFloat16AttentionKernel() {
  using Body = TileAttentionBody<Amx>;
  static constexpr AttentionKernel kKernel = {Body::Run, Body::ScratchFloats};
  return HasAmx() ? &kKernel : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const AttentionKernel* AmxBFloat16AttentionKernel() { return nullptr; }

}  // namespace pixembed

#endif
