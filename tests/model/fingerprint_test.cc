#include "src/model/fingerprint.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

constexpr std::array<std::byte, 8> kBytes = {std::byte{1}};
constexpr std::array<std::byte, 8> kOtherBytes = {std::byte{2}};

std::string DigestOne(const std::string& name, const Tensor& tensor) {
  return DigestWeights({{name, &tensor}});
}

TEST(DigestWeights, ChangesWithEveryPartOfATensor) {
  const Tensor tensor{TensorType::kF32, {2}, kBytes};
  const std::set<std::string> digests = {
      DigestOne("a", tensor),
      DigestOne("b", tensor),
      DigestOne("a", {TensorType::kF32, {2, 1}, kBytes}),
      DigestOne("a", {TensorType::kF32, {2}, kOtherBytes}),
      DigestOne("a", {TensorType::kI32, {2}, kBytes}),
      DigestWeights({{"a", &tensor}, {"b", &tensor}}),
      DigestWeights({}),
  };
  EXPECT_EQ(digests.size(), 7U);
}

TEST(Fingerprint, IsSixtyFourHexadecimalDigits) {
  const std::string fingerprint = Fingerprint({});
  EXPECT_EQ(fingerprint.size(), 64U);
  EXPECT_EQ(fingerprint.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(fingerprint, Fingerprint({}));
}

// docs/fingerprint.md, line for line: others compute it too.
TEST(Fingerprint, IsTakenOverTheDocumentedText) {
  FingerprintParts parts;
  parts.weights_digest = "0123";
  parts.architecture = "width=32 layers=2";
  parts.preprocess.convert_rgb = true;
  parts.preprocess.resize = ResizeTarget{.exact = {}, .shortest_edge = 256};
  parts.preprocess.filter = Filter::kBicubic;
  parts.preprocess.crop = Size{224, 200};
  parts.preprocess.mean = {0.1, 0.5, 1.0 / 3};
  parts.precision = "float32";
  parts.space = {.pooling = Pooling::kMax, .layers = {0, 2}};
  const std::string text = FingerprintText(parts);
  EXPECT_EQ(text,
            "numerics 1\n"
            "weights 0123\n"
            "architecture width=32 layers=2\n"
            "processor backend=torchvision convert_rgb resize=shortest_edge:256,longest_edge:0 "
            "filter=bicubic crop=224x200 rescale=0.0039215686274509803 "
            "mean=0.10000000000000001,0.5,0.33333333333333331 std=0.5,0.5,0.5\n"
            "precision float32\n"
            "pooling max\n"
            "layers 0,2\n");
  parts.space.policy = {.apply_exif_orientation = true, .background = Color{255, 0, 9}};
  EXPECT_EQ(FingerprintText(parts), text + "exif_orientation apply\nbackground 255,0,9\n");
  parts.preprocess.resize =
      ResizeTarget{.exact = {}, .patches = PatchBudget{.patch = 16, .max_patches = 256}};
  EXPECT_NE(FingerprintText(parts).find(" resize=patch_size:16,max_num_patches:256 filter="),
            std::string::npos);
}

TEST(Fingerprint, IgnoresWhatTheProcessorDoesNotUse) {
  FingerprintParts parts;
  parts.preprocess.resize.reset();
  parts.preprocess.rescale = false;
  parts.preprocess.normalize = false;
  const std::string fingerprint = Fingerprint(parts);
  parts.preprocess.filter = Filter::kBicubic;
  parts.preprocess.rescale_factor = 7;
  parts.preprocess.mean[0] = 7;
  EXPECT_EQ(Fingerprint(parts), fingerprint);
}

TEST(Fingerprint, ChangesWithEveryIngredient) {
  const std::vector<std::function<void(FingerprintParts&)>> changes = {
      [](FingerprintParts&) {},
      [](FingerprintParts& parts) { parts.weights_digest = "x"; },
      [](FingerprintParts& parts) { parts.architecture = "x"; },
      [](FingerprintParts& parts) { parts.precision = "x"; },
      [](FingerprintParts& parts) { parts.space.pooling = Pooling::kCls; },
      [](FingerprintParts& parts) { parts.space.layers = {1}; },
      [](FingerprintParts& parts) {
        parts.space.layers = {1, 2};
      },
      [](FingerprintParts& parts) { parts.space.policy.apply_exif_orientation = true; },
      [](FingerprintParts& parts) { parts.space.policy.background = Color{}; },
      [](FingerprintParts& parts) {
        parts.space.policy.background = Color{1, 2, 3};
      },
      [](FingerprintParts& parts) { parts.space.pooling = Pooling::kMaskedMean; },
      [](FingerprintParts& parts) { parts.preprocess.backend = Backend::kPil; },
      [](FingerprintParts& parts) { parts.preprocess.convert_rgb = true; },
      [](FingerprintParts& parts) { parts.preprocess.resize = ResizeTarget{}; },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = Size{7, 8}};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = Size{8, 7}};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = {}, .shortest_edge = 9};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = {}, .longest_edge = 9};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = {}, .patches = PatchBudget{16, 256}};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = {}, .patches = PatchBudget{256, 16}};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{};
        parts.preprocess.filter = Filter::kBicubic;
      },
      [](FingerprintParts& parts) {
        parts.preprocess.crop = Size{7, 8};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = {}, .cover = Size{7, 8}};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.resize = ResizeTarget{.exact = {}, .fit = Size{7, 8}};
      },
      [](FingerprintParts& parts) {
        parts.preprocess.crop = Size{7, 8};
        parts.preprocess.crop_rule = CropRule::kTorchvision;
      },
      [](FingerprintParts& parts) {
        parts.preprocess.crop = Size{7, 8};
        parts.preprocess.padding = Color{1, 2, 3};
      },
      [](FingerprintParts& parts) { parts.preprocess.rescale = false; },
      [](FingerprintParts& parts) { parts.preprocess.rescale_factor = 0.5; },
      [](FingerprintParts& parts) { parts.preprocess.normalize = false; },
      [](FingerprintParts& parts) { parts.preprocess.mean[1] = 0.25; },
      [](FingerprintParts& parts) { parts.preprocess.std[2] = 0.25; },
  };
  std::set<std::string> fingerprints;
  for (const auto& change : changes) {
    FingerprintParts parts;
    change(parts);
    fingerprints.insert(Fingerprint(parts));
  }
  EXPECT_EQ(fingerprints.size(), changes.size());
}

}  // namespace
}  // namespace pixembed
