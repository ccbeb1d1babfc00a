#include "src/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/checkpoint/safetensors_bytes.h"
#include "tests/checkpoint/status_matchers.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

class OpenCheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Write("config.json", R"({"model_type":"vit","hidden_size":32})");
    Write("preprocessor_config.json", R"({"image_processor_type":"ViTImageProcessor","size":64})");
    Write("model.safetensors", Tensor("a"));
  }
  static std::string Tensor(std::string_view name) {
    return SafetensorsBytes(
        R"({")" + std::string(name) + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x");
  }
  void Write(std::string_view name, std::string_view text) const {
    WriteFile(directory_.path() / name, text);
  }
  void Remove(std::string_view name) const { std::filesystem::remove(directory_.path() / name); }
  absl::StatusOr<Checkpoint> Open() const {
    return OpenCheckpoint(directory_.path(), CheckpointOptions{});
  }
  TemporaryDirectory directory_;
};

TEST_F(OpenCheckpointTest, ReadsADirectory) {
  const auto checkpoint = Open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->directory, directory_.path());
  EXPECT_EQ(checkpoint->model_type, "vit");
  EXPECT_EQ(*checkpoint->config.Int("hidden_size", 0, 1, 99), 32);
  EXPECT_EQ(checkpoint->processor.type, "ViTImageProcessor");
  EXPECT_EQ(checkpoint->processor.spec.resize->exact, (Size{64, 64}));
  EXPECT_NE(checkpoint->weights.Find("a"), nullptr);
}

TEST_F(OpenCheckpointTest, TheBackendIsTheOneAskedFor) {
  const auto checkpoint =
      OpenCheckpoint(directory_.path(), CheckpointOptions{.backend = Backend::kPil});
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->processor.spec.backend, Backend::kPil);
}

TEST_F(OpenCheckpointTest, ReadsShardsWhereThereIsNoSingleFile) {
  Remove("model.safetensors");
  Write("model-1.safetensors", Tensor("a"));
  Write("model-2.safetensors", Tensor("b"));
  Write("model.safetensors.index.json",
        R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  const auto checkpoint = Open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_THAT(checkpoint->weights.tensors(), SizeIs(2));
}

TEST_F(OpenCheckpointTest, FollowsLinksAsTheHubCacheMakesThem) {
  const TemporaryDirectory blobs;
  WriteFile(blobs.path() / "blob", Tensor("linked"));
  Remove("model.safetensors");
  std::filesystem::create_symlink(blobs.path() / "blob", directory_.path() / "model.safetensors");
  const auto checkpoint = Open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_NE(checkpoint->weights.Find("linked"), nullptr);
}

TEST_F(OpenCheckpointTest, AnImageProcessorInProcessorConfigWins) {
  Write("processor_config.json",
        R"({"image_processor":{"image_processor_type":"CLIPImageProcessor","size":48}})");
  EXPECT_EQ(Open()->processor.type, "CLIPImageProcessor");
  Remove("preprocessor_config.json");
  EXPECT_EQ(Open()->processor.spec.resize->shortest_edge, 48);
  Write("processor_config.json", R"({"image_processor":{"image_processor_type":"X"}})");
  EXPECT_THAT(Open(), IsUnsupported(HasSubstr(
                          "processor_config.json: image_processor.image_processor_type = \"X\"")));
}

TEST_F(OpenCheckpointTest, AProcessorConfigWithoutAnImageProcessorIsPassedOver) {
  for (const std::string_view text :
       {R"({"processor_class":"X"})", R"({"image_processor":null})"}) {
    Write("processor_config.json", text);
    EXPECT_EQ(Open()->processor.type, "ViTImageProcessor");
  }
}

TEST_F(OpenCheckpointTest, TimmsOwnFileNamesNoModelTypeAndHoldsTheProcessor) {
  Remove("preprocessor_config.json");
  for (const std::string_view model_type : {"", R"("model_type":"timm_wrapper",)"}) {
    Write("config.json", "{" + std::string(model_type) +
                             R"("architecture":"x","pretrained_cfg":{"input_size":[3,48,64]}})");
    const auto checkpoint = Open();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->model_type, "timm_wrapper");
    EXPECT_EQ(checkpoint->processor.type, "TimmWrapperImageProcessor");
    EXPECT_EQ(checkpoint->processor.spec.crop, (Size{48, 64}));
    EXPECT_EQ(checkpoint->processor.spec.backend, Backend::kPil);
  }
  // Not looked at.
  Write("preprocessor_config.json", R"({"image_processor_type":"X"})");
  EXPECT_TRUE(Open().ok()) << Open().status();
  Write("processor_config.json",
        R"({"image_processor":{"pretrained_cfg":{"input_size":[3,32,32]}}})");
  EXPECT_EQ(Open()->processor.spec.crop, (Size{32, 32}));
}

