// Files, and what Pillow makes of them: a golden file of "NAME.encoded" and "NAME.rgb" tensors.
#ifndef PIXEMBED_TESTS_GOLDEN_DECODE_CASES_H_
#define PIXEMBED_TESTS_GOLDEN_DECODE_CASES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"

namespace pixembed {

// Pillow's own bound: twice Image.MAX_IMAGE_PIXELS.
inline constexpr DecodeLimits kPillowLimits = {.max_encoded_bytes = std::size_t{1} << 30,
                                               .max_pixels = std::int64_t{2} * 89'478'485,
                                               .max_side = 1 << 30};

struct DecodeCase {
  std::string name;
  std::span<const std::byte> encoded;
  const Tensor* rgb;  // nullptr: refused
};

// Those whose names start so. Views into `golden`.
std::vector<DecodeCase> CasesOf(const Weights& golden, std::string_view prefix);

// What is wrong with the answer to a case, or nothing. A refusal has to have a reason.
std::string Difference(const DecodeCase& decode_case, const absl::StatusOr<Image>& image);

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_GOLDEN_DECODE_CASES_H_
