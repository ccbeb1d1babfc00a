// The kernels of resample.h for AVX2, bit-identical to the scalar ones.
//
// Both multiply 16-bit samples with 16-bit weights two at a time (vpmaddwd), which is exact in 32
// bits; weights of 22 bits come as two parts whose sums are put together at the end. Only functions
// marked PIXEMBED_AVX2 hold AVX2 code, so that the library runs where there is none.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "src/image/resample.h"
#include "src/image/taps.h"

#ifdef __x86_64__
#include <immintrin.h>

#define PIXEMBED_AVX2 __attribute__((target("avx2")))
#define PIXEMBED_AVX2_INLINE __attribute__((target("avx2"), always_inline)) inline

namespace pixembed {
namespace {

constexpr int kChannels = 3;
constexpr int kRows = ResampleKernels::kRows;
constexpr int kGroupBytes = AxisTaps::kGroup * kChannels;

// Pixels and weights of two outputs at once: the lower half of a register belongs to output i, the
// upper to output i + 1.

// 16 bytes of each.
PIXEMBED_AVX2_INLINE __m256i Load16(const void* lower, const void* upper) {
  return _mm256_inserti128_si256(
      _mm256_castsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(lower))),
      _mm_loadu_si128(static_cast<const __m128i*>(upper)), 1);
}

// 8 bytes of each.
PIXEMBED_AVX2_INLINE __m256i Load8(const void* lower, const void* upper) {
  return _mm256_inserti128_si256(
      _mm256_castsi128_si256(_mm_loadl_epi64(static_cast<const __m128i*>(lower))),
      _mm_loadl_epi64(static_cast<const __m128i*>(upper)), 1);
}

