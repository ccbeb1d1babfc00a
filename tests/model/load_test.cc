#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "tests/checkpoint/safetensors_bytes.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/model/test_device.h"
#include "tests/model/tiny_model.h"

namespace pixembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// What one image may change in another's vector, or another number of threads in the sums.
constexpr float kNeighbourTolerance = 1e-5F;

absl::StatusOr<std::shared_ptr<const Model>> Load(const TinyModel& tiny) {
  const TemporaryDirectory directory;
  tiny.Write(directory.path());
  return LoadModel(directory.path(), {.devices = {TestDevice()}});
}

std::shared_ptr<const Model> MustLoad(const TinyModel& tiny) {
  auto model = Load(tiny);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

void ExpectRefused(const TinyModel& tiny, Reason reason,
                   const testing::Matcher<const std::string&>& text) {
  const auto model = Load(tiny);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(ReasonOf(model.status()), reason) << model.status();
  EXPECT_THAT(std::string(model.status().message()), text);
}

std::vector<Embedding> Embed(Runner& runner, std::span<const Image> images, const OutputSpec& spec,
                             int threads = 1) {
  std::vector<const Image*> pointers;
  for (const Image& image : images) pointers.push_back(&image);
  const std::vector<OutputSpec> specs(images.size(), spec);
  auto embeddings = runner.Embed(pointers, specs, threads);
  EXPECT_TRUE(embeddings.ok()) << embeddings.status();
  return embeddings.ok() ? *std::move(embeddings) : std::vector<Embedding>(images.size());
}

std::vector<float> Floats(const Embedding& embedding) {
  std::vector<float> values(embedding.values.size() / sizeof(float));
  std::memcpy(values.data(), embedding.values.data(), values.size() * sizeof(float));
  return values;
}

std::vector<Image> SomeImages(std::size_t count) {
  std::vector<Image> images;
  images.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    images.push_back(NoiseImage({16, 16}, static_cast<std::uint32_t>(i + 1)));
  }
  return images;
}

TEST(LoadModel, SaysWhatTheModelIs) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  const ModelInfo& info = model->info();
  EXPECT_EQ(info.model_type, "vit");
  EXPECT_EQ(info.processor_type, "ViTImageProcessor");
  EXPECT_EQ(info.input, (Size{16, 16}));
  EXPECT_EQ(info.tokens, 5);
  EXPECT_EQ(info.dimension, 8);
  EXPECT_TRUE(info.has_cls);
  EXPECT_EQ(info.parameters, 2208);
  EXPECT_EQ(info.precision, Precision::kFloat32);
  EXPECT_THAT(info.kernels, HasSubstr(DeviceName(TestDevice())));
  EXPECT_THAT(model->devices(), testing::ElementsAre(TestDevice()));
}

TEST(LoadModel, AMissingTensorIsNamedWithItsShape) {
  TinyModel tiny;
  tiny.tensors.erase("encoder.layer.0.attention.attention.key.weight");
  ExpectRefused(tiny, Reason::kTensorMissing,
                StartsWith("model.safetensors lacks the tensor "
                           "encoder.layer.0.attention.attention.key.weight of shape [8, 8]"));
}

TEST(LoadModel, AMisshapenTensorIsNamedWithBothShapes) {
  TinyModel tiny;
  tiny.tensors["encoder.layer.0.output.dense.weight"] = {16, 8};
  ExpectRefused(tiny, Reason::kTensorShape,
                StartsWith("model.safetensors: the tensor encoder.layer.0.output.dense.weight has "
                           "shape [16, 8], config.json asks for [8, 16]"));
}

TEST(LoadModel, ASizeThatTheModelRefusesIsFoundAtLoad) {
  TinyModel tiny;
  tiny.processor =
      R"({"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 16}})";
  ExpectRefused(tiny, Reason::kUnsupportedProcessor, AllOf(HasSubstr("24x16"), HasSubstr("16x16")));
}

