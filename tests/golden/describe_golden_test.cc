// What DescribeImage says against what Pillow says, over every image of make_decode.py that Pillow
// decodes. See make_describe.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "src/checkpoint/checkpoint.h"
#include "src/digest/digest.h"
#include "src/image/image.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

// Pillow's own bound: twice Image.MAX_IMAGE_PIXELS.
constexpr DecodeLimits kPillowLimits = {.max_encoded_bytes = std::size_t{1} << 30,
                                        .max_pixels = std::int64_t{2} * 89'478'485,
                                        .max_side = 1 << 30};

// As a line of describe.txt.
std::string LineOf(std::string_view name, const ImageDescription& description) {
  return absl::StrCat(std::string(name), "\t", std::string(FormatName(description.format)), "\t",
                      std::string(description.mode), "\t", description.size.width, "\t",
                      description.size.height, "\t", description.orientation);
}

TEST(DescribeGolden, FormatModeSizeOrientationAndPixelsArePillows) {
  PreprocessSpec spec;
  spec.resize = ResizeTarget{.exact = Size{8, 8}};
  const Weights golden = GoldenTensors("decode.safetensors");
  const std::string text = GoldenBytes("describe.txt");
  std::size_t images = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::string name(line.substr(0, line.find('\t')));
    const Tensor* const encoded = golden.Find(name + ".encoded");
    const Tensor* const rgb = golden.Find(name + ".rgb");
    ASSERT_TRUE(encoded != nullptr && rgb != nullptr) << name << ": run tests/golden/make.sh";
    const auto description = DescribeImage(encoded->bytes, kPillowLimits, spec);
    ASSERT_TRUE(description.ok()) << name << ": " << description.status();
    EXPECT_EQ(LineOf(name, *description), std::string(line));
    EXPECT_EQ(description->decoded_sha256, Hex(Sha256(rgb->bytes))) << name;
    ++images;
  }
  EXPECT_GT(images, 1000);
}

}  // namespace
}  // namespace pixembed
