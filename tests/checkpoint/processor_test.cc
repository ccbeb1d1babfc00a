#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/checkpoint/status_matchers.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<Processor> Parse(std::string_view text, std::string_view model_type = "vit") {
  const absl::StatusOr<Config> config = Config::Parse(text, "preprocessor_config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return ParseProcessor(*config, model_type, Backend::kTorchvision);
}

Processor Parsed(std::string_view text, std::string_view model_type = "vit") {
  absl::StatusOr<Processor> processor = Parse(text, model_type);
  EXPECT_TRUE(processor.ok()) << processor.status() << " for " << std::string(text);
  return *std::move(processor);
}

// `keys` in the configuration of a ViT processor.
std::string Vit(std::string_view keys) {
  return R"({"image_processor_type":"ViTImageProcessor",)" + std::string(keys) + "}";
}

std::string Clip(std::string_view keys) {
  return R"({"image_processor_type":"CLIPImageProcessor",)" + std::string(keys) + "}";
}

// The configuration of a class that says nothing else.
std::string OfClass(std::string_view name) {
  return R"({"image_processor_type":")" + std::string(name) + R"(ImageProcessor"})";
}

TEST(Processor, AClassWithNothingElseTakesItsDefaults) {
  const Processor vit = Parsed(R"({"image_processor_type":"ViTImageProcessor"})");
  EXPECT_EQ(vit.type, "ViTImageProcessor");
  EXPECT_EQ(vit.spec.backend, Backend::kTorchvision);
  EXPECT_EQ(vit.spec.resize->exact, (Size{224, 224}));
  EXPECT_EQ(vit.spec.filter, Filter::kBilinear);
  EXPECT_EQ(vit.spec.crop, std::nullopt);
  EXPECT_TRUE(vit.spec.rescale);
  EXPECT_EQ(vit.spec.rescale_factor, 1.0 / 255.0);
  EXPECT_TRUE(vit.spec.normalize);
  EXPECT_THAT(vit.spec.mean, ElementsAre(0.5, 0.5, 0.5));

  const Processor clip = Parsed(R"({"image_processor_type":"CLIPImageProcessor"})");
  EXPECT_EQ(clip.spec.resize->exact, std::nullopt);
  EXPECT_EQ(clip.spec.resize->shortest_edge, 224);
  EXPECT_EQ(clip.spec.filter, Filter::kBicubic);
  EXPECT_EQ(clip.spec.crop, (Size{224, 224}));
  EXPECT_THAT(clip.spec.std, ElementsAre(0.26862954, 0.26130258, 0.27577711));
}

TEST(Processor, TheClassIsFoundUnderEveryNameTheReferenceAccepts) {
  EXPECT_EQ(Parsed(R"({"image_processor_type":"DeiTImageProcessorFast"})").type,
            "DeiTImageProcessor");
  EXPECT_EQ(Parsed(R"({"image_processor_type":"DeiTImageProcessorPil"})").type,
            "DeiTImageProcessor");
  EXPECT_EQ(Parsed(R"({"feature_extractor_type":"CLIPFeatureExtractor"})").type,
            "CLIPImageProcessor");
  EXPECT_EQ(
      Parsed(R"({"image_processor_type":null,"feature_extractor_type":"ViTFeatureExtractor"})",
             "siglip")
          .type,
      "ViTImageProcessor");
  EXPECT_EQ(Parsed(R"({"image_processor_type":"BeitImageProcessor",
                       "feature_extractor_type":"ViTFeatureExtractor"})")
                .type,
            "BeitImageProcessor");
  EXPECT_EQ(Parsed("{}", "dinov2").type, "BitImageProcessor");
  EXPECT_EQ(Parsed("{}", "siglip").type, "SiglipImageProcessor");
  // With code of its own for the processor, the reference goes by the model type.
  EXPECT_EQ(Parsed(R"({"feature_extractor_type":"CLIPFeatureExtractor",
                       "auto_map":{"AutoImageProcessor":"x.Y"}})",
                   "dinov2")
                .type,
            "BitImageProcessor");
}