// Pixels 0 and 1 of RGBRGBRGBRGB as 16-bit r0 r1 g0 g1 b0 b1 0 0, in both halves.
PIXEMBED_AVX2_INLINE __m256i Pixels01(__m256i pixels) {
  return _mm256_shuffle_epi8(
      pixels, _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                               0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
}

// Pixels 2 and 3.
PIXEMBED_AVX2_INLINE __m256i Pixels23(__m256i pixels) {
  return _mm256_shuffle_epi8(
      pixels, _mm256_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,  //
                               6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
}

// Two weights, everywhere.
PIXEMBED_AVX2_INLINE __m256i PairWeight(const std::int16_t* weights) {
  std::int32_t two;
  std::memcpy(&two, weights, sizeof(two));
  return _mm256_set1_epi32(two);
}

PIXEMBED_AVX2_INLINE void Store8(std::uint8_t* out, std::int64_t bytes) {
  std::memcpy(out, &bytes, sizeof(bytes));
}

// Sums of the coarse and of the fine products. Additions wrap; the whole fits 32 bits.
template <bool kSplit>
struct Sums {
  __m256i coarse;
  __m256i fine;
};

template <bool kSplit>
PIXEMBED_AVX2_INLINE void MultiplyAdd(Sums<kSplit>& sums, __m256i samples, __m256i coarse,
                                      __m256i fine) {
  sums.coarse = _mm256_add_epi32(sums.coarse, _mm256_madd_epi16(samples, coarse));
  if constexpr (kSplit) {
    sums.fine = _mm256_add_epi32(sums.fine, _mm256_madd_epi16(samples, fine));
  }
}

// The whole sums, rounded to whole levels.
template <bool kSplit>
PIXEMBED_AVX2_INLINE __m256i Round(const Sums<kSplit>& sums, __m256i half, __m128i shift) {
  __m256i whole = sums.coarse;
  if constexpr (kSplit) {
    whole = _mm256_add_epi32(_mm256_slli_epi32(whole, AxisTaps::kFineBits), sums.fine);
  }
  return _mm256_sra_epi32(_mm256_add_epi32(whole, half), shift);
}

// Four pixels with four weights, for two outputs.
template <bool kSplit>
PIXEMBED_AVX2_INLINE void MultiplyAddGroup(Sums<kSplit>& sums, __m256i pixels, __m256i coarse,
                                           __m256i fine) {
  MultiplyAdd(sums, Pixels01(pixels), _mm256_shuffle_epi32(coarse, 0x00),
              _mm256_shuffle_epi32(fine, 0x00));
  MultiplyAdd(sums, Pixels23(pixels), _mm256_shuffle_epi32(coarse, 0x55),
              _mm256_shuffle_epi32(fine, 0x55));
}

template <bool kSplit>
PIXEMBED_AVX2 void FourRows(const AxisTaps& taps, const std::uint8_t* const* in,
                            std::uint8_t* const* out) {
  const __m256i half = _mm256_set1_epi32(1 << (taps.precision - 1));
  const __m128i shift = _mm_cvtsi32_si128(taps.precision);
  const int* const first = taps.first.data();
  const std::int16_t* coarse_weights = taps.coarse.data();
  const std::int16_t* fine_weights = taps.fine.data();
  const std::ptrdiff_t stride = taps.stride;
  const int outputs = taps.outputs();
  for (int i = 0; i < outputs; i += 2) {
    // An odd last output is its own neighbour.
    const int next = i + 1 < outputs ? 1 : 0;
    std::ptrdiff_t lower = std::ptrdiff_t{first[i]} * kChannels;
    std::ptrdiff_t upper = std::ptrdiff_t{first[i + next]} * kChannels;
    Sums<kSplit> sums0 = {};
    Sums<kSplit> sums1 = {};
    Sums<kSplit> sums2 = {};
    Sums<kSplit> sums3 = {};
    const std::ptrdiff_t next_weights = next * stride;
    for (std::ptrdiff_t t = 0; t < stride; t += AxisTaps::kGroup) {
      const __m256i coarse = Load8(coarse_weights + t, coarse_weights + next_weights + t);
      const __m256i fine =
          kSplit ? Load8(fine_weights + t, fine_weights + next_weights + t) : coarse;
      MultiplyAddGroup(sums0, Load16(in[0] + lower, in[0] + upper), coarse, fine);
      MultiplyAddGroup(sums1, Load16(in[1] + lower, in[1] + upper), coarse, fine);
      MultiplyAddGroup(sums2, Load16(in[2] + lower, in[2] + upper), coarse, fine);
      MultiplyAddGroup(sums3, Load16(in[3] + lower, in[3] + upper), coarse, fine);
      lower += kGroupBytes;
      upper += kGroupBytes;
    }
    coarse_weights += 2 * stride;
    if constexpr (kSplit) fine_weights += 2 * stride;
    // RGB0 of the four rows in each half; then both outputs of a row side by side, RGBRGB00.
    const __m256i bytes = _mm256_packus_epi16(
        _mm256_packs_epi32(Round(sums0, half, shift), Round(sums1, half, shift)),
        _mm256_packs_epi32(Round(sums2, half, shift), Round(sums3, half, shift)));
    const __m256i pairs =
        _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    const __m256i packed = _mm256_shuffle_epi8(
        pairs, _mm256_setr_epi8(0, 1, 2, 4, 5, 6, -1, -1, 8, 9, 10, 12, 13, 14, -1, -1,  //
                                0, 1, 2, 4, 5, 6, -1, -1, 8, 9, 10, 12, 13, 14, -1, -1));
    const __m128i rows01 = _mm256_castsi256_si128(packed);
    const __m128i rows23 = _mm256_extracti128_si256(packed, 1);
    const std::ptrdiff_t to = std::ptrdiff_t{i} * kChannels;
    Store8(out[0] + to, _mm_cvtsi128_si64(rows01));
    Store8(out[1] + to, _mm_extract_epi64(rows01, 1));
    Store8(out[2] + to, _mm_cvtsi128_si64(rows23));
    Store8(out[3] + to, _mm_extract_epi64(rows23, 1));
  }
}

void HorizontalAvx2(const AxisTaps& taps, const std::uint8_t* const* in, int rows,
                    std::uint8_t* const* out) {
  // Fewer rows: the last one is computed again, into the same place.
  const std::uint8_t* four_in[kRows];
  std::uint8_t* four_out[kRows];
  for (int r = 0; r < kRows; ++r) {
    four_in[r] = in[r < rows ? r : rows - 1];
    four_out[r] = out[r < rows ? r : rows - 1];
  }
  if (taps.split()) {
    FourRows<true>(taps, four_in, four_out);
  } else {
    FourRows<false>(taps, four_in, four_out);
  }
}

// Bytes that one step of the vertical kernel makes.
constexpr int kStep = 32;

template <bool kSplit>
PIXEMBED_AVX2 void VerticalRow(const AxisTaps& taps, int i, const std::uint8_t* const* in,
                               int bytes, std::uint8_t* out) {
  const __m256i half = _mm256_set1_epi32(1 << (taps.precision - 1));
  const __m128i shift = _mm_cvtsi32_si128(taps.precision);
  const __m256i zero = _mm256_setzero_si256();
  const std::size_t row = static_cast<std::size_t>(i) * taps.stride;
  const std::int16_t* const coarse_weights = taps.coarse.data() + row;
  const std::int16_t* const fine_weights = kSplit ? taps.fine.data() + row : nullptr;
  const int count = taps.count[i];
  for (int step = 0; step < bytes; step += kStep) {
    const int x = step + kStep <= bytes ? step : bytes - kStep;  // the last overlaps
    Sums<kSplit> sums0 = {};
    Sums<kSplit> sums1 = {};
    Sums<kSplit> sums2 = {};
    Sums<kSplit> sums3 = {};
    for (int t = 0; t < count; t += 2) {
      const __m256i coarse = PairWeight(coarse_weights + t);
      const __m256i fine = kSplit ? PairWeight(fine_weights + t) : coarse;
      const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in[t] + x));
      const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in[t + 1] + x));
      const __m256i low = _mm256_unpacklo_epi8(a, b);
      const __m256i high = _mm256_unpackhi_epi8(a, b);
      MultiplyAdd(sums0, _mm256_unpacklo_epi8(low, zero), coarse, fine);
      MultiplyAdd(sums1, _mm256_unpackhi_epi8(low, zero), coarse, fine);
      MultiplyAdd(sums2, _mm256_unpacklo_epi8(high, zero), coarse, fine);
      MultiplyAdd(sums3, _mm256_unpackhi_epi8(high, zero), coarse, fine);
    }
    const __m256i levels = _mm256_packus_epi16(
        _mm256_packs_epi32(Round(sums0, half, shift), Round(sums1, half, shift)),
        _mm256_packs_epi32(Round(sums2, half, shift), Round(sums3, half, shift)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), levels);
  }
}

void VerticalAvx2(const AxisTaps& taps, int i, const std::uint8_t* const* in, int bytes,
                  std::uint8_t* out) {
  if (bytes < kStep) return ScalarKernels().vertical(taps, i, in, bytes, out);
  if (taps.split()) {
    VerticalRow<true>(taps, i, in, bytes, out);
  } else {
    VerticalRow<false>(taps, i, in, bytes, out);
  }
}

}  // namespace

const ResampleKernels* Avx2Kernels() {
  static constexpr ResampleKernels kKernels = {HorizontalAvx2, VerticalAvx2};
  return __builtin_cpu_supports("avx2") ? &kKernels : nullptr;
}

}  // namespace pixembed

#else

namespace pixembed {

const ResampleKernels* Avx2Kernels() { return nullptr; }

}  // namespace pixembed

#endif
