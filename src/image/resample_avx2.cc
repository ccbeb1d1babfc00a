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

#if defined(__x86_64__)
#include <immintrin.h>

#define PIXEMBED_AVX2 __attribute__((target("avx2")))

namespace pixembed {
namespace {

constexpr int kChannels = 3;
constexpr int kRows = ResampleKernels::kRows;

// Four pixels RGBRGBRGBRGB, in both halves -> 16-bit (r0 r1 g0 g1 b0 b1 0 0 | r2 r3 g2 g3 b2 b3 0
// 0).
PIXEMBED_AVX2 inline __m256i PairPixels(const std::uint8_t* pixels) {
  const __m256i order =
      _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                       6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m128i four = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(four), order);
}

// Four weights -> (w0 w1 four times | w2 w3 four times).
PIXEMBED_AVX2 inline __m256i PairWeights(const std::int16_t* weights) {
  const __m256i order = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,  //
                                         4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
  std::int64_t four;
  std::memcpy(&four, weights, sizeof(four));
  return _mm256_shuffle_epi8(_mm256_set1_epi64x(four), order);
}

// Two weights, everywhere.
PIXEMBED_AVX2 inline __m256i PairWeight(const std::int16_t* weights) {
  std::int32_t two;
  std::memcpy(&two, weights, sizeof(two));
  return _mm256_set1_epi32(two);
}

// Sums of the coarse and of the fine products. Additions wrap; the whole fits 32 bits.
template <bool kSplit>
struct Sums {
  __m256i coarse;
  __m256i fine;
};

template <bool kSplit>
PIXEMBED_AVX2 inline void Clear(Sums<kSplit>& sums) {
  sums.coarse = _mm256_setzero_si256();
  if constexpr (kSplit) sums.fine = _mm256_setzero_si256();
}

template <bool kSplit>
PIXEMBED_AVX2 inline void MultiplyAdd(Sums<kSplit>& sums, __m256i samples, __m256i coarse,
                                      __m256i fine) {
  sums.coarse = _mm256_add_epi32(sums.coarse, _mm256_madd_epi16(samples, coarse));
  if constexpr (kSplit) {
    sums.fine = _mm256_add_epi32(sums.fine, _mm256_madd_epi16(samples, fine));
  }
}

template <bool kSplit>
PIXEMBED_AVX2 inline __m256i Whole(const Sums<kSplit>& sums) {
  if constexpr (!kSplit) return sums.coarse;
  return _mm256_add_epi32(_mm256_slli_epi32(sums.coarse, AxisTaps::kFineBits), sums.fine);
}

// The two halves of `a` added up, and those of `b`.
PIXEMBED_AVX2 inline __m256i AddHalves(__m256i a, __m256i b) {
  return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                          _mm256_permute2x128_si256(a, b, 0x31));
}

// Writes a pixel and one byte more, which the next pixel overwrites.
PIXEMBED_AVX2 inline void StorePixel(std::uint8_t* out, int pixel) {
  std::memcpy(out, &pixel, sizeof(pixel));
}

