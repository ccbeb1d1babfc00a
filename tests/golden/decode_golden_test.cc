// Decode against Pillow, over what make_decode.py wrote: the same pixels, the same refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

constexpr std::string_view kEncoded = ".encoded";

// Pillow's own bound: twice Image.MAX_IMAGE_PIXELS.
constexpr DecodeLimits kPillowLimits = {.max_encoded_bytes = std::size_t{1} << 30,
                                        .max_pixels = std::int64_t{2} * 89'478'485,
                                        .max_side = 1 << 30};

struct Case {
  std::string name;
  std::span<const std::byte> encoded;
  const Tensor* rgb;  // nullptr: refused
};

// Those whose names start so.
std::vector<Case> CasesOf(const Weights& golden, std::string_view prefix) {
  std::vector<Case> cases;
  for (const auto& [key, tensor] : golden.tensors()) {
    if (!key.starts_with(prefix) || !key.ends_with(kEncoded)) continue;
    const std::string name = key.substr(0, key.size() - kEncoded.size());
    cases.push_back({name, tensor.bytes, golden.Find(absl::StrCat(name, ".rgb"))});
  }
  return cases;
}

// What is wrong with the answer, or nothing.
std::string Difference(const Case& test_case, const absl::StatusOr<Image>& image) {
  if (!image.ok()) {
    const auto reason = ReasonOf(image.status());
    if (!reason.has_value()) return absl::StrCat("no reason: ", image.status().ToString());
    if (test_case.rgb == nullptr) return "";
    return absl::StrCat("Pillow decodes it; refused: ", image.status().message());
  }
  if (test_case.rgb == nullptr) return "Pillow refuses it; decoded";
  const std::vector<std::int64_t> shape = {image->height(), image->width(), 3};
  if (test_case.rgb->shape != shape) {
    return absl::StrCat("is ", image->width(), " x ", image->height(), ", Pillow's is ",
                        test_case.rgb->shape[1], " x ", test_case.rgb->shape[0]);
  }
  int largest = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < image->size_bytes(); ++i) {
    const int difference =
        std::abs(int{image->pixels()[i]} - std::to_integer<int>(test_case.rgb->bytes[i]));
    largest = std::max(largest, difference);
    if (difference != 0) ++count;
  }
  if (count == 0) return "";
  return absl::StrCat(count, " of ", image->size_bytes(), " values differ, by at most ", largest);
}

class DecodeGolden : public testing::TestWithParam<const char*> {};

TEST_P(DecodeGolden, GivesPillowsPixelsAndRefusesWhatPillowRefuses) {
  const Weights golden = GoldenTensors("decode.safetensors");
  const std::vector<Case> cases = CasesOf(golden, GetParam());
  EXPECT_GT(cases.size(), 50);
  for (const Case& test_case : cases) {
    const std::string difference = Difference(test_case, Decode(test_case.encoded, kPillowLimits));
    EXPECT_TRUE(difference.empty()) << test_case.name << ": " << difference;
  }
}

TEST_P(DecodeGolden, TheHeaderSaysTheSizeThatDecodingGives) {
  const Weights golden = GoldenTensors("decode.safetensors");
  for (const Case& test_case : CasesOf(golden, GetParam())) {
    if (test_case.rgb == nullptr) continue;
    const absl::StatusOr<ImageHeader> header = ReadHeader(test_case.encoded, kPillowLimits);
    ASSERT_TRUE(header.ok()) << test_case.name << ": " << header.status();
    EXPECT_EQ(header->height, test_case.rgb->shape[0]) << test_case.name;
    EXPECT_EQ(header->width, test_case.rgb->shape[1]) << test_case.name;
    EXPECT_GE(header->decoded_bytes, test_case.rgb->bytes.size()) << test_case.name;
  }
}

// The service decodes only the columns that the crop keeps.
TEST_P(DecodeGolden, ThePixelsOfTheNeededColumnsAreThoseOfTheWholePicture) {
  const Weights golden = GoldenTensors("decode.safetensors");
  for (const Case& test_case : CasesOf(golden, GetParam())) {
    const absl::StatusOr<Image> whole = Decode(test_case.encoded, kPillowLimits);
    for (const int part : {3, 8}) {
      Columns needed;
      const absl::StatusOr<Image> image =
          DecodeColumns(test_case.encoded, kPillowLimits, [&](Size size) {
            return needed = {size.width / part, size.width - (size.width - 1) / part};
          });
      ASSERT_EQ(image.status(), whole.status()) << test_case.name;
      if (!whole.ok()) continue;
      const std::ptrdiff_t begin = std::ptrdiff_t{needed.begin} * 3;
      const std::ptrdiff_t end = std::ptrdiff_t{needed.end} * 3;
      for (int y = 0; y < whole->height(); ++y) {
        ASSERT_TRUE(std::equal(whole->row(y) + begin, whole->row(y) + end, image->row(y) + begin))
            << test_case.name << ", row " << y;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, DecodeGolden,
                         testing::Values("jpeg.", "png.", "webp.", "gif.", "bmp.", "tiff."),
                         [](const auto& format) {
                           return std::string(format.param, std::strlen(format.param) - 1);
                         });
INSTANTIATE_TEST_SUITE_P(Hostile, DecodeGolden, testing::Values("cut.", "damaged."),
                         [](const auto& kind) {
                           return std::string(kind.param, std::strlen(kind.param) - 1);
                         });

}  // namespace
}  // namespace pixembed
