// A register of 8 floats, for the kernels of the room. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_REGISTERS_AVX2_H_
#define PIXEMBED_SRC_MODEL_REGISTERS_AVX2_H_

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "src/model/exponential_terms.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// Kernel: the type that inherits it, of the file's own, as is the instruction set that the file
// compiles this for.
template <typename Kernel>
struct Avx2Floats {
  using Number = float;
  using Floats = __m256;
  using Register = Floats;
  static constexpr std::size_t kLanes = 8;

  PIXEMBED_VECTOR_CODE static __m256 Zero() { return _mm256_setzero_ps(); }
  PIXEMBED_VECTOR_CODE static __m256 Load(const float* from) { return _mm256_loadu_ps(from); }
  // The first repeated beyond `count`, which is above 0 and below kLanes.
  PIXEMBED_VECTOR_CODE static __m256 LoadFirst(const float* from, std::size_t count) {
    float floats[kLanes];
    std::fill(floats, floats + kLanes, *from);
    std::copy_n(from, count, floats);
    return Load(floats);
  }
  PIXEMBED_VECTOR_CODE static void Store(float* to, __m256 x) { _mm256_storeu_ps(to, x); }
  PIXEMBED_VECTOR_CODE static __m256 Broadcast(float x) { return _mm256_set1_ps(x); }
  PIXEMBED_VECTOR_CODE static __m256 Add(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m256 Subtract(__m256 a, __m256 b) { return _mm256_sub_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m256 Multiply(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m256 Divide(__m256 a, __m256 b) { return _mm256_div_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m256 MultiplyAdd(__m256 a, __m256 b, __m256 c) {
    return _mm256_fmadd_ps(a, b, c);
  }
  PIXEMBED_VECTOR_CODE static __m256 Min(__m256 a, __m256 b) { return _mm256_min_ps(a, b); }
  PIXEMBED_VECTOR_CODE static __m256 Max(__m256 a, __m256 b) { return _mm256_max_ps(a, b); }
  PIXEMBED_VECTOR_CODE static float ReduceMin(__m256 x) {
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
  }
  PIXEMBED_VECTOR_CODE static float ReduceMax(__m256 x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  PIXEMBED_VECTOR_CODE static float ReduceAdd(__m256 x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  PIXEMBED_VECTOR_CODE static bool HasNan(__m256 x) {
    return _mm256_movemask_ps(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)) != 0;
  }
  PIXEMBED_VECTOR_CODE static __m256 Magnitude(__m256 x) {
    return _mm256_andnot_ps(Broadcast(-0.0F), x);
  }

  // rows[i][j] <-> rows[j][i].
  PIXEMBED_VECTOR_CODE static void Transpose(__m256 (&rows)[kLanes]) {
    // fours[4 i + j]: of its half k, column 4 k + j of the rows 4 i to 4 i + 3.
    __m256 fours[kLanes];
    for (std::size_t i = 0; i < kLanes; i += 4) {
      const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(rows[i], rows[i + 1]));
      const __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(rows[i], rows[i + 1]));
      const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(rows[i + 2], rows[i + 3]));
      const __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(rows[i + 2], rows[i + 3]));
      fours[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
      fours[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
      fours[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
      fours[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
    }
    for (std::size_t j = 0; j < 4; ++j) {
      rows[j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20);
      rows[4 + j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31);
    }
  }

  // Four rows that begin `stride` numbers of 4 bytes apart, to [depth, 4]: as many of `depth` as
  // are whole registers.
  PIXEMBED_VECTOR_CODE static void InterleaveFour(const float* rows, std::ptrdiff_t stride,
                                                  std::size_t depth, float* to) {
    for (; depth >= kLanes; depth -= kLanes, rows += kLanes, to += 4 * kLanes) {
      const __m256 row0 = Load(rows);
      const __m256 row1 = Load(rows + stride);
      const __m256 row2 = Load(rows + 2 * stride);
      const __m256 row3 = Load(rows + 3 * stride);
      // Of their half h: steps 4 h and 4 h + 1, 4 h + 2 and 4 h + 3.
      const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(row0, row1));
      const __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(row0, row1));
      const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(row2, row3));
      const __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(row2, row3));
      const __m256 step0 = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
      const __m256 step1 = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
      const __m256 step2 = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
      const __m256 step3 = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
      Store(to, _mm256_permute2f128_ps(step0, step1, 0x20));
      Store(to + kLanes, _mm256_permute2f128_ps(step2, step3, 0x20));
      Store(to + 2 * kLanes, _mm256_permute2f128_ps(step0, step1, 0x31));
      Store(to + 3 * kLanes, _mm256_permute2f128_ps(step2, step3, 0x31));
    }
  }

  // See ExponentialTerms.
  PIXEMBED_VECTOR_CODE static __m256 Exponential(__m256 x) {
    using Terms = ExponentialTerms;
    const __m256 counts = _mm256_cmp_ps(x, Broadcast(Terms::kLowest), _CMP_GE_OQ);
    // So that 2^n is a normal number.
    const __m256 clamped = Max(x, Broadcast(Terms::kLowest));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, Broadcast(Terms::kLog2E)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, Broadcast(Terms::kLn2High), clamped);
    r = _mm256_fnmadd_ps(n, Broadcast(Terms::kLn2Low), r);
    __m256 sum = Broadcast(Terms::kPolynomial[0]);
    for (std::size_t i = 1; i < std::size(Terms::kPolynomial); ++i) {
      sum = MultiplyAdd(sum, r, Broadcast(Terms::kPolynomial[i]));
    }
    sum = MultiplyAdd(sum, _mm256_mul_ps(r, r), Add(r, Broadcast(1.0F)));
    constexpr int kExponentBias = 127;
    const __m256i exponent =
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(kExponentBias));
    const __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    return _mm256_and_ps(counts, _mm256_mul_ps(sum, power));
  }
};