TEST(LoadModel, AProcessorWithoutAFixedSizeIsRefused) {
  TinyModel tiny;
  tiny.processor = R"({"image_processor_type": "CLIPImageProcessor", "do_center_crop": false,
                       "size": {"shortest_edge": 16}})";
  ExpectRefused(tiny, Reason::kUnsupportedProcessor, HasSubstr("depends on the image"));
}

// The smallest SigLIP 2: 8 wide, one block of two heads, 4 x 4 positions, patches of 2.
TinyModel TinyNaflex() {
  TinyModel tiny;
  tiny.config =
      R"({"model_type": "siglip2_vision_model", "hidden_size": 8, "num_hidden_layers": 1,
          "num_attention_heads": 2, "intermediate_size": 16, "patch_size": 2, "num_patches": 16})";
  tiny.processor = R"({"image_processor_type": "Siglip2ImageProcessor", "patch_size": 2,
                       "max_num_patches": 10})";
  tiny.tensors = {{"embeddings.patch_embedding.weight", {8, 12}},
                  {"embeddings.patch_embedding.bias", {8}},
                  {"embeddings.position_embedding.weight", {16, 8}},
                  {"post_layernorm.weight", {8}},
                  {"post_layernorm.bias", {8}}};
  const std::string layer = "encoder.layers.0.";
  for (const char* const name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
    tiny.tensors[absl::StrCat(layer, "self_attn.", name, ".weight")] = {8, 8};
    tiny.tensors[absl::StrCat(layer, "self_attn.", name, ".bias")] = {8};
  }
  for (const char* const name : {"layer_norm1", "layer_norm2"}) {
    tiny.tensors[absl::StrCat(layer, name, ".weight")] = {8};
    tiny.tensors[absl::StrCat(layer, name, ".bias")] = {8};
  }
  tiny.tensors[layer + "mlp.fc1.weight"] = {16, 8};
  tiny.tensors[layer + "mlp.fc1.bias"] = {16};
  tiny.tensors[layer + "mlp.fc2.weight"] = {8, 16};
  tiny.tensors[layer + "mlp.fc2.bias"] = {8};
  return tiny;
}

TEST(LoadModel, SaysWhatBoundsImagesOfManySizes) {
  const auto model = MustLoad(TinyNaflex());
  ASSERT_NE(model, nullptr);
  const ModelInfo& info = model->info();
  EXPECT_EQ(info.max_patches, 10);
  EXPECT_EQ(info.tokens, 10);
  EXPECT_EQ(info.input, (Size{6, 6}));
  EXPECT_TRUE(model->CheckOutput({.pooling = Pooling::kMaskedMean}).ok());
  const absl::Status cls = model->CheckOutput({.pooling = Pooling::kCls});
  EXPECT_EQ(ReasonOf(cls), Reason::kInvalidOption);
  EXPECT_THAT(std::string(cls.message()), HasSubstr("mean, masked_mean and max are possible"));
  const absl::Status masked = MustLoad({})->CheckOutput({.pooling = Pooling::kMaskedMean});
  EXPECT_EQ(ReasonOf(masked), Reason::kInvalidOption);
  EXPECT_THAT(std::string(masked.message()), AllOf(HasSubstr("pooling is masked_mean"),
                                                   HasSubstr("mean, cls and max are possible")));
}

