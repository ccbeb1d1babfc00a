#include "client/cpp/result.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/cpp/client.h"
#include "client/cpp/status.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {
namespace {

static_assert(std::endian::native == std::endian::little, "vectors are read as they travel");

// IEEE binary16.
float HalfToFloat(std::uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const int mantissa = half & 0x3FF;
  float magnitude = 0.0F;
  if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(mantissa), -24);
  } else if (exponent == 0x1F) {
    magnitude = mantissa == 0 ? std::numeric_limits<float>::infinity()
                              : std::numeric_limits<float>::quiet_NaN();
  } else {
    magnitude = std::ldexp(static_cast<float>(mantissa + 0x400), exponent - 25);
  }
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

float BFloat16ToFloat(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

template <typename Number, typename Widen>
std::vector<float> Widened(const std::string& data, Widen widen) {
  std::vector<float> floats(data.size() / sizeof(Number));
  for (std::size_t i = 0; i < floats.size(); ++i) {
    Number number;
    std::memcpy(&number, data.data() + i * sizeof(Number), sizeof(Number));
    floats[i] = widen(number);
  }
  return floats;
}

std::vector<float> BitsToFloats(const std::string& data, int dimensions) {
  std::vector<float> floats(dimensions);
  for (int i = 0; i < dimensions; ++i) {
    const auto byte = static_cast<unsigned char>(data[i / 8]);
    floats[i] = static_cast<float>((byte >> (7 - i % 8)) & 1);
  }
  return floats;
}

// Bytes of a vector, or 0 for a type that this client does not know.
std::size_t PackedSize(v1::DataType type, std::size_t dimensions) {
  switch (type) {
    case v1::DATA_TYPE_FLOAT32:
      return dimensions * 4;
    case v1::DATA_TYPE_FLOAT16:
    case v1::DATA_TYPE_BFLOAT16:
      return dimensions * 2;
    case v1::DATA_TYPE_INT8:
      return dimensions;
    case v1::DATA_TYPE_BINARY:
      return (dimensions + 7) / 8;
    default:
      return 0;
  }
}

absl::StatusOr<Embedding> ToEmbedding(v1::Embedding message) {
  Embedding embedding{.data_type = message.data_type(),
                      .dimensions = static_cast<int>(message.dimensions()),
                      .scale = message.scale(),
                      .data = std::move(*message.mutable_data())};
  if (!message.values().empty()) {
    embedding.data.assign(reinterpret_cast<const char*>(message.values().data()),
                          message.values_size() * sizeof(float));
  }
  const std::size_t expected = PackedSize(embedding.data_type, message.dimensions());
  if (expected == 0 || embedding.data.size() != expected) {
    return absl::DataLossError(absl::StrCat(
        "the server sent ", embedding.data.size(), " bytes for a vector of ", message.dimensions(),
        " dimensions of type ", v1::DataType_Name(embedding.data_type), ", which has ", expected));
  }
  return embedding;
}

absl::StatusOr<Embedding> ToOutcome(v1::EmbedResult& message) {
  switch (message.outcome_case()) {
    case v1::EmbedResult::kEmbedding:
      return ToEmbedding(std::move(*message.mutable_embedding()));
    case v1::EmbedResult::kError:
      if (message.error().code() != 0) {
        return FromRpc(message.error());
      }
      [[fallthrough]];
    default:
      return absl::DataLossError("the server sent neither a vector nor an error");
  }
}

}  // namespace

std::vector<float> Embedding::Floats() const {
  switch (data_type) {
    case v1::DATA_TYPE_FLOAT16:
      return Widened<std::uint16_t>(data, HalfToFloat);
    case v1::DATA_TYPE_BFLOAT16:
      return Widened<std::uint16_t>(data, BFloat16ToFloat);
    case v1::DATA_TYPE_INT8:
      return Widened<std::int8_t>(
          data, [this](std::int8_t value) { return static_cast<float>(value) * scale; });
    case v1::DATA_TYPE_BINARY:
      return BitsToFloats(data, dimensions);
    default:
      return Widened<float>(data, [](float value) { return value; });
  }
}

v1::EmbedOptions ToMessage(const EmbedOptions& options) {
  v1::EmbedOptions message;
  message.set_pooling(options.pooling);
  message.mutable_layers()->Add(options.layers.begin(), options.layers.end());
  message.set_exif_orientation(options.exif_orientation);
  if (options.background.has_value()) {
    message.mutable_background()->set_red(options.background->red);
    message.mutable_background()->set_green(options.background->green);
    message.mutable_background()->set_blue(options.background->blue);
  }
  message.set_normalize(options.normalize);
  message.set_dimensions(options.dimensions);
  message.set_data_type(options.data_type);
  message.set_packed(true);
  message.set_lane(options.lane);
  message.set_expected_fingerprint(options.expected_fingerprint);
  return message;
}

void SetOptions(const EmbedOptions& options, bool ordered, v1::EmbedRequest& request) {
  request.set_model(options.model);
  *request.mutable_options() = ToMessage(options);
  request.mutable_options()->set_ordered(ordered);
}

Result ToResult(v1::EmbedResult message) {
  return Result{.index = message.index(),
                .id = message.id(),
                .embedding = ToOutcome(message),
                .timings = message.timings(),
                .fingerprint = message.fingerprint()};
}

}  // namespace pixembed::client