TEST(Processor, UnknownClassesAreRefusedByNameAndFile) {
  for (const std::string name : {"EfficientNetImageProcessor", "PvtImageProcessorFast",
                                 "TimmWrapperImageProcessor", "X", ""}) {
    const std::string base = name.substr(0, name.find("Fast"));
    EXPECT_THAT(Parse(R"({"image_processor_type":")" + name + R"("})"),
                IsUnsupported(AllOf(HasSubstr("preprocessor_config.json"), HasSubstr(name),
                                    HasSubstr('"' + base + "\" is not implemented"),
                                    HasSubstr("ViTImageProcessor, DeiTImageProcessor"))));
  }
  EXPECT_THAT(Parse("{}", "clip_vision_model"),
              IsUnsupported(AllOf(HasSubstr("image_processor_type (absent)"),
                                  HasSubstr("\"clip_vision_model\""))));
  EXPECT_THAT(Parse(R"({"image_processor_type":true})"), IsCorrupt(HasSubstr("must be a string")));
}

TEST(Processor, AnIntSizeIsASquareOrTheShortestEdgeAsTheClassSays) {
  EXPECT_EQ(Parsed(Vit(R"("size":384)")).spec.resize->exact, (Size{384, 384}));
  EXPECT_EQ(Parsed(Clip(R"("size":336)")).spec.resize->shortest_edge, 336);
  EXPECT_EQ(Parsed(Vit(R"("size":384,"default_to_square":false)")).spec.resize->shortest_edge, 384);
  EXPECT_EQ(Parsed(Clip(R"("size":336,"default_to_square":true)")).spec.resize->exact,
            (Size{336, 336}));
}

TEST(Processor, SizesComeAsListsAndObjectsToo) {
  EXPECT_EQ(Parsed(Vit(R"("size":[200,300])")).spec.resize->exact, (Size{200, 300}));
  EXPECT_EQ(Parsed(Clip(R"("size":{"height":20,"width":30})")).spec.resize->exact, (Size{20, 30}));
  const ResizeTarget both =
      *Parsed(Vit(R"("size":{"shortest_edge":800,"longest_edge":1333})")).spec.resize;
  EXPECT_EQ(both.exact, std::nullopt);
  EXPECT_EQ(both.shortest_edge, 800);
  EXPECT_EQ(both.longest_edge, 1333);
  EXPECT_EQ(Parsed(Clip(R"("crop_size":196)")).spec.crop, (Size{196, 196}));
  EXPECT_EQ(Parsed(Clip(R"("crop_size":[196,200])")).spec.crop, (Size{196, 200}));
  EXPECT_EQ(Parsed(Clip(R"("crop_size":{"height":1,"width":2})")).spec.crop, (Size{1, 2}));
}

TEST(Processor, NullIsOffForAStepAndAnErrorForWhatAStepNeeds) {
  const PreprocessSpec off =
      Parsed(Clip(R"("do_resize":null,"do_center_crop":null,"do_rescale":null,"do_normalize":null,)"
                  R"("size":null,"resample":null,"crop_size":null,"image_mean":null)"))
          .spec;
  EXPECT_EQ(off.resize, std::nullopt);
  EXPECT_EQ(off.crop, std::nullopt);
  EXPECT_FALSE(off.rescale);
  EXPECT_FALSE(off.normalize);
  for (const std::string key :
       {"size", "resample", "crop_size", "rescale_factor", "image_mean", "image_std"}) {
    EXPECT_THAT(Parse(Clip('"' + key + "\":null")),
                IsCorrupt(AllOf(HasSubstr(key + " = null must be set where do_"),
                                HasSubstr("preprocessor_config.json"))));
  }
  EXPECT_THAT(Parse(Vit(R"("do_center_crop":true)")),
              IsCorrupt(HasSubstr("crop_size (absent) must be set where do_center_crop is true")));
}

TEST(Processor, StepsThatAreOffNeedNothing) {
  const PreprocessSpec spec = Parsed(Clip(R"("do_resize":false,"size":{"bad":1},"resample":99,)"
                                          R"("do_center_crop":false,"crop_size":"x",)"
                                          R"("do_rescale":false,"rescale_factor":0,)"
                                          R"("do_normalize":false,"image_std":[0])"))
                                  .spec;
  EXPECT_EQ(spec.resize, std::nullopt);
  EXPECT_EQ(spec.crop, std::nullopt);
  EXPECT_FALSE(spec.rescale);
  EXPECT_FALSE(spec.normalize);
}

TEST(Processor, MeanAndStdAreOneNumberOrThree) {
  EXPECT_THAT(Parsed(Vit(R"("image_mean":[0.485,0.456,0.406])")).spec.mean,
              ElementsAre(0.485, 0.456, 0.406));
  EXPECT_THAT(Parsed(Vit(R"("image_std":0.25)")).spec.std, ElementsAre(0.25, 0.25, 0.25));
  EXPECT_THAT(
      Parse(Vit(R"("image_mean":[0.5,0.5])")),
      IsCorrupt(HasSubstr("image_mean = [2 values] must be one number or a list of three")));
  EXPECT_THAT(Parse(Vit(R"("image_std":[0.5,0,0.5])")), IsCorrupt(HasSubstr("image_std[1] = 0")));
  EXPECT_THAT(Parse(Vit(R"("image_std":"x")")), IsCorrupt(HasSubstr("image_std")));
}

