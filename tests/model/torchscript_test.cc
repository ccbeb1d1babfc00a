#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/api/module.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
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

// [N, 3, 16, 16] -> four tokens of three numbers, or one vector of three.
constexpr char kTokens[] = "x.reshape([x.size(0), 3, 4, 64]).mean(3).transpose(1, 2)";
constexpr char kVector[] = "x.mean(3).mean(2)";

// A directory whose config names a family that nobody knows, with `code` as model.pt.
struct ScriptedModel {
  std::string code;
  std::string config = R"({"model_type": "my-autoencoder"})";

  void Write(const std::filesystem::path& directory) const {
    WriteFile(directory / "config.json", config);
    WriteFile(directory / "preprocessor_config.json", TinyModel().processor);
    torch::jit::Module module("Encoder");
    module.register_parameter("weight", at::zeros({2, 5}), /*is_buffer=*/false);
    module.define(code);
    module.save((directory / "model.pt").string());
  }
};

std::string Forward(const std::string& result) {
  return "def forward(self, x: Tensor):\n  return " + result + "\n";
}

ModelOptions Trusting(ModelFormat format = ModelFormat::kAuto) {
  return {.format = format, .trust_model_code = true, .devices = {TestDevice()}};
}

absl::StatusOr<std::shared_ptr<const Model>> Load(const std::string& code) {
  const TemporaryDirectory directory;
  ScriptedModel{.code = code}.Write(directory.path());
  return LoadModel(directory.path(), Trusting());
}

std::shared_ptr<const Model> MustLoad(const std::string& code) {
  auto model = Load(code);
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

void ExpectRefused(const absl::StatusOr<std::shared_ptr<const Model>>& model, Reason reason,
                   const testing::Matcher<const std::string&>& text) {
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(ReasonOf(model.status()), reason) << model.status();
  EXPECT_THAT(std::string(model.status().message()), text);
}

std::vector<float> Embed(const Model& model, const Image& image, const OutputSpec& spec = {}) {
  const auto runner = model.NewRunner(TestDevice());
  EXPECT_TRUE(runner.ok()) << runner.status();
  const Image* const images[] = {&image, &image};
  const OutputSpec specs[] = {spec, spec};
  const auto embeddings = (*runner)->Embed(images, specs, /*threads=*/1);
  EXPECT_TRUE(embeddings.ok()) << embeddings.status();
  if (!embeddings.ok()) return {};
  std::vector<float> values(embeddings->at(1).values.size() / sizeof(float));
  std::memcpy(values.data(), embeddings->at(1).values.data(), embeddings->at(1).values.size());
  return values;
}

// The mean of each channel of `image`, normalized as the tiny model's processor says.
std::vector<float> ChannelMeans(const Image& image, const PreprocessSpec& spec) {
  std::vector<float> pixels(image.size_bytes());
  Normalize(image, spec, pixels);
  std::vector<float> means;
  const std::size_t area = pixels.size() / 3;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    double sum = 0.0;
    for (std::size_t i = 0; i < area; ++i) sum += pixels[channel * area + i];
    means.push_back(static_cast<float>(sum / static_cast<double>(area)));
  }
  return means;
}

constexpr float kMeanTolerance = 1e-5F;

// Whatever its forward returns, the mean over its tokens is the mean of the pixels.
class TorchScriptResults : public testing::TestWithParam<std::string> {};

TEST_P(TorchScriptResults, AreFoundWhereverTheHiddenStateLies) {
  const auto model = MustLoad(GetParam());
  ASSERT_NE(model, nullptr);
  const Image image = NoiseImage({16, 16}, 7);
  EXPECT_THAT(Embed(*model, image),
              testing::Pointwise(testing::FloatNear(kMeanTolerance),
                                 ChannelMeans(image, model->info().preprocess)));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, TorchScriptResults,
    testing::Values(Forward(kTokens), Forward(kVector),
                    Forward(std::string("{'pooler_output': x, 'last_hidden_state': ") + kTokens +
                            "}"),
                    Forward(std::string("(") + kTokens + ", x)"),
                    Forward(std::string("(") + kVector + ",)")));

TEST(TorchScript, SaysWhatTheModelIs) {
  const auto model = MustLoad(Forward(kTokens));
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->info().model_type, "my-autoencoder");
  EXPECT_EQ(model->info().tokens, 4);
  EXPECT_EQ(model->info().dimension, 3);
  EXPECT_EQ(model->info().parameters, 10);
  EXPECT_FALSE(model->info().has_cls);
  EXPECT_THAT(model->info().kernels, HasSubstr("TorchScript"));
  EXPECT_EQ(MustLoad(Forward(kVector))->info().tokens, 1);
}

