#include "tests/golden/decode_cases.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

constexpr std::string_view kEncoded = ".encoded";

}  // namespace

std::vector<DecodeCase> CasesOf(const Weights& golden, std::string_view prefix) {
  std::vector<DecodeCase> cases;
  for (const auto& [key, tensor] : golden.tensors()) {
    if (!key.starts_with(prefix) || !key.ends_with(kEncoded)) continue;
    const std::string name = key.substr(0, key.size() - kEncoded.size());
    cases.push_back({name, tensor.bytes, golden.Find(absl::StrCat(name, ".rgb"))});
  }
  return cases;
}

std::string Difference(const DecodeCase& decode_case, const absl::StatusOr<Image>& image) {
  if (!image.ok()) {
    const auto reason = ReasonOf(image.status());
    if (!reason.has_value()) return absl::StrCat("no reason: ", image.status().ToString());
    if (decode_case.rgb == nullptr) return "";
    return absl::StrCat("Pillow decodes it; refused: ", image.status().message());
  }
  if (decode_case.rgb == nullptr) return "Pillow refuses it; decoded";
  const std::vector<std::int64_t> shape = {image->height(), image->width(), 3};
  if (decode_case.rgb->shape != shape) {
    return absl::StrCat("is ", image->width(), " x ", image->height(), ", Pillow's is ",
                        decode_case.rgb->shape[1], " x ", decode_case.rgb->shape[0]);
  }
  int largest = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < image->size_bytes(); ++i) {
    const int difference =
        std::abs(int{image->pixels()[i]} - std::to_integer<int>(decode_case.rgb->bytes[i]));
    largest = std::max(largest, difference);
    if (difference != 0) ++count;
  }
  if (count == 0) return "";
  return absl::StrCat(count, " of ", image->size_bytes(), " values differ, by at most ", largest);
}

}  // namespace pixembed