TEST(LoadModel, AFamilyAndAProcessorThatDoNotGoTogetherAreRefused) {
  TinyModel vit;
  vit.processor = TinyNaflex().processor;
  ExpectRefused(vit, Reason::kUnsupportedProcessor,
                AllOf(HasSubstr("Siglip2ImageProcessor makes patches of images of many sizes"),
                      HasSubstr("\"vit\"")));
  TinyModel naflex = TinyNaflex();
  naflex.processor = TinyModel().processor;
  ExpectRefused(naflex, Reason::kUnsupportedProcessor,
                AllOf(HasSubstr("ViTImageProcessor makes images of one size"),
                      HasSubstr("many sizes (max_num_patches)")));
  naflex.processor =
      R"({"image_processor_type": "Siglip2ImageProcessor", "patch_size": 4, "max_num_patches": 9})";
  ExpectRefused(naflex, Reason::kUnsupportedProcessor,
                AllOf(HasSubstr("patch_size is 4"), HasSubstr("the model's is 2")));
  naflex = TinyNaflex();
  naflex.config = absl::StrReplaceAll(naflex.config, {{"16}", "18}"}});
  ExpectRefused(naflex, Reason::kUnsupportedModel,
                AllOf(HasSubstr("num_patches 18"), HasSubstr("16"), HasSubstr("25")));
}

TEST(LoadModel, AnUnknownFamilyIsRefusedWithTheListOfKnownOnes) {
  TinyModel tiny;
  tiny.config = R"({"model_type": "levit"})";
  ExpectRefused(tiny, Reason::kUnsupportedModel,
                AllOf(HasSubstr("levit"), HasSubstr("dinov2"), HasSubstr("siglip")));
}

TEST(LoadModel, AFamilyOfMapsIsRefusedWithTheReasonWhateverItsProcessorGives) {
  TinyModel tiny;
  tiny.processor = R"({"size": {"shortest_edge": 224}})";
  for (const std::string_view family : {"resnet", "convnext", "convnextv2", "regnet"}) {
    tiny.config = absl::StrCat(R"({"model_type": ")", std::string(family), "\"}");
    ExpectRefused(tiny, Reason::kUnsupportedModel,
                  AllOf(HasSubstr(std::string(family)), HasSubstr("[N, channels, height, width]"),
                        HasSubstr("no embedding")));
  }
}

TEST(LoadModel, AConvolutionalNetworkOfTokensIsRefusedWithTheReason) {
  TinyModel tiny;
  tiny.config = R"({"model_type": "dinov3_convnext"})";
  ExpectRefused(tiny, Reason::kUnsupportedModel,
                AllOf(HasSubstr("dinov3_convnext"), HasSubstr("convolutional")));
}

std::string TimmConfig(std::string_view keys) {
  return absl::StrCat(R"({"num_classes": 0, "pretrained_cfg": {"input_size": [3, 32, 32]}, )",
                      std::string(keys), "}");
}

TEST(LoadModel, AnArchitectureOfTimmsThatIsNoPlainTransformerIsRefusedByItsName) {
  TinyModel tiny;
  for (const std::string_view name :
       {"resnet50", "swin_tiny_patch4_window7_224", "vit_base_patch16_18x2_224",
        "vit_base_patch16_224.augreg_in21k", ""}) {
    tiny.config = TimmConfig(absl::StrCat(R"("architecture": ")", std::string(name), "\""));
    ExpectRefused(tiny, Reason::kUnsupportedModel,
                  AllOf(HasSubstr(absl::StrCat("architecture \"", std::string(name), "\"")),
                        HasSubstr("149 plain vision transformers")));
  }
}

TEST(LoadModel, WhatATimmModelIsMadeWithIsHeeded) {
  TinyModel tiny;
  tiny.config = TimmConfig(
      R"("architecture": "vit_tiny_patch16_224", "model_args": {"depth": 2, "features_only": true})");
  ExpectRefused(tiny, Reason::kUnsupportedModel, HasSubstr("model_args.features_only = true"));
  tiny.config = TimmConfig(R"("architecture": "vit_tiny_patch16_224")");
  ExpectRefused(tiny, Reason::kUnsupportedProcessor,
                AllOf(HasSubstr("32x32"), HasSubstr("224x224")));
  tiny.config = TimmConfig(
      R"("architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 32, "num_heads": 5})");
  ExpectRefused(tiny, Reason::kUnsupportedModel, AllOf(HasSubstr("192"), HasSubstr("5")));
  tiny.config =
      TimmConfig(R"("architecture": "vit_tiny_patch16_224", "model_args": {"img_size": 32})");
  ExpectRefused(tiny, Reason::kTensorMissing, HasSubstr("timm_model.patch_embed.proj.weight"));
  tiny.config =
      R"({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"input_size": [3, 32, 32]}})";
  ExpectRefused(tiny, Reason::kCheckpointCorrupt, HasSubstr("num_classes"));
}

