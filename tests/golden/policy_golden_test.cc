// Decode under a policy, and ConvertToRgb, against Pillow and transformers, over what
// make_policy.py wrote, and over all that make_decode.py wrote: files of which no policy makes
// anything else stay as they are.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
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

constexpr Color kBackground = {201, 17, 96};

struct Case {
  std::string_view golden;  // as make_policy.py calls it
  DecodePolicy policy;
  bool convert_rgb = false;
};

const std::map<std::string, Case> kCases = {
    {"apply", {"apply", {.apply_exif_orientation = true}}},
    {"background", {"background", {.background = kBackground}}},
    {"converted", {"converted", {}, true}},
    {"apply_converted", {"apply_converted", {.apply_exif_orientation = true}, true}},
    // Nothing is transparent any more.
    {"background_converted", {"background", {.background = kBackground}, true}},
};

// What is wrong with the answer, or nothing. `expected` is nullptr where Pillow refuses.
std::string Difference(const Tensor* expected, const absl::StatusOr<Image>& image) {
  if (!image.ok()) {
    if (!ReasonOf(image.status()).has_value()) {
      return absl::StrCat("no reason: ", image.status().ToString());
    }
    if (expected == nullptr) return "";
    return absl::StrCat("Pillow decodes it; refused: ", image.status().message());
  }
  if (expected == nullptr) return "Pillow refuses it; decoded";
  if (expected->shape[0] != image->height() || expected->shape[1] != image->width()) {
    return absl::StrCat("is ", image->width(), " x ", image->height(), ", Pillow's is ",
                        expected->shape[1], " x ", expected->shape[0]);
  }
  std::size_t count = 0;
  for (std::size_t i = 0; i < image->size_bytes(); ++i) {
    if (image->pixels()[i] != std::to_integer<std::uint8_t>(expected->bytes[i])) ++count;
  }
  return count == 0 ? "" : absl::StrCat(count, " of ", image->size_bytes(), " values differ");
}

class PolicyGolden : public testing::TestWithParam<std::string> {
 protected:
  static const DecodePolicy& policy() { return kCases.at(GetParam()).policy; }

  static const Tensor* Expected(const Weights& golden, std::string_view name) {
    return golden.Find(
        absl::StrCat(std::string(name), ".", std::string(kCases.at(GetParam()).golden)));
  }

  static absl::StatusOr<Image> Converted(absl::StatusOr<Image> image) {
    if (!image.ok()) return image;
    PreprocessSpec spec;
    spec.convert_rgb = kCases.at(GetParam()).convert_rgb;
    if (absl::Status status = ConvertToRgb(spec, *image); !status.ok()) return status;
    EXPECT_EQ(image->transparency(), Transparency());
    return image;
  }

  static absl::StatusOr<Image> Decoded(std::span<const std::byte> encoded) {
    return Converted(Decode(encoded, kPillowLimits, policy()));
  }
};

TEST_P(PolicyGolden, GivesPillowsPixelsAndRefusesWhatPillowRefuses) {
  const Weights golden = GoldenTensors("policy.safetensors");
  int count = 0;
  for (const auto& [key, tensor] : golden.tensors()) {
    if (!key.ends_with(kEncoded)) continue;
    const std::string name = key.substr(0, key.size() - kEncoded.size());
    const Tensor* const expected = Expected(golden, name);
    const std::string difference = Difference(expected, Decoded(tensor.bytes));
    EXPECT_TRUE(difference.empty()) << name << ": " << difference;
    ++count;
  }
  EXPECT_GT(count, 500);
}

TEST_P(PolicyGolden, TheHeaderSaysTheSizeThatDecodingGives) {
  const Weights golden = GoldenTensors("policy.safetensors");
  for (const auto& [key, tensor] : golden.tensors()) {
    if (!key.ends_with(kEncoded)) continue;
    const std::string name = key.substr(0, key.size() - kEncoded.size());
    const Tensor* const expected = Expected(golden, name);
    if (expected == nullptr) continue;
    const absl::StatusOr<ImageHeader> header = ReadHeader(tensor.bytes, kPillowLimits, policy());
    ASSERT_TRUE(header.ok()) << name << ": " << header.status();
    EXPECT_EQ(header->height, expected->shape[0]) << name;
    EXPECT_EQ(header->width, expected->shape[1]) << name;
  }
}

// The service decodes only the columns that the crop keeps; of an image that is turned they are
// rows.
TEST_P(PolicyGolden, ThePixelsOfTheNeededColumnsAreThoseOfTheWholePicture) {
  const Weights golden = GoldenTensors("policy.safetensors");
  for (const auto& [key, tensor] : golden.tensors()) {
    if (!key.ends_with(kEncoded)) continue;
    const absl::StatusOr<Image> whole = Decoded(tensor.bytes);
    Columns needed;
    const absl::StatusOr<Image> part = Converted(DecodeColumns(
        tensor.bytes, kPillowLimits,
        [&](Size size) {
          return needed = {size.width / 3, size.width - (size.width - 1) / 3};
        },
        policy()));
    ASSERT_EQ(part.status(), whole.status()) << key;
    if (!whole.ok()) continue;
    const std::ptrdiff_t begin = std::ptrdiff_t{needed.begin} * 3;
    const std::ptrdiff_t end = std::ptrdiff_t{needed.end} * 3;
    for (int y = 0; y < whole->height(); ++y) {
      ASSERT_TRUE(std::equal(whole->row(y) + begin, whole->row(y) + end, part->row(y) + begin))
          << key << ", row " << y;
    }
  }
}

TEST_P(PolicyGolden, FilesWithoutOrientationOrAlphaStayAsTheyAre) {
  const Weights changed = GoldenTensors("policy.safetensors");
  const Weights golden = GoldenTensors("decode.safetensors");
  int count = 0;
  for (const auto& [key, tensor] : golden.tensors()) {
    if (!key.ends_with(kEncoded) || changed.Find(key) != nullptr) continue;
    const std::string name = key.substr(0, key.size() - kEncoded.size());
    const std::string difference =
        Difference(golden.Find(absl::StrCat(name, ".rgb")), Decoded(tensor.bytes));
    EXPECT_TRUE(difference.empty()) << name << ": " << difference;
    ++count;
  }
  EXPECT_GT(count, 500);
}

INSTANTIATE_TEST_SUITE_P(Policies, PolicyGolden,
                         testing::Values("apply", "background", "converted", "apply_converted",
                                         "background_converted"),
                         [](const auto& policy) { return std::string(policy.param); });

}  // namespace
}  // namespace pixembed
