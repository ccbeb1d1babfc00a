// Tiles and registers in plain C++, with which the kernels over tiles can be tried on any CPU, and
// AddressSanitizer looks at what they read and write. For a file that defines PIXEMBED_VECTOR_CODE
// as nothing.
#ifndef PIXEMBED_TESTS_MODEL_PLAIN_TILES_H_
#define PIXEMBED_TESTS_MODEL_PLAIN_TILES_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

#include "tests/model/kernel_operands.h"

namespace pixembed {

// As AmxTiles.
struct PlainTiles {
  static constexpr std::size_t kLanes = 16;
  using Floats = std::array<float, kLanes>;

  static Floats Zero() { return {}; }
  static Floats Broadcast(float x) {
    Floats all;
    all.fill(x);
    return all;
  }
  static Floats Load(const float* from) {
    Floats x;
    std::copy_n(from, kLanes, x.begin());
    return x;
  }
  static void Store(float* to, const Floats& x) { std::copy_n(x.begin(), kLanes, to); }
  static Floats Add(const Floats& a, const Floats& b) { return Each(a, b, std::plus<>()); }
  static Floats Subtract(const Floats& a, const Floats& b) { return Each(a, b, std::minus<>()); }
  static Floats Multiply(const Floats& a, const Floats& b) {
    return Each(a, b, std::multiplies<>());
  }
  static Floats Divide(const Floats& a, const Floats& b) { return Each(a, b, std::divides<>()); }
  static Floats MultiplyAdd(const Floats& a, const Floats& b, Floats c) {
    for (std::size_t i = 0; i < kLanes; ++i) c[i] = std::fma(a[i], b[i], c[i]);
    return c;
  }
  // The second where one is no number, as the instruction.
  static Floats Min(const Floats& a, const Floats& b) {
    return Each(a, b, [](float x, float y) { return x < y ? x : y; });
  }
  static Floats Max(const Floats& a, const Floats& b) {
    return Each(a, b, [](float x, float y) { return x > y ? x : y; });
  }
  static Floats Magnitude(Floats x) {
    for (float& number : x) number = std::abs(number);
    return x;
  }
  static Floats Exponential(Floats x) {
    for (float& number : x) number = std::exp(number);
    return x;
  }
  static Floats SelectNegative(const Floats& sign, Floats a, const Floats& b) {
    for (std::size_t i = 0; i < kLanes; ++i) a[i] = sign[i] < 0.0F ? a[i] : b[i];
    return a;
  }
  static float ReduceMax(const Floats& x) { return *std::ranges::max_element(x); }
  static float ReduceAdd(const Floats& x) { return std::accumulate(x.begin(), x.end(), 0.0F); }
  static void Transpose(Floats (&rows)[kLanes]) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      for (std::size_t j = 0; j < i; ++j) std::swap(rows[i][j], rows[j][i]);
    }
  }

  static void Begin() { Registers() = {}; }
  static void End() {}
  template <int tile>
  static void ClearTile() {
    Registers()[tile] = {};
  }
  template <int tile>
  static void LoadTile(const void* from, std::size_t stride) {
    for (std::size_t row = 0; row < kTileRows; ++row) {
      std::memcpy(Registers()[tile][row].data(), static_cast<const std::byte*>(from) + row * stride,
                  sizeof(Line));
    }
  }
  template <int tile>
  static void StoreTile(void* to, std::size_t stride) {
    for (std::size_t row = 0; row < kTileRows; ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * stride, Registers()[tile][row].data(),
                  sizeof(Line));
    }
  }
  template <int sum, int a, int b>
  static void MultiplyTiles() {
    const Tile& left = Registers()[a];
    const Tile& right = Registers()[b];
    for (std::size_t i = 0; i < kTileRows; ++i) {
      Floats own{};
      for (std::size_t k = 0; k < kTileRows; ++k) {
        const float even = Low(left[i][k]);
        const float odd = High(left[i][k]);
        for (std::size_t j = 0; j < kLanes; ++j) {
          own[j] += even * Low(right[k][j]) + odd * High(right[k][j]);
        }
      }
      for (std::size_t j = 0; j < kLanes; ++j) {
        std::uint32_t& bits = Registers()[sum][i][j];
        bits = std::bit_cast<std::uint32_t>(std::bit_cast<float>(bits) + own[j]);
      }
    }
  }

  template <int parts>
  static void SplitPairs(Floats even, Floats odd, std::byte* to, std::size_t stride) {
    for (int part = 0; part < parts; ++part, to += stride) {
      Line line;
      for (std::size_t i = 0; i < kLanes; ++i) line[i] = Pair(TakePart(even[i]), TakePart(odd[i]));
      std::memcpy(to, line.data(), sizeof(line));
    }
  }
  template <int parts>
  static void SplitInOrder(Floats low, Floats high, std::byte* to, std::size_t stride) {
    for (int part = 0; part < parts; ++part, to += stride) {
      Line line;
      for (std::size_t i = 0; i < kLanes; ++i) {
        Floats& half = i < kLanes / 2 ? low : high;
        const std::size_t first = 2 * i % kLanes;
        const std::uint32_t even = TakePart(half[first]);
        line[i] = Pair(even, TakePart(half[first + 1]));
      }
      std::memcpy(to, line.data(), sizeof(line));
    }
  }

 private:
  static constexpr std::size_t kTileRows = 16;
  static constexpr std::size_t kTiles = 8;
  static constexpr unsigned int kHalf = 16;  // bits
  using Line = std::array<std::uint32_t, kLanes>;
  using Tile = std::array<Line, kTileRows>;

  static std::array<Tile, kTiles>& Registers() {
    thread_local std::array<Tile, kTiles> registers;
    return registers;
  }

  template <typename Operation>
  static Floats Each(Floats a, const Floats& b, Operation operation) {
    for (std::size_t i = 0; i < kLanes; ++i) a[i] = operation(a[i], b[i]);
    return a;
  }

  static float Low(std::uint32_t pair) { return std::bit_cast<float>(pair << kHalf); }
  static float High(std::uint32_t pair) { return std::bit_cast<float>(pair >> kHalf << kHalf); }
  static std::uint32_t Pair(std::uint32_t low, std::uint32_t high) { return high << kHalf | low; }
  // The number as bfloat16, which is taken from it.
  static std::uint32_t TakePart(float& number) {
    const float part = RoundedToBFloat16(number);
    number -= part;
    return std::bit_cast<std::uint32_t>(part) >> kHalf;
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_PLAIN_TILES_H_