template <bool kSplit>
PIXEMBED_AVX2 void FourRows(const AxisTaps& taps, const std::uint8_t* const* in,
                            std::uint8_t* const* out) {
  const __m256i half = _mm256_set1_epi32(1 << (taps.precision - 1));
  const __m128i shift = _mm_cvtsi32_si128(taps.precision);
  const std::uint8_t* const in0 = in[0];
  const std::uint8_t* const in1 = in[1];
  const std::uint8_t* const in2 = in[2];
  const std::uint8_t* const in3 = in[3];
  std::ptrdiff_t to = 0;
  const int outputs = taps.outputs();
  for (int i = 0; i < outputs; ++i, to += kChannels) {
    const std::size_t row = static_cast<std::size_t>(i) * taps.stride;
    std::ptrdiff_t from = std::ptrdiff_t{taps.first[i]} * kChannels;
    Sums<kSplit> sums[kRows];
    for (Sums<kSplit>& sum : sums) Clear(sum);
    for (int t = 0; t < taps.count[i]; t += AxisTaps::kGroup) {
      const __m256i coarse = PairWeights(&taps.coarse[row + t]);
      const __m256i fine = kSplit ? PairWeights(&taps.fine[row + t]) : coarse;
      MultiplyAdd(sums[0], PairPixels(in0 + from), coarse, fine);
      MultiplyAdd(sums[1], PairPixels(in1 + from), coarse, fine);
      MultiplyAdd(sums[2], PairPixels(in2 + from), coarse, fine);
      MultiplyAdd(sums[3], PairPixels(in3 + from), coarse, fine);
      from += AxisTaps::kGroup * kChannels;
    }
    const __m256i rows01 =
        _mm256_sra_epi32(_mm256_add_epi32(AddHalves(Whole(sums[0]), Whole(sums[1])), half), shift);
    const __m256i rows23 =
        _mm256_sra_epi32(_mm256_add_epi32(AddHalves(Whole(sums[2]), Whole(sums[3])), half), shift);
    const __m256i words = _mm256_packs_epi32(rows01, rows23);
    const __m256i pixels = _mm256_packus_epi16(words, words);  // rows (0 2 . . | 1 3 . .)
    const __m128i even = _mm256_castsi256_si128(pixels);
    const __m128i odd = _mm256_extracti128_si256(pixels, 1);
    StorePixel(out[0] + to, _mm_cvtsi128_si32(even));
    StorePixel(out[1] + to, _mm_cvtsi128_si32(odd));
    StorePixel(out[2] + to, _mm_extract_epi32(even, 1));
    StorePixel(out[3] + to, _mm_extract_epi32(odd, 1));
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
PIXEMBED_AVX2 inline void VerticalStep(const AxisTaps& taps, int i, const std::uint8_t* const* in,
                                       int x, std::uint8_t* out) {
  const std::size_t row = static_cast<std::size_t>(i) * taps.stride;
  const __m256i zero = _mm256_setzero_si256();
  Sums<kSplit> sums[4];
  for (Sums<kSplit>& sum : sums) Clear(sum);
  for (int t = 0; t < taps.count[i]; t += 2) {
    const __m256i coarse = PairWeight(&taps.coarse[row + t]);
    const __m256i fine = kSplit ? PairWeight(&taps.fine[row + t]) : coarse;
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in[t] + x));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in[t + 1] + x));
    const __m256i low = _mm256_unpacklo_epi8(a, b);
    const __m256i high = _mm256_unpackhi_epi8(a, b);
    MultiplyAdd(sums[0], _mm256_unpacklo_epi8(low, zero), coarse, fine);
    MultiplyAdd(sums[1], _mm256_unpackhi_epi8(low, zero), coarse, fine);
    MultiplyAdd(sums[2], _mm256_unpacklo_epi8(high, zero), coarse, fine);
    MultiplyAdd(sums[3], _mm256_unpackhi_epi8(high, zero), coarse, fine);
  }
  const __m256i half = _mm256_set1_epi32(1 << (taps.precision - 1));
  const __m128i shift = _mm_cvtsi32_si128(taps.precision);
  __m256i whole[4];
  for (int s = 0; s < 4; ++s) {
    whole[s] = _mm256_sra_epi32(_mm256_add_epi32(Whole(sums[s]), half), shift);
  }
  const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(whole[0], whole[1]),
                                            _mm256_packs_epi32(whole[2], whole[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + x), bytes);
}

template <bool kSplit>
PIXEMBED_AVX2 void VerticalRow(const AxisTaps& taps, int i, const std::uint8_t* const* in,
                               int bytes, std::uint8_t* out) {
  int x = 0;
  for (; x + kStep <= bytes; x += kStep) VerticalStep<kSplit>(taps, i, in, x, out);
  // The last step overlaps the one before.
  if (x < bytes) VerticalStep<kSplit>(taps, i, in, bytes - kStep, out);
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
