// Decode against Pillow, over what make_decode.py wrote: the same pixels, the same refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "tests/golden/decode_cases.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

class DecodeGolden : public testing::TestWithParam<const char*> {};

TEST_P(DecodeGolden, GivesPillowsPixelsAndRefusesWhatPillowRefuses) {
  const Weights golden = GoldenTensors("decode.safetensors");
  const std::vector<DecodeCase> cases = CasesOf(golden, GetParam());
  EXPECT_GT(cases.size(), 50);
  for (const DecodeCase& test_case : cases) {
    const std::string difference = Difference(test_case, Decode(test_case.encoded, kPillowLimits));
    EXPECT_TRUE(difference.empty()) << test_case.name << ": " << difference;
  }
}

TEST_P(DecodeGolden, TheHeaderSaysTheSizeThatDecodingGives) {
  const Weights golden = GoldenTensors("decode.safetensors");
  for (const DecodeCase& test_case : CasesOf(golden, GetParam())) {
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
  for (const DecodeCase& test_case : CasesOf(golden, GetParam())) {
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
                         testing::Values("jpeg.", "png.", "webp.", "gif.", "bmp.", "tiff.",
                                         "avif."),
                         [](const auto& format) {
                           return std::string(format.param, std::strlen(format.param) - 1);
                         });
INSTANTIATE_TEST_SUITE_P(Hostile, DecodeGolden, testing::Values("cut.", "damaged."),
                         [](const auto& kind) {
                           return std::string(kind.param, std::strlen(kind.param) - 1);
                         });

}  // namespace
}  // namespace pixembed
