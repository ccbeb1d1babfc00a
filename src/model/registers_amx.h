// Tiles of AMX, beside the registers of AVX-512: for the kernels of the room. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_REGISTERS_AMX_H_
#define PIXEMBED_SRC_MODEL_REGISTERS_AMX_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "src/model/registers_avx512.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// Of ldtilecfg. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, 18.3.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// What TileSteps and the kernels over it name, beside registers of 16 floats. Kernel: as of
// Avx512Floats.
template <typename Kernel>
struct AmxTiles : Avx512Floats<Kernel> {
  // GCC's own intrinsics take the number of a tile as a word of the source, and do not say that
  // they read memory.
  static void Begin() {
    static constexpr TileShapes kShapes;
    asm volatile("ldtilecfg %0" : : "m"(kShapes));
  }
  static void End() { asm volatile("tilerelease" : : : "memory"); }
  template <int tile>
  __attribute__((always_inline)) static void ClearTile() {
    asm volatile("tilezero %%tmm%c0" : : "i"(tile));
  }
  template <int tile>
  __attribute__((always_inline)) static void LoadTile(const void* from, std::size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(tile) : "memory");
  }
  template <int tile>
  __attribute__((always_inline)) static void StoreTile(void* to, std::size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(tile) : "memory");
  }
  template <int sum, int a, int b>
  __attribute__((always_inline)) static void MultiplyTiles() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
  }

  template <int parts>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void SplitPairs(__m512 even,
                                                                             __m512 odd,
                                                                             std::byte* to,
                                                                             std::size_t stride) {
    for (int part = 0;; to += stride) {
      const __m512i pairs = Interleave(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even)));
      _mm512_store_si512(to, pairs);
      if (++part == parts) return;
      even = _mm512_sub_ps(even, _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
      odd = _mm512_sub_ps(odd,
                          _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536))));
    }
  }

  template <int parts>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static void SplitInOrder(__m512 low,
                                                                               __m512 high,
                                                                               std::byte* to,
                                                                               std::size_t stride) {
    for (int part = 0;; to += stride) {
      const auto rounded = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
      _mm512_store_si512(to, rounded);
      if (++part == parts) return;
      low = _mm512_sub_ps(low, Widened(_mm512_castsi512_si256(rounded)));
      high = _mm512_sub_ps(high, Widened(_mm512_extracti64x4_epi64(rounded, 1)));
    }
  }

 private:
  PIXEMBED_VECTOR_CODE static __m512 Widened(__m256i bfloat16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bfloat16), 16));
  }

  // 0, 16, 1, 17, ...
  PIXEMBED_VECTOR_CODE static __m512i Interleave(__m512i halves) {
    alignas(64) static constexpr std::uint16_t kOrder[] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), halves);
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_REGISTERS_AMX_H_