TEST(LoadModel, AHieraWhoseTensorsDoNotFitEachOtherIsRefusedWithBothNumbers) {
  TinyModel tiny;
  tiny.processor = R"({"image_processor_type": "BitImageProcessor", "crop_size": 64})";
  const auto refuse = [&](std::string_view keys, const auto& text) {
    tiny.config =
        absl::StrCat(R"({"model_type": "hiera", "image_size": [64, 64], )", std::string(keys), "}");
    ExpectRefused(tiny, Reason::kUnsupportedModel, text);
  };
  refuse(R"("num_heads": [1, 2])", AllOf(HasSubstr("num_heads has 2"), HasSubstr("depths has 4")));
  refuse(R"("num_query_pool": 4)", AllOf(HasSubstr("num_query_pool is 4"), HasSubstr("has 4")));
  refuse(R"("num_heads": [1, 5, 4, 8])", AllOf(HasSubstr("192"), HasSubstr("num_heads 5")));
  refuse(R"("masked_unit_size": [6, 8])", AllOf(HasSubstr("256 tokens"), HasSubstr("48")));
  refuse(R"("patch_padding": [0, 0])", AllOf(HasSubstr("16x16"), HasSubstr("15x15")));
  refuse(R"("embed_dim_multiplier": 1.0, "num_heads": [1, 1, 1, 1])", HasSubstr("growing wider"));
}

TEST(LoadModel, AMaskedAutoencoderThatDropsPatchesByChanceIsRefusedAndOneThatKeepsAllIsNot) {
  TinyModel tiny;
  tiny.config.replace(tiny.config.find("\"vit\""), 5, "\"vit_mae\"");
  ExpectRefused(tiny, Reason::kUnsupportedModel,
                AllOf(HasSubstr("mask_ratio is 0.75"), HasSubstr("by chance")));
  tiny.config.replace(tiny.config.rfind('}'), 1, R"(, "mask_ratio": 0})");
  EXPECT_NE(MustLoad(tiny), nullptr);
}

TEST(LoadModel, ABiasOfMorePairsOfTokensThanMemoryShouldHoldIsRefusedWithBothNumbers) {
  TinyModel tiny;
  tiny.config = R"({"model_type": "beit", "hidden_size": 8, "num_hidden_layers": 1,
                    "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
                    "use_relative_position_bias": true})";
  tiny.processor =
      R"({"image_processor_type": "BeitImageProcessor", "size": {"height": 520, "width": 520}})";
  ExpectRefused(tiny, Reason::kUnsupportedModel, AllOf(HasSubstr("4226"), HasSubstr("4097")));
}

TEST(LoadModel, HeadsThatTwoAxesCannotTurnAreRefused) {
  TinyModel tiny;
  tiny.config = R"({"model_type": "dinov3_vit", "hidden_size": 12, "num_attention_heads": 2})";
  tiny.processor = R"({"image_processor_type": "DINOv3ViTImageProcessor"})";
  ExpectRefused(tiny, Reason::kUnsupportedModel,
                AllOf(HasSubstr("is 6"), HasSubstr("multiple of 4")));
}

TEST(LoadModel, AnUnknownActivationIsRefused) {
  TinyModel tiny;
  tiny.config.replace(tiny.config.rfind('}'), 1, R"(, "hidden_act": "mish"})");
  ExpectRefused(tiny, Reason::kUnsupportedModel, HasSubstr("mish"));
}

