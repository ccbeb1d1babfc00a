// ParseProcessor against the real classes, over what make_processors.py wrote.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

Config ReadGolden() {
  absl::StatusOr<Config> config = Config::Parse(GoldenBytes("processors.json"), "processors.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : *Config::Parse("{}", "nothing");
}

Config Section(const Config& config, std::string_view key) { return *config.Section(key); }

std::string Text(const Config& config, std::string_view key) { return *config.String(key, ""); }

int Number(const Config& config, std::string_view key) {
  return static_cast<int>(*config.Int(key, 0, 0, 1'000'000));
}

std::vector<double> Numbers(const Config& config, std::string_view key) {
  return *config.Numbers(key, {}, -1e9, 1e9);
}

// One configuration in one backend.
absl::StatusOr<Processor> Parse(const Config& golden) {
  const absl::StatusOr<Config> config =
      Config::Parse(Text(golden, "configuration"), "preprocessor_config.json");
  if (!config.ok()) return config.status();
  return ParseProcessor(*config, Text(golden, "model_type"),
                        Text(golden, "backend") == "pil" ? Backend::kPil : Backend::kTorchvision);
}

std::optional<Size> SizeIn(const Config& config, std::string_view key) {
  if (!config.Has(key)) return std::nullopt;
  const Config size = Section(config, key);
  return Size{Number(size, "height"), Number(size, "width")};
}

// What a crop is padded with.
Color PaddingIn(const Config& settings) {
  const std::vector<double> levels = *settings.Numbers("padding", std::vector<double>(3), 0, 255);
  return {static_cast<std::uint8_t>(levels[0]), static_cast<std::uint8_t>(levels[1]),
          static_cast<std::uint8_t>(levels[2])};
}

void ExpectResize(const PreprocessSpec& spec, const Config& settings) {
  ASSERT_EQ(spec.resize.has_value(), settings.Has("size"));
  if (!spec.resize) return;
  const Config size = Section(settings, "size");
  EXPECT_EQ(spec.resize->cover, SizeIn(size, "cover"));
  EXPECT_EQ(spec.resize->fit, SizeIn(size, "fit"));
  EXPECT_EQ(spec.resize->exact.has_value(), size.Has("height"));
  if (spec.resize->exact) {
    EXPECT_EQ(spec.resize->exact->height, Number(size, "height"));
    EXPECT_EQ(spec.resize->exact->width, Number(size, "width"));
  }
  EXPECT_EQ(spec.resize->shortest_edge, Number(size, "shortest_edge"));
  EXPECT_EQ(spec.resize->longest_edge, Number(size, "longest_edge"));
  const PatchBudget patches = spec.resize->patches.value_or(PatchBudget{});
  EXPECT_EQ(patches.patch, Number(size, "patch_size"));
  EXPECT_EQ(patches.max_patches, Number(size, "max_num_patches"));
  EXPECT_EQ(static_cast<int>(spec.filter), Number(settings, "resample"));
}

void ExpectSettings(const Processor& processor, const Config& settings) {
  const PreprocessSpec& spec = processor.spec;
  EXPECT_EQ(processor.type, Text(settings, "type"));
  EXPECT_EQ(spec.convert_rgb, settings.Has("convert_rgb"));
  ExpectResize(spec, settings);
  ASSERT_EQ(spec.crop.has_value(), settings.Has("crop_size"));
  if (spec.crop) {
    EXPECT_EQ(*spec.crop, *settings.SquareOrPair("crop_size", {}, 1, 1'000'000));
  }
  EXPECT_EQ(spec.crop_rule == CropRule::kTorchvision, settings.Has("crop_rule"));
  EXPECT_EQ(spec.padding, PaddingIn(settings));
  EXPECT_EQ(spec.rescale_first, settings.Has("rescale_first"));
  ASSERT_EQ(spec.rescale, settings.Has("rescale_factor"));
  if (spec.rescale) {
    EXPECT_EQ(spec.rescale_factor, *settings.Double("rescale_factor", 0, 0, 1e9));
  }
  ASSERT_EQ(spec.normalize, settings.Has("image_mean"));
  if (spec.normalize) {
    EXPECT_EQ((std::vector<double>(spec.mean.begin(), spec.mean.end())),
              Numbers(settings, "image_mean"));
    EXPECT_EQ((std::vector<double>(spec.std.begin(), spec.std.end())),
              Numbers(settings, "image_std"));
  }
}

TEST(ProcessorsGolden, EveryConfigurationIsReadAsTheRealClassesReadItOrRefused) {
  const Config cases = Section(ReadGolden(), "cases");
  std::size_t accepted = 0;
  std::size_t refused = 0;
  for (const std::string& key : cases.Keys()) {
    const Config golden = Section(cases, key);
    SCOPED_TRACE(Text(golden, "backend") + " " + Text(golden, "model_type") + " " +
                 Text(golden, "configuration") + " reference: " + Text(golden, "error"));
    const absl::StatusOr<Processor> processor = Parse(golden);
    if (golden.Has("settings") && !*golden.Bool("refused", false)) {
      ++accepted;
      EXPECT_TRUE(processor.ok()) << processor.status();
      if (processor.ok()) ExpectSettings(*processor, Section(golden, "settings"));
    } else {
      ++refused;
      EXPECT_FALSE(processor.ok());
      EXPECT_TRUE(processor.ok() || ReasonOf(processor.status()).has_value());
    }
  }
  EXPECT_GT(accepted, 500);
  EXPECT_GT(refused, 300);
}

TEST(ProcessorsGolden, AModelTypeWithoutAClassNameMeansTheClassItMeansInTheReference) {
  const Config class_of = Section(ReadGolden(), "class_of_model_type");
  const absl::StatusOr<Config> empty = Config::Parse("{}", "preprocessor_config.json");
  ASSERT_TRUE(empty.ok()) << empty.status();
  std::size_t known = 0;
  for (const std::string& model_type : class_of.Keys()) {
    const auto processor = ParseProcessor(*empty, model_type, Backend::kTorchvision);
    if (!processor.ok()) {
      EXPECT_EQ(ReasonOf(processor.status()), Reason::kUnsupportedProcessor) << model_type;
      continue;
    }
    ++known;
    EXPECT_EQ(processor->type, Text(class_of, model_type)) << model_type;
  }
  EXPECT_GE(known, 15);
}

}  // namespace
}  // namespace pixembed