TEST(Processor, ConvertsToRgbWhereItsClassOrItsConfigurationSaysSo) {
  for (const std::string_view name : {"Bit", "CLIP", "Siglip"}) {
    EXPECT_TRUE(Parsed(OfClass(name)).spec.convert_rgb) << name;
  }
  for (const std::string_view name : {"ViT", "DeiT", "Beit", "ConvNext", "DINOv3ViT", "Siglip2"}) {
    EXPECT_FALSE(Parsed(OfClass(name)).spec.convert_rgb) << name;
  }
  EXPECT_TRUE(Parsed(Vit(R"("do_convert_rgb":true)")).spec.convert_rgb);
  EXPECT_FALSE(Parsed(Clip(R"("do_convert_rgb":false)")).spec.convert_rgb);
  EXPECT_FALSE(Parsed(Clip(R"("do_convert_rgb":null)")).spec.convert_rgb);
  EXPECT_THAT(Parse(Clip(R"("do_convert_rgb":1)")), IsCorrupt(HasSubstr("do_convert_rgb = 1")));
}

TEST(Processor, KeysThatChangeNoPixelAreIgnored) {
  const Processor processor = Parsed(
      Vit(R"("data_format":"channels_first","device":null,"do_pad":false,)"
          R"("pad_size":null,"return_tensors":null,"processor_class":"x","reduce_labels":true)"));
  EXPECT_EQ(processor.spec.resize->exact, (Size{224, 224}));
}

TEST(Processor, OptionsThatAreNotFollowedAreRefused) {
  EXPECT_THAT(Parse(Vit(R"("do_pad":true)")), IsUnsupported(HasSubstr("do_pad = true")));
  EXPECT_THAT(Parse(Vit(R"("resample":6)")), IsUnsupported(HasSubstr("resample = 6")));
  EXPECT_THAT(Parse(Clip(R"("use_square_size":true)")),
              IsUnsupported(HasSubstr("use_square_size = true")));
  EXPECT_THAT(Parse(Vit(R"("size":{"max_height":9,"max_width":9})")),
              IsUnsupported(AllOf(HasSubstr("max_height"), HasSubstr("shortest_edge"))));
  EXPECT_THAT(Parse(Vit(R"("size":{"min_pixels":9,"max_pixels":9})")),
              IsUnsupported(HasSubstr("max_pixels")));
}

TEST(Processor, AClassThatCountsPatchesHasABudgetInsteadOfASize) {
  const std::string naflex = R"({"image_processor_type":"Siglip2ImageProcessor")";
  const PreprocessSpec defaults = Parsed("{}", "siglip2").spec;
  EXPECT_EQ(defaults.resize->patches, (PatchBudget{.patch = 16, .max_patches = 256}));
  EXPECT_EQ(defaults.resize->exact, std::nullopt);
  EXPECT_EQ(defaults.filter, Filter::kBilinear);
  EXPECT_FALSE(defaults.convert_rgb);
  EXPECT_EQ(Parsed(naflex + R"(,"patch_size":14,"max_num_patches":9})").spec.resize->patches,
            (PatchBudget{.patch = 14, .max_patches = 9}));
  EXPECT_THAT(Parse(naflex + R"(,"patch_size":0})"), IsCorrupt(HasSubstr("patch_size = 0")));
  EXPECT_THAT(Parse(naflex + R"(,"max_num_patches":null})"),
              IsCorrupt(HasSubstr("max_num_patches = null must be set where do_resize is true")));
  EXPECT_THAT(Parse(naflex + R"(,"max_num_patches":4097})"),
              IsUnsupported(AllOf(HasSubstr("preprocessor_config.json"), HasSubstr("4097"),
                                  HasSubstr("4096"))));
  EXPECT_THAT(Parse(naflex + R"(,"patch_size":100,"max_num_patches":4096})"),
              IsUnsupported(AllOf(HasSubstr("40960000"), HasSubstr("16777216"))));
  for (const std::string key :
       {R"("do_resize":false)", R"("size":224)", R"("do_center_crop":true)"}) {
    EXPECT_THAT(Parse(absl::StrCat(naflex, ",", key, "}")),
                IsUnsupported(HasSubstr(key.substr(1, 4))));
  }
}

