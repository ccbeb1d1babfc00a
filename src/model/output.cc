#include "src/model/output.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "src/model/model.h"

namespace pixembed {
namespace {

// Source: torch 2.11.0 nn/functional.py normalize, eps.
constexpr double kNormalizeEpsilon = 1e-12;

void Normalize(std::span<float> values) {
  double sum = 0.0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  const auto norm = static_cast<float>(std::max(std::sqrt(sum), kNormalizeEpsilon));
  for (float& value : values) value /= norm;
}

// The hosts served are little-endian.
static_assert(std::endian::native == std::endian::little);
template <typename T>
std::string BytesOf(std::span<const T> numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size_bytes()};
}

// Bits of a number without its sign, where its exponent says that it is infinite or none.
constexpr std::int32_t kInfinite32 = 0x7F800000;
constexpr std::int32_t kInfinite16 = 0x7C00;
constexpr std::int32_t kInfiniteBrain16 = 0x7F80;

// No number stops these loops, so that they are vectorized.
bool AreFinite(std::span<const float> values) {
  std::int32_t largest = 0;
  for (const float value : values) {
    largest = std::max(largest, std::bit_cast<std::int32_t>(value) & 0x7FFFFFFF);
  }
  return largest < kInfinite32;
}

bool AreFinite(std::span<const std::uint16_t> halves, std::int32_t infinite) {
  std::int32_t largest = 0;
  for (const std::uint16_t half : halves) largest = std::max(largest, half & 0x7FFF);
  return largest < infinite;
}

// The halves make the largest float32 infinite.
void StoreHalves(std::span<const float> values, std::uint16_t (*convert)(float),
                 std::int32_t infinite, Embedding& embedding) {
  std::vector<std::uint16_t> halves(values.size());
  std::ranges::transform(values, halves.begin(), convert);
  embedding.finite = AreFinite(halves, infinite);
  embedding.values = BytesOf<std::uint16_t>(halves);
}

void StoreInt8(std::span<const float> values, Embedding& embedding) {
  float largest = 0.0F;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  embedding.scale = largest / 127.0F;
  embedding.values.reserve(values.size());
  for (const float value : values) {
    const float scaled = std::nearbyint(value / embedding.scale);
    // Not a number: all values are 0, or one of them is infinite or no number itself.
    const float bounded = std::isnan(scaled) ? 0.0F : std::clamp(scaled, -127.0F, 127.0F);
    embedding.values.push_back(static_cast<char>(static_cast<std::int8_t>(bounded)));
  }
}

void StoreBits(std::span<const float> values, std::string& bytes) {
  bytes.assign((values.size() + 7) / 8, '\0');
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!(values[i] > 0.0F)) continue;
    const unsigned bits = static_cast<unsigned char>(bytes[i / 8]) | (0x80U >> (i % 8));
    bytes[i / 8] = static_cast<char>(bits);
  }
}

}  // namespace

std::uint16_t ToFloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  constexpr std::uint32_t kInfinity32 = 0x7F800000U;
  constexpr std::uint32_t kSmallestNormal16 = 0x38800000U;  // 2^-14
  constexpr std::uint32_t kOverflow16 = 0x477FF000U;        // 65520, rounds to infinity
  std::uint32_t half = 0;
  if (magnitude > kInfinity32) {
    half = 0x7E00U;
  } else if (magnitude >= kOverflow16) {
    half = 0x7C00U;
  } else if (magnitude < kSmallestNormal16) {
    // A subnormal is a count of 2^-24; adding 0.5 = 2^23 * 2^-24 lets the addition round.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5F;
    half = std::bit_cast<std::uint32_t>(rounded) - std::bit_cast<std::uint32_t>(0.5F);
  } else {
    const std::uint32_t odd = (magnitude >> 13) & 1U;
    half = (magnitude - (112U << 23) + 0xFFFU + odd) >> 13;  // 112 = 127 - 15, the exponent biases
  }
  return static_cast<std::uint16_t>(sign | half);
}

std::uint16_t ToBFloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  const std::uint32_t odd = (bits >> 16) & 1U;
  return static_cast<std::uint16_t>((bits + 0x7FFFU + odd) >> 16);
}

Embedding MakeEmbedding(std::span<const float> pooled, const OutputSpec& spec) {
  const std::size_t size =
      spec.dimensions == 0 ? pooled.size() : static_cast<std::size_t>(spec.dimensions);
  std::vector<float> values(pooled.begin(), pooled.begin() + static_cast<std::ptrdiff_t>(size));
  if (spec.normalize) Normalize(values);

  Embedding embedding;
  embedding.data_type = spec.data_type;
  embedding.dimensions = static_cast<int>(size);
  embedding.finite = AreFinite(values);
  switch (spec.data_type) {
    case DataType::kFloat32:
      embedding.values = BytesOf<float>(values);
      break;
    case DataType::kFloat16:
      StoreHalves(values, &ToFloat16, kInfinite16, embedding);
      break;
    case DataType::kBFloat16:
      StoreHalves(values, &ToBFloat16, kInfiniteBrain16, embedding);
      break;
    case DataType::kInt8:
      StoreInt8(values, embedding);
      break;
    case DataType::kBinary:
      StoreBits(values, embedding.values);
      break;
  }
  return embedding;
}

std::vector<float> FloatValues(const Embedding& embedding) {
  std::vector<float> values(embedding.values.size() / sizeof(float));
  std::memcpy(values.data(), embedding.values.data(), values.size() * sizeof(float));
  return values;
}

double CosineSimilarity(std::span<const float> first, std::span<const float> second) {
  double product = 0.0;
  double first_square = 0.0;
  double second_square = 0.0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    product += double{first[i]} * second[i];
    first_square += double{first[i]} * first[i];
    second_square += double{second[i]} * second[i];
  }
  if (first_square == 0.0 && second_square == 0.0) return 1.0;
  const double cosine = product / std::sqrt(first_square * second_square);
  return std::isfinite(cosine) ? cosine : -1.0;
}

}  // namespace pixembed