TEST(LoadModel, WhatTheConfigSaysIsPrintableInErrors) {
  TinyModel tiny;
  tiny.config.replace(tiny.config.rfind('}'), 1, R"(, "hidden_act": "\u001b[2J\nx"})");
  ExpectRefused(tiny, Reason::kUnsupportedModel, HasSubstr(R"("\x1b[2J\nx" is not)"));
  tiny.config = R"({"model_type": "\u001b[2J\nx"})";
  tiny.processor = R"({"image_processor_type": "ViTImageProcessor"})";
  ExpectRefused(tiny, Reason::kUnsupportedModel, HasSubstr(R"("\x1b[2J\nx" is not)"));
}

TEST(LoadModel, WidthsThatHeadsDoNotDivideAreRefusedWithBothNumbers) {
  TinyModel tiny;
  tiny.config.replace(tiny.config.find("\"num_attention_heads\": 2"), 24,
                      "\"num_attention_heads\": 3");
  ExpectRefused(tiny, Reason::kUnsupportedModel, AllOf(HasSubstr("8"), HasSubstr("3")));
}

TEST(LoadModel, OtherThanThreeChannelsAreRefused) {
  TinyModel tiny;
  tiny.config.replace(tiny.config.rfind('}'), 1, R"(, "num_channels": 1})");
  ExpectRefused(tiny, Reason::kUnsupportedModel, HasSubstr("num_channels"));
}

TEST(LoadModel, HostileNumbersAreRefusedBeforeAnythingIsAllocated) {
  TinyModel tiny;
  tiny.config = R"({"model_type": "vit", "hidden_size": 1000000000000})";
  ExpectRefused(tiny, Reason::kCheckpointCorrupt, HasSubstr("hidden_size"));
}

TEST(LoadModel, AMissingDirectoryIsMissing) {
  const auto model = LoadModel("/nonexistent/model", {});
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(ReasonOf(model.status()), Reason::kCheckpointMissing);
  EXPECT_THAT(std::string(model.status().message()), StartsWith("it does not exist"));
}

TEST(LoadModel, KeysOfAHeadModelGiveTheSameModel) {
  TinyModel head;
  head.tensors.clear();
  for (const auto& [name, shape] : TinyModel().tensors) head.tensors["vit." + name] = shape;
  head.tensors["vit.pooler.dense.weight"] = {8, 8};  // of no use here; ignored
  const auto with_prefix = MustLoad(head);
  const auto without = MustLoad({});
  ASSERT_NE(with_prefix, nullptr);
  ASSERT_NE(without, nullptr);
  EXPECT_EQ(with_prefix->info().parameters, without->info().parameters);
}

TEST(Model, AVectorDoesNotDependOnItsNeighbours) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  const auto runner = model->NewRunner(TestDevice());
  ASSERT_TRUE(runner.ok()) << runner.status();
  const std::vector<Image> images = SomeImages(9);
  const std::vector<Embedding> together = Embed(**runner, images, {});
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::vector<Embedding> alone = Embed(**runner, std::span(images).subspan(i, 1), {});
    EXPECT_THAT(Floats(alone[0]),
                testing::Pointwise(testing::FloatNear(kNeighbourTolerance), Floats(together[i])))
        << "image " << i;
  }
}

TEST(Model, OneThreadAndTwoGiveTheSameVectors) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  const auto runner = model->NewRunner(TestDevice());
  ASSERT_TRUE(runner.ok()) << runner.status();
  const std::vector<Image> images = SomeImages(4);
  const std::vector<Embedding> one = Embed(**runner, images, {}, /*threads=*/1);
  const std::vector<Embedding> two = Embed(**runner, images, {}, /*threads=*/2);
  for (std::size_t i = 0; i < images.size(); ++i) {
    EXPECT_THAT(Floats(two[i]),
                testing::Pointwise(testing::FloatNear(kNeighbourTolerance), Floats(one[i])));
  }
}

TEST(Model, RunnersOfTwoThreadsWorkAtTheSameTime) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  const std::vector<Image> images = SomeImages(4);
  std::vector<std::vector<Embedding>> results(2);
  {
    std::vector<std::jthread> threads;
    threads.reserve(results.size());
    for (std::vector<Embedding>& result : results) {
      threads.emplace_back([&] {
        const auto runner = model->NewRunner(TestDevice());
        ASSERT_TRUE(runner.ok()) << runner.status();
        for (int i = 0; i < 20; ++i) result = Embed(**runner, images, {});
      });
    }
  }
  for (std::size_t i = 0; i < images.size(); ++i) {
    EXPECT_THAT(Floats(results[1][i]),
                testing::Pointwise(testing::FloatNear(kNeighbourTolerance), Floats(results[0][i])));
  }
}