// The same, with the shape of PanelProduct: 12 sums, 2 registers of a panel, a factor.
template <typename Kernel>
struct Avx2Panels : Avx2Floats<Kernel> {
  static constexpr std::size_t kRows = 6;
  static constexpr std::size_t kVectors = 2;
  static constexpr std::size_t kDepth = 256;
  static constexpr std::size_t kUnroll = 8;
};

// Twice, with the shape of Int16Body: as a register of floats, and as one of pairs of shorts, of
// which the kernel has MultiplyAdd itself: 12 sums, 3 registers of a panel, a factor.
template <typename Kernel>
struct Avx2Pairs : Avx2Floats<Kernel> {
  using Number = std::int32_t;
  // GCC's own: of an array of Intel's integer registers it keeps a copy in memory.
  using Register = std::int32_t __attribute__((vector_size(32)));
  static constexpr std::size_t kRows = 4;
  static constexpr std::size_t kVectors = 3;
  static constexpr std::size_t kDepth = 128;
  static constexpr std::size_t kUnroll = 8;

  using Avx2Floats<Kernel>::Broadcast;
  using Avx2Floats<Kernel>::Load;
  using Avx2Floats<Kernel>::MultiplyAdd;
  PIXEMBED_VECTOR_CODE static Register Load(const std::int32_t* from) {
    return Register(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  PIXEMBED_VECTOR_CODE static Register Zero() { return Register{}; }
  PIXEMBED_VECTOR_CODE static Register Broadcast(std::int32_t x) {
    return Register(_mm256_set1_epi32(x));
  }
  PIXEMBED_VECTOR_CODE static __m256 ToFloats(Register x) { return _mm256_cvtepi32_ps(__m256i(x)); }
  PIXEMBED_VECTOR_CODE static void StorePairs(__m256 x, std::int32_t* to) {
    const __m256i ints = _mm256_cvtps_epi32(x);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(to),
        _mm_packs_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1)));
  }
  // Numbers of 4 bytes are moved alike, whatever they mean.
  PIXEMBED_VECTOR_CODE static void Interleave(const std::int32_t* rows, std::ptrdiff_t stride,
                                              std::size_t depth, std::int32_t* to) {
    static_assert(kRows == 4);
    Avx2Floats<Kernel>::InterleaveFour(reinterpret_cast<const float*>(rows), stride, depth,
                                       reinterpret_cast<float*>(to));
  }
};

// Twice, for Int8Body: as a register of floats, and as one of quads of bytes, of which the kernel
// has Dot and the shape itself.
template <typename Kernel>
struct Avx2Quads : Avx2Floats<Kernel> {
  using Ints = std::int32_t __attribute__((vector_size(32)));

  PIXEMBED_VECTOR_CODE static Ints LoadInts(const std::byte* from) {
    return Ints(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  PIXEMBED_VECTOR_CODE static Ints BroadcastInts(std::int32_t x) {
    return Ints(_mm256_set1_epi32(x));
  }
  PIXEMBED_VECTOR_CODE static __m256 ToFloats(Ints x) { return _mm256_cvtepi32_ps(__m256i(x)); }
  PIXEMBED_VECTOR_CODE static void StoreBytes(__m256 x, std::uint8_t* to) {
    const __m256i ints = _mm256_cvtps_epi32(x);
    const __m128i shorts =
        _mm_packus_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(shorts, shorts));
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_REGISTERS_AVX2_H_