TEST(Processor, MalformedValuesNameTheKeyAndTheRange) {
  EXPECT_THAT(Parse(Vit(R"("size":0)")),
              IsCorrupt(HasSubstr("size = 0 must be an integer from 1")));
  EXPECT_THAT(Parse(Vit(R"("size":-5)")), IsCorrupt(HasSubstr("size = -5")));
  EXPECT_THAT(Parse(Vit(R"("size":1e9)")), IsCorrupt(HasSubstr("size")));
  EXPECT_THAT(Parse(Vit(R"("size":true)")), IsCorrupt(HasSubstr("size = true")));
  EXPECT_THAT(Parse(Vit(R"("size":[224])")), IsCorrupt(HasSubstr("size = [1 values]")));
  EXPECT_THAT(Parse(Vit(R"("size":{"height":224})")), IsCorrupt(HasSubstr("size = {1 keys}")));
  EXPECT_THAT(Parse(Vit(R"("size":{})")), IsCorrupt(HasSubstr("size = {0 keys}")));
  EXPECT_THAT(Parse(Vit(R"("size":{"longest_edge":9})")), IsCorrupt(HasSubstr("shortest_edge")));
  EXPECT_THAT(Parse(Vit(R"("size":{"height":224,"width":99999999})")),
              IsCorrupt(AllOf(HasSubstr("size.width = 99999999"), HasSubstr("65535"))));
  EXPECT_THAT(Parse(Vit(R"("size":{"shortest_edge":0})")),
              IsCorrupt(HasSubstr("shortest_edge = 0")));
  EXPECT_THAT(Parse(Clip(R"("crop_size":{"shortest_edge":9})")), IsCorrupt(HasSubstr("crop_size")));
  EXPECT_THAT(Parse(Clip(R"("crop_size":{"height":0,"width":1})")),
              IsCorrupt(HasSubstr("crop_size.height = 0")));
  EXPECT_THAT(Parse(Vit(R"("resample":8)")), IsCorrupt(HasSubstr("resample = 8")));
  EXPECT_THAT(Parse(Vit(R"("resample":"bilinear")")),
              IsCorrupt(HasSubstr("resample = \"bilinear\"")));
  EXPECT_THAT(Parse(Vit(R"("rescale_factor":0)")), IsCorrupt(HasSubstr("rescale_factor = 0")));
  EXPECT_THAT(Parse(Vit(R"("do_resize":"no")")), IsCorrupt(HasSubstr("do_resize = \"no\"")));
  EXPECT_THAT(Parse(Vit(R"("do_normalize":1)")), IsCorrupt(HasSubstr("do_normalize = 1")));
  EXPECT_THAT(Parse(Vit(R"("do_pad":"x")")), IsCorrupt(HasSubstr("do_pad")));
}

TEST(Processor, RandomMutationsEndInASpecInRangeOrANamedError) {
  const std::string original =
      R"({"image_processor_type":"CLIPImageProcessor","size":{"shortest_edge":256},"resample":3,)"
      R"("crop_size":224,"image_mean":[0.1,0.2,0.3],"do_resize":true,"rescale_factor":0.0039})";
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&random](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  constexpr std::string_view kTokens = "0123456789{}[]\":,-.eEtrufalsn ";
  for (int round = 0; round < 10'000; ++round) {
    std::string text = original;
    for (std::size_t edits = below(4) + 1; edits > 0; --edits) {
      text[below(text.size())] = kTokens[below(kTokens.size())];
    }
    const absl::StatusOr<Config> config = Config::Parse(text, "config.json");
    if (!config.ok()) continue;
    const auto processor = ParseProcessor(*config, "vit", Backend::kPil);
    if (!processor.ok()) {
      const auto reason = ReasonOf(processor.status());
      ASSERT_TRUE(reason == Reason::kCheckpointCorrupt || reason == Reason::kUnsupportedProcessor)
          << processor.status();
      continue;
    }
    const PreprocessSpec& spec = processor->spec;
    if (spec.resize && !spec.resize->exact) {
      ASSERT_GT(spec.resize->shortest_edge, 0) << text;
    }
    if (spec.crop) {
      ASSERT_GT(spec.crop->height, 0) << text;
      ASSERT_GT(spec.crop->width, 0) << text;
    }
    for (const double divisor : spec.std) ASSERT_GT(divisor, 0) << text;
  }
}

}  // namespace
}  // namespace pixembed