TEST(TorchScript, PoolingsOfOneVectorAreTheVectorAndClsIsRefused) {
  const auto model = MustLoad(Forward(kVector));
  ASSERT_NE(model, nullptr);
  const Image image = NoiseImage({16, 16}, 3);
  EXPECT_EQ(Embed(*model, image), Embed(*model, image, {.pooling = Pooling::kMax}));
  EXPECT_EQ(ReasonOf(model->CheckOutput({.pooling = Pooling::kCls})), Reason::kInvalidOption);
}

TEST(TorchScript, AProcessorOfImagesOfManySizesIsRefused) {
  const TemporaryDirectory directory;
  ScriptedModel{.code = Forward(kTokens)}.Write(directory.path());
  WriteFile(directory.path() / "preprocessor_config.json",
            R"({"image_processor_type": "Siglip2ImageProcessor"})");
  ExpectRefused(LoadModel(directory.path(), Trusting()), Reason::kUnsupportedProcessor,
                HasSubstr("Siglip2ImageProcessor makes patches of images of many"));
}

TEST(TorchScript, LoadsOnlyUnderTrust) {
  const TemporaryDirectory directory;
  ScriptedModel{.code = Forward(kTokens)}.Write(directory.path());
  ExpectRefused(LoadModel(directory.path(), {}), Reason::kUntrustedCode,
                AllOf(HasSubstr("model.pt"), HasSubstr("--trust_model_code")));
}

TEST(TorchScript, SafetensorsWinUnlessTheFormatSaysOtherwise) {
  const TemporaryDirectory directory;
  const TinyModel tiny;
  ScriptedModel{.code = Forward(kTokens), .config = tiny.config}.Write(directory.path());
  tiny.Write(directory.path());
  const auto weights = LoadModel(directory.path(), {.devices = {TestDevice()}});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ((*weights)->info().dimension, 8);
  const auto program = LoadModel(directory.path(), Trusting(ModelFormat::kTorchScript));
  ASSERT_TRUE(program.ok()) << program.status();
  EXPECT_EQ((*program)->info().dimension, 3);
  ExpectRefused(LoadModel(directory.path(), Trusting(ModelFormat::kAotInductor)),
                Reason::kCheckpointMissing, HasSubstr("model.pt2"));
}

TEST(TorchScript, ResultsWithoutAHiddenStateAreRefusedInWords) {
  ExpectRefused(Load(Forward("{'features': x}")), Reason::kUnsupportedModel,
                AllOf(HasSubstr("dict"), HasSubstr("last_hidden_state")));
  ExpectRefused(Load(Forward("[x]")), Reason::kUnsupportedModel, HasSubstr("Tensor is needed"));
  ExpectRefused(Load(Forward("x")), Reason::kTensorShape, HasSubstr("[1, 3, 16, 16]"));
  ExpectRefused(Load("def encode(self, x: Tensor):\n  return x\n"), Reason::kUnsupportedModel,
                HasSubstr("forward"));
  ExpectRefused(Load("def forward(self, x: Tensor, y: Tensor):\n  return x\n"),
                Reason::kUnsupportedModel, HasSubstr("'y'"));
}

TEST(TorchScript, ATruncatedFileIsCorruptWhereverItEnds) {
  const TemporaryDirectory directory;
  ScriptedModel{.code = Forward(kTokens)}.Write(directory.path());
  std::ifstream file(directory.path() / "model.pt", std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(file)), {});
  for (std::size_t size = 0; size < whole.size(); size += whole.size() / 13) {
    WriteFile(directory.path() / "model.pt", whole.substr(0, size));
    ExpectRefused(LoadModel(directory.path(), Trusting()), Reason::kCheckpointCorrupt,
                  HasSubstr("model.pt"));
  }
}

TEST(TorchScript, TheFingerprintHoldsCodeAndWeights) {
  const std::string fingerprint =
      MustLoad(Forward(kTokens))->Fingerprint({.pooling = Pooling::kMean});
  const TemporaryDirectory directory;
  ScriptedModel{.code = Forward(std::string(kTokens) + " * 2")}.Write(directory.path());
  const auto twice = LoadModel(directory.path(), Trusting());
  ASSERT_TRUE(twice.ok()) << twice.status();
  EXPECT_NE((*twice)->Fingerprint({.pooling = Pooling::kMean}), fingerprint);
  const auto again = LoadModel(directory.path(), Trusting());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->Fingerprint({.pooling = Pooling::kMean}),
            (*twice)->Fingerprint({.pooling = Pooling::kMean}));
}

TEST(TorchScript, RunnersOfTwoThreadsWorkAtTheSameTime) {
  const auto model = MustLoad(Forward(kTokens));
  ASSERT_NE(model, nullptr);
  const Image image = NoiseImage({16, 16}, 5);
  std::vector<std::vector<float>> results(2);
  {
    std::vector<std::jthread> threads;
    threads.reserve(results.size());
    for (std::vector<float>& result : results) {
      threads.emplace_back([&] {
        for (int i = 0; i < 20; ++i) result = Embed(*model, image);
      });
    }
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0].size(), 3U);
}

}  // namespace
}  // namespace pixembed