TEST(Model, EachImageOfABatchIsFinishedAsItAsks) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  const auto runner = model->NewRunner(TestDevice());
  ASSERT_TRUE(runner.ok()) << runner.status();
  const std::vector<Image> images = SomeImages(1);
  const std::vector<const Image*> batch(4, images.data());
  const std::vector<OutputSpec> specs = {
      {},
      {.pooling = Pooling::kMax},
      {.normalize = true, .dimensions = 3},
      {.pooling = Pooling::kCls, .data_type = DataType::kBinary},
  };
  const auto embeddings = (*runner)->Embed(batch, specs, 1);
  ASSERT_TRUE(embeddings.ok()) << embeddings.status();
  EXPECT_EQ((*embeddings)[0].dimensions, 8);
  EXPECT_NE(Floats((*embeddings)[0]), Floats((*embeddings)[1]));
  const std::vector<float> short_one = Floats((*embeddings)[2]);
  ASSERT_EQ(short_one.size(), 3U);
  double norm = 0.0;
  for (const float value : short_one) norm += double{value} * value;
  EXPECT_NEAR(norm, 1.0, 1e-6);
  EXPECT_EQ((*embeddings)[3].values.size(), 1U);
}

TEST(Model, RefusesOutputsThatItCannotGive) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  EXPECT_TRUE(model->CheckOutput({.dimensions = 8}).ok());
  for (const int dimensions : {-1, 9}) {
    const absl::Status status = model->CheckOutput({.dimensions = dimensions});
    EXPECT_EQ(ReasonOf(status), Reason::kInvalidOption);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(std::to_string(dimensions)), HasSubstr("8")));
  }
}

TEST(Model, LayersAreCheckedAgainstItsHiddenStates) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  const int count = model->info().hidden_states;
  EXPECT_TRUE(model->CheckOutput({.layers = {0, count - 1}}).ok());
  for (const std::vector<int>& layers : {std::vector<int>{count}, {-1}, {1, 1}, {1, 0}}) {
    const absl::Status status = model->CheckOutput({.layers = layers});
    EXPECT_EQ(ReasonOf(status), Reason::kInvalidOption);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::to_string(layers.back())));
  }
}

TEST(Model, RefusesARunnerOnADeviceThatItWasNotLoadedOn) {
  const auto model = MustLoad({});
  ASSERT_NE(model, nullptr);
  const auto runner = model->NewRunner({Device::Kind::kCuda, 3});
  ASSERT_FALSE(runner.ok());
  EXPECT_EQ(ReasonOf(runner.status()), Reason::kDeviceFailure);
  EXPECT_THAT(std::string(runner.status().message()), HasSubstr("cuda:3"));
}

