#include "src/launch/launch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "src/verify/verify.h"
#include "tests/checkpoint/safetensors_bytes.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/model/tiny_model.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

void NoLog(LogLevel /*level*/, const std::string& /*line*/) {}

std::size_t Count(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos;
       at = text.find(part, at + part.size())) {
    ++count;
  }
  return count;
}

void Replace(const std::filesystem::path& file, std::string_view from, std::string_view to) {
  std::ifstream in(file, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(in), {});
  WriteFile(file, absl::StrReplaceAll(text, {{absl::string_view(from.data(), from.size()),
                                              absl::string_view(to.data(), to.size())}}));
}

// A way in which a directory with a model is broken.
struct Damage {
  std::string name;
  std::function<void(const std::filesystem::path&)> change;
  Reason reason;
  std::string file;  // what the error names; "" for the directory itself
  std::string text;  // what it says
};

void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

class BrokenModelDirectory : public ::testing::TestWithParam<Damage> {};

TEST_P(BrokenModelDirectory, IsNamedOnceAndSoIsTheFile) {
  const TemporaryDirectory parent;
  const ModelSource source{.name = "m", .directory = parent.path() / "model"};
  std::filesystem::create_directory(source.directory);
  TinyModel().Write(source.directory);
  ASSERT_TRUE(LoadSource(source, {}, NoLog).ok());
  GetParam().change(source.directory);
  const absl::Status status = LoadSource(source, {}, NoLog).status();
  EXPECT_EQ(ReasonOf(status), GetParam().reason) << status;
  const std::string message(status.message());
  const std::string start =
      absl::StrCat("cannot load model m from ", source.directory.string(), ": ");
  EXPECT_THAT(message, AllOf(StartsWith(start), HasSubstr(GetParam().text)));
  EXPECT_EQ(Count(message, parent.path().string()), 1) << message;
  const std::string& file = GetParam().file;
  if (file.empty()) return;
  const std::string rest = message.substr(start.size());
  EXPECT_THAT(rest, StartsWith(file));
  EXPECT_EQ(Count(rest, file), 1) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Each, BrokenModelDirectory,
    ::testing::Values(
        Damage{"NoDirectory", [](const auto& d) { std::filesystem::remove_all(d); },
               Reason::kCheckpointMissing, "", "it does not exist, and nothing is downloaded; "},
        Damage{"AFile",
               [](const auto& d) {
                 std::filesystem::remove_all(d);
                 WriteFile(d, "x");
               },
               Reason::kCheckpointMissing, "", "it is a file, not a directory; wanted is"},
        Damage{"NoConfig", [](const auto& d) { std::filesystem::remove(d / "config.json"); },
               Reason::kCheckpointMissing, "config.json does not exist", "; wanted is"},
        Damage{"NoJson", [](const auto& d) { WriteFile(d / "config.json", "{\"model_type\": "); },
               Reason::kCheckpointCorrupt, "config.json",
               ": is not JSON: it ends too early, after 15 bytes; if the file is cut short, copy "
               "it again"},
        Damage{"UnknownFamily", [](const auto& d) { Replace(d / "config.json", "vit", "levit"); },
               Reason::kUnsupportedModel, "config.json", "is not implemented; these are: vit, "},
        Damage{"WrongValue",
               [](const auto& d) { Replace(d / "config.json", ": 16, \"image", ": 0, \"image"); },
               Reason::kCheckpointCorrupt, "config.json",
               "intermediate_size = 0 must be an integer from 1"},
        Damage{"NoProcessor",
               [](const auto& d) { std::filesystem::remove(d / "preprocessor_config.json"); },
               Reason::kCheckpointMissing, "preprocessor_config.json does not exist",
               "copy the model's own"},
        Damage{"UnknownProcessor",
               [](const auto& d) { Replace(d / "preprocessor_config.json", "ViT", "My"); },
               Reason::kUnsupportedProcessor, "preprocessor_config.json",
               "\"MyImageProcessor\" is not implemented"},
        Damage{"NoWeights", [](const auto& d) { std::filesystem::remove(d / "model.safetensors"); },
               Reason::kCheckpointMissing, "", "it holds neither model.safetensors nor"},
        Damage{"Pickle",
               [](const auto& d) {
                 std::filesystem::rename(d / "model.safetensors", d / "pytorch_model.bin");
               },
               Reason::kCheckpointMissing, "", "only pytorch_model.bin: pickle is never read"},
        Damage{"CutShort",
               [](const auto& d) { std::filesystem::resize_file(d / "model.safetensors", 4000); },
               Reason::kCheckpointCorrupt, "model.safetensors", "copy it again"},
        Damage{"NoTensor",
               [](const auto& d) {
                 TinyModel tiny;
                 tiny.tensors.erase("layernorm.weight");
                 tiny.Write(d);
               },
               Reason::kTensorMissing, "model.safetensors",
               " lacks the tensor layernorm.weight of shape [8], which config.json asks for; the "
               "two must be of one model"},
        Damage{
            "WrongShape",
            [](const auto& d) {
              TinyModel tiny;
              tiny.tensors["layernorm.weight"] = {9};
              tiny.Write(d);
            },
            Reason::kTensorShape, "model.safetensors",
            ": the tensor layernorm.weight has shape [9], config.json asks for [8]; the two must "
            "be of one model"},
        Damage{"NoShard",
               [](const auto& d) {
                 std::filesystem::remove(d / "model.safetensors");
                 WriteFile(d / "model.safetensors.index.json",
                           R"({"weight_map": {"layernorm.weight": "model-1.safetensors"}})");
               },
               Reason::kCheckpointMissing, "model.safetensors.index.json",
               "weight_map: model-1.safetensors does not exist"},
        Damage{
            "AProgram",
            [](const auto& d) { std::filesystem::rename(d / "model.safetensors", d / "model.pt"); },
            Reason::kUntrustedCode, "model.pt", "Give --trust_model_code"}),
    [](const auto& damage) { return damage.param.name; });

// What VerifySource says of a golden file whose bytes are `bytes`; "" for none.
std::string WhyNotVerified(const std::filesystem::path& directory, std::string_view bytes) {
  TinyModel().Write(directory);
  if (!bytes.empty()) WriteFile(directory / kGoldenFileName, bytes);
  const ModelSource source{.name = "m", .directory = directory};
  const absl::StatusOr<std::shared_ptr<const Model>> model = LoadSource(source, {}, NoLog);
  if (!model.ok()) return model.status().ToString();
  LaunchConfig config;
  config.verify = VerifyMode::kOnly;
  return std::string(VerifySource(config, source, **model, /*threads=*/1, NoLog).message());
}

TEST(BrokenGoldenFile, IsNamedOnceAndSoIsTheDirectory) {
  const TemporaryDirectory directory;
  const std::string start = absl::StrCat("model m from ", directory.path().string(),
                                         " is not verified: pixembed_golden.safetensors");
  EXPECT_EQ(WhyNotVerified(directory.path(), ""),
            start + " does not exist: deploy/make_golden.py writes it, where the reference runs");
  EXPECT_EQ(WhyNotVerified(directory.path(), "short"),
            start + ": has 5 bytes; a safetensors file has at least 8");
}

}  // namespace
}  // namespace pixembed
