// Weights against the real safetensors library, over what make_safetensors.py wrote.
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

Config ReadGolden() {
  absl::StatusOr<Config> config =
      Config::Parse(GoldenBytes("safetensors.json"), "safetensors.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : *Config::Parse("{}", "nothing");
}

Config Section(const Config& config, std::string_view key) { return *config.Section(key); }

std::string Text(const Config& config, std::string_view key) { return *config.String(key, ""); }

std::string Hex(std::span<const std::byte> bytes) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void ExpectTensors(const Weights& weights, const Config& golden) {
  EXPECT_EQ(weights.tensors().size(), golden.Keys().size());
  for (const std::string& name : golden.Keys()) {
    SCOPED_TRACE(name);
    const Tensor* const tensor = weights.Find(name);
    ASSERT_NE(tensor, nullptr);
    const Config expected = Section(golden, name);
    EXPECT_EQ(TensorTypeName(tensor->type), Text(expected, "type"));
    EXPECT_EQ(absl::StrJoin(tensor->shape, " "), Text(expected, "shape"));
    EXPECT_EQ(Hex(tensor->bytes), Text(expected, "bytes"));
  }
}

TEST(SafetensorsGolden, EveryTypeThatTheLibraryWritesReadsBackEqual) {
  const Weights weights = GoldenTensors("safetensors/typed.safetensors");
  const Config golden = Section(ReadGolden(), "typed");
  EXPECT_GT(golden.Keys().size(), 30);
  ExpectTensors(weights, golden);
}

TEST(SafetensorsGolden, ShardsThatTransformersWritesReadBackAsOneModel) {
  const auto weights =
      Weights::OpenSharded(GoldenPath("safetensors/sharded"), "model.safetensors.index.json");
  ASSERT_TRUE(weights.ok()) << weights.status() << ": run tests/golden/make.sh";
  const Config golden = Section(ReadGolden(), "sharded");
  EXPECT_GT(golden.Keys().size(), 30);
  ExpectTensors(*weights, golden);
}

// Never more lenient than the library; as lenient, but for a name that is there twice, which the
// library settles in silence.
TEST(SafetensorsGolden, MutatedFilesMeetTheLibrarysVerdict) {
  const Config mutants = Section(ReadGolden(), "mutants");
  std::size_t accepted = 0;
  for (const std::string& key : mutants.Keys()) {
    const Config golden = Section(mutants, key);
    const auto file = std::make_shared<std::string>(absl::HexStringToBytes(Text(golden, "file")));
    SCOPED_TRACE(*file);
    const auto weights = Weights::Parse(std::as_bytes(std::span(*file)), file, key);
    if (weights.ok()) {
      ++accepted;
      EXPECT_TRUE(golden.Has("tensors")) << "the library refuses it: " << Text(golden, "error");
      ExpectTensors(*weights, Section(golden, "tensors"));
      continue;
    }
    EXPECT_EQ(ReasonOf(weights.status()), Reason::kCheckpointCorrupt);
    const std::string message(weights.status().message());
    const bool twice = message.find("twice") != std::string::npos;
    EXPECT_TRUE(twice || !golden.Has("tensors")) << weights.status();
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace pixembed