TEST(Model, TheFingerprintNamesTheVectorSpace) {
  const TinyModel tiny;
  const auto model = MustLoad(tiny);
  ASSERT_NE(model, nullptr);
  const std::string fingerprint = model->Fingerprint({.pooling = Pooling::kMean});
  EXPECT_EQ(fingerprint.size(), 64U);
  EXPECT_EQ(fingerprint, MustLoad(tiny)->Fingerprint({.pooling = Pooling::kMean}));

  TinyModel other_weights = tiny;
  other_weights.seed = 2;
  TinyModel other_heads = tiny;
  other_heads.config.replace(other_heads.config.find("\"num_attention_heads\": 2"), 24,
                             "\"num_attention_heads\": 4");
  TinyModel other_processor = tiny;
  other_processor.processor.replace(other_processor.processor.rfind('}'), 1,
                                    R"(, "image_mean": [0.4, 0.5, 0.5]})");
  std::set<std::string> fingerprints = {
      fingerprint,
      model->Fingerprint({.pooling = Pooling::kCls}),
      model->Fingerprint({.pooling = Pooling::kMax}),
      model->Fingerprint({.layers = {0}}),
      MustLoad(other_weights)->Fingerprint({.pooling = Pooling::kMean}),
      MustLoad(other_heads)->Fingerprint({.pooling = Pooling::kMean}),
      MustLoad(other_processor)->Fingerprint({.pooling = Pooling::kMean}),
  };
  EXPECT_EQ(fingerprints.size(), 7U);

  const TemporaryDirectory directory;
  tiny.Write(directory.path());
  const auto pil = LoadModel(directory.path(), {.backend = Backend::kPil});
  ASSERT_TRUE(pil.ok()) << pil.status();
  EXPECT_TRUE(fingerprints.insert((*pil)->Fingerprint({.pooling = Pooling::kMean})).second);
}

// A Swin of one stage; what is refused is refused before a tensor is read.
TinyModel Swin(std::string_view model_type, std::string_view changes) {
  TinyModel tiny;
  tiny.config = absl::StrCat(R"({"model_type": ")", std::string(model_type),
                             R"(", "image_size": 16, "patch_size": 4, "embed_dim": 8, "depths": [2],
                                 "num_heads": [2], "window_size": 2)",
                             std::string(changes), "}");
  return tiny;
}

TEST(LoadModel, RefusesAWindowThatTheReferenceHasNoBiasFor) {
  ExpectRefused(Swin("swin", R"(, "window_size": 5)"), Reason::kUnsupportedModel,
                AllOf(HasSubstr("4x4"), HasSubstr("window_size 5")));
}

TEST(LoadModel, RefusesStagesThatAreNotDescribed) {
  ExpectRefused(Swin("swin", R"(, "depths": [2, 2])"), Reason::kCheckpointCorrupt,
                AllOf(HasSubstr("num_heads has 1"), HasSubstr("depths has 2")));
  ExpectRefused(Swin("swin", R"(, "depths": [])"), Reason::kUnsupportedModel,
                HasSubstr("depths has 0"));
  ExpectRefused(Swin("swin", R"(, "depths": [1.5])"), Reason::kCheckpointCorrupt,
                AllOf(HasSubstr("depths"), HasSubstr("1.5")));
}

TEST(LoadModel, RefusesPositionsThatDoNotFitTheImages) {
  ExpectRefused(Swin("swin", R"(, "image_size": 32, "use_absolute_embeddings": true)"),
                Reason::kUnsupportedProcessor, AllOf(HasSubstr("16 patches"), HasSubstr("64")));
  ExpectRefused(
      Swin("swinv2", R"(, "pretrained_window_sizes": [0], "use_absolute_embeddings": true)"),
      Reason::kUnsupportedModel, HasSubstr("use_absolute_embeddings"));
}

TEST(LoadModel, RefusesAPretrainedWindowThatDividesByZero) {
  ExpectRefused(Swin("swinv2", R"(, "pretrained_window_sizes": [1])"), Reason::kUnsupportedModel,
                HasSubstr("pretrained_window_sizes"));
}

}  // namespace
}  // namespace pixembed