TEST_F(OpenCheckpointTest, ADirectoryThatIsTimmsByHalfIsRefused) {
  Write("config.json", R"({"model_type":"timm_wrapper","architecture":"x"})");
  EXPECT_THAT(Open(), IsCorrupt(HasSubstr("pretrained_cfg")));
  Write("config.json", R"({"model_type":"vit","pretrained_cfg":{"input_size":[3,32,32]}})");
  EXPECT_THAT(Open(), IsUnsupported(AllOf(HasSubstr("\"vit\""), HasSubstr("timm_wrapper"))));
  Write("config.json", R"({"model_type":null,"pretrained_cfg":{"input_size":[3,32,32]}})");
  EXPECT_THAT(Open(), IsCorrupt(HasSubstr("model_type")));
}

constexpr char kWanted[] =
    "; wanted is a model directory as Hugging Face's save_pretrained writes it, with config.json, "
    "preprocessor_config.json and model.safetensors";

TEST_F(OpenCheckpointTest, WhatIsNoModelDirectoryIsMissingAndWhatIsWantedIsSaid) {
  EXPECT_THAT(OpenCheckpoint(directory_.path() / "none", CheckpointOptions{}),
              IsMissing(absl::StrCat("it does not exist, and nothing is downloaded", kWanted)));
  EXPECT_THAT(OpenCheckpoint("", CheckpointOptions{}), IsMissing(StartsWith("it does not exist")));
  EXPECT_THAT(OpenCheckpoint(directory_.path() / "config.json", CheckpointOptions{}),
              IsMissing(absl::StrCat("it is a file, not a directory", kWanted)));
  Remove("config.json");
  EXPECT_THAT(Open(), IsMissing(absl::StrCat("config.json does not exist", kWanted)));
}

TEST_F(OpenCheckpointTest, ADirectoryThatCannotBeReadSaysWhy) {
  const auto loop = directory_.path() / "loop";
  std::filesystem::create_symlink(loop, loop);
  EXPECT_THAT(OpenCheckpoint(loop, CheckpointOptions{}),
              IsMissing("it cannot be read: Too many levels of symbolic links"));
}

TEST_F(OpenCheckpointTest, AFileThatCannotBeReadIsNotTakenForAbsent) {
  for (const char* const name :
       {"model.safetensors", "preprocessor_config.json", "processor_config.json", "config.json"}) {
    Remove(name);
    std::filesystem::create_symlink(name, directory_.path() / name);
    EXPECT_THAT(Open(), IsMissing(absl::StrCat(
                            name, " cannot be read: Too many levels of symbolic links")));
  }
}

TEST_F(OpenCheckpointTest, EveryMissingFileIsNamed) {
  Remove("model.safetensors");
  EXPECT_THAT(Open(), IsMissing("it holds neither model.safetensors nor "
                                "model.safetensors.index.json: copy the model's weights there"));
  Remove("preprocessor_config.json");
  EXPECT_THAT(Open(), IsMissing(StartsWith("preprocessor_config.json does not exist, and no "
                                           "processor_config.json with an \"image_processor\"")));
}

TEST_F(OpenCheckpointTest, PickleIsNeverReadAndTheWayOutIsSaid) {
  for (const char* const name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    Remove("model.safetensors");
    Remove("pytorch_model.bin");
    Write(name, "\x80\x02");
    EXPECT_THAT(Open(),
                IsMissing(AllOf(HasSubstr(absl::StrCat("only ", name, ": pickle")),
                                HasSubstr("pickle is never read"), HasSubstr("save_pretrained"))));
  }
  Write("model.safetensors", Tensor("a"));
  EXPECT_TRUE(Open().ok());
}

TEST_F(OpenCheckpointTest, AFamilyMustBeNamed) {
  for (const std::string_view text :
       {"{}", R"({"model_type":null})", R"({"model_type":""})", R"({"model_type":7})"}) {
    Write("config.json", text);
    EXPECT_THAT(Open(), IsCorrupt(AllOf(HasSubstr("config.json"), HasSubstr("model_type"))));
  }
}

TEST_F(OpenCheckpointTest, BrokenFilesAreNamed) {
  Write("config.json", R"({"model_type":"vit","layer_norm_eps":NaN})");
  EXPECT_THAT(Open(), IsCorrupt(AllOf(StartsWith("config.json: "), HasSubstr("layer_norm_eps"),
                                      HasSubstr("NaN"))));
  SetUp();
  Write("preprocessor_config.json", "");
  EXPECT_THAT(Open(), IsCorrupt(StartsWith("preprocessor_config.json: ")));
  SetUp();
  Write("processor_config.json", "[]");
  EXPECT_THAT(Open(), IsCorrupt(StartsWith("processor_config.json: ")));
  Remove("processor_config.json");
  Write("model.safetensors", "");
  EXPECT_THAT(Open(), IsCorrupt(StartsWith("model.safetensors: has 0 bytes")));
}

TEST_F(OpenCheckpointTest, AClassNamedOnlyInConfigJsonIsRefusedNotOverlooked) {
  Write("config.json", R"({"model_type":"vit","image_processor_type":"CLIPImageProcessor"})");
  EXPECT_EQ(Open()->processor.type, "ViTImageProcessor");  // the processor's own file wins
  Write("preprocessor_config.json", "{}");
  EXPECT_THAT(Open(),
              IsUnsupported(AllOf(HasSubstr("CLIPImageProcessor"), HasSubstr("move this key to"))));
}

}  // namespace
}  // namespace pixembed
