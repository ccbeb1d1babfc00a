#include "server/inference_tensors.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr std::size_t kLengthBytes = 4;

constexpr std::array kTensorTypes = {
    TensorType{DataType::kFloat32, v1::DATA_TYPE_FLOAT32, "float32", "FP32", {"\0\0\xC0\x7F", 4}},
    TensorType{DataType::kFloat16, v1::DATA_TYPE_FLOAT16, "float16", "FP16", {"\0\x7E", 2}},
    TensorType{DataType::kBFloat16, v1::DATA_TYPE_BFLOAT16, "bfloat16", "BF16", {"\xC0\x7F", 2}},
};

std::size_t ReadLength(std::string_view bytes) {
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return length;
}

}  // namespace

std::span<const TensorType> TensorTypes() { return kTensorTypes; }

const TensorType& TensorTypeOf(DataType type) {
  return *std::ranges::find(kTensorTypes, type, &TensorType::type);
}

absl::StatusOr<std::vector<std::string_view>> SplitBytesTensor(std::string_view raw,
                                                               std::size_t count) {
  const auto malformed = [&raw](const auto&... words) {
    return MakeError(Reason::kMalformedRequest,
                     absl::StrCat("the raw contents of \"", kImagesTensor, "\" have ", raw.size(),
                                  " bytes, ", words...));
  };
  std::vector<std::string_view> elements;
  std::size_t position = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t left = raw.size() - position;
    if (left < kLengthBytes) {
      return malformed("and its shape ", count, " elements: for the length of element ", i, ", ",
                       kLengthBytes, " bytes, there are ", left);
    }
    const std::size_t length = ReadLength(raw.substr(position));
    position += kLengthBytes;
    if (length > raw.size() - position) {
      return malformed("of which element ", i, " announces ", length, "; there are ",
                       raw.size() - position, " left");
    }
    elements.push_back(raw.substr(position, length));
    position += length;
  }
  if (position != raw.size()) {
    return malformed("and the ", count, " elements of its shape end after ", position);
  }
  return elements;
}

void AppendBytesElement(std::string_view element, std::string& raw) {
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    raw.push_back(static_cast<char>((element.size() >> (8 * i)) & 0xFF));
  }
  raw.append(element);
}

}  // namespace pixembed
