// Source: transformers 5.23.0 models/timm_wrapper/image_processing_timm_wrapper.py
// TimmWrapperImageProcessor, which gives config.json's "pretrained_cfg" to timm 1.0.31
// data/config.py resolve_data_config and data/transforms_factory.py transforms_imagenet_eval.
#include "src/checkpoint/timm_processor.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/json.h"
#include "src/checkpoint/processor_values.h"
#include "src/error/error.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

using Kind = Config::Kind;
using Rgb = std::array<double, 3>;

constexpr std::string_view kClassName = "TimmWrapperImageProcessor";
// Source: timm 1.0.31 data/constants.py.
constexpr Rgb kDefaultMean = {0.485, 0.456, 0.406};
constexpr Rgb kDefaultStd = {0.229, 0.224, 0.225};
constexpr double kDefaultCropPart = 0.875;

constexpr int kDefaultSide = 224;
// Another class would not read this file.
absl::Status CheckClass(const Config& config) {
  for (const std::string_view key : {"image_processor_type", "feature_extractor_type"}) {
    const absl::StatusOr<std::string> name = config.String(key, kClassName);
    if (!name.ok()) return name.status();
    if (*name == kClassName) continue;
    return UnsupportedValue(
        config, key,
        absl::StrCat("a directory of timm's is prepared by ", std::string(kClassName),
                     "; another class is not implemented"));
  }
  return absl::OkStatus();
}

absl::Status CheckThreeChannels(const Config& timm, std::string_view key, double channels) {
  if (channels == 3.0) return absl::OkStatus();
  return UnsupportedValue(timm, key, "images have 3 channels");
}

// [channels, height, width].
absl::StatusOr<Size> ParseInputSize(const Config& timm) {
  const auto sizes = timm.Numbers("input_size", {}, 1, kMaxSide);
  if (!sizes.ok()) return sizes.status();
  if (timm.KindOf("input_size") != Kind::kList || sizes->size() != 3) {
    return CorruptValue(timm, "input_size", "a list of channels, height and width");
  }
  for (const double size : *sizes) {
    if (size != std::floor(size)) return CorruptValue(timm, "input_size", "a list of integers");
  }
  if (absl::Status s = CheckThreeChannels(timm, "input_size", (*sizes)[0]); !s.ok()) return s;
  return Size{static_cast<int>((*sizes)[1]), static_cast<int>((*sizes)[2])};
}

// The size of the model's input.
absl::StatusOr<Size> ParseSize(const Config& timm) {
  if (timm.Has("input_size")) return ParseInputSize(timm);
  for (const std::string_view key : {"in_chans", "chans"}) {
    if (!timm.Has(key)) continue;
    const auto channels = timm.Int(key, 3, 1, kMaxSide);
    if (!channels.ok()) return channels.status();
    absl::Status status = CheckThreeChannels(timm, key, static_cast<double>(*channels));
    if (!status.ok()) return status;
    break;
  }
  const auto side = timm.Int("img_size", kDefaultSide, 1, kMaxSide);
  if (!side.ok()) return side.status();
  return Size{static_cast<int>(*side), static_cast<int>(*side)};
}

// A list of three numbers, or of one for all channels.
absl::StatusOr<Rgb> ParseRgb(const Config& timm, std::string_view key, const Rgb& fallback,
                             double min, double max) {
  if (!timm.Has(key)) return fallback;
  const absl::StatusOr<std::vector<double>> numbers = timm.Numbers(key, {}, min, max);
  if (!numbers.ok()) return numbers.status();
  if (timm.KindOf(key) != Kind::kList || (numbers->size() != 1 && numbers->size() != 3)) {
    return CorruptValue(timm, key, "a list of one number or of three");
  }
  const bool one = numbers->size() == 1;
  return Rgb{(*numbers)[0], (*numbers)[one ? 0 : 1], (*numbers)[one ? 0 : 2]};
}

absl::StatusOr<Filter> ParseFilter(const Config& timm) {
  const absl::StatusOr<std::string> name = timm.String("interpolation", "");
  if (!name.ok()) return name.status();
  if (name->empty()) return Filter::kBicubic;
  for (const Filter filter : {Filter::kNearest, Filter::kLanczos, Filter::kBilinear,
                              Filter::kBicubic, Filter::kBox, Filter::kHamming}) {
    if (FilterName(filter) == *name) return filter;
  }
  return UnsupportedValue(timm, "interpolation",
                          "nearest, lanczos, bilinear, bicubic, box and hamming are implemented");
}

// The part of the resized image that the crop keeps. Python takes 0 for absent.
absl::StatusOr<double> ParseCropPart(const Config& timm) {
  const auto part = timm.Double("crop_pct", kDefaultCropPart, 0.0, kMaxCropPart);
  if (!part.ok()) return part.status();
  if (*part == 0.0) return kDefaultCropPart;
  if (*part < kMinCropPart) {
    return CorruptValue(timm, "crop_pct", absl::StrCat("at least ", kMinCropPart));
  }
  return *part;
}

// Python's round(), halves to the even number.
absl::StatusOr<Color> MeanColor(const Config& timm, const Rgb& mean) {
  std::array<std::uint8_t, 3> levels = {};
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double level = std::nearbyint(255.0 * mean[c]);
    if (level < 0.0 || level > 255.0) {
      return UnsupportedValue(timm, "mean", "it must be a color, of 0 to 1, to pad a border with");
    }
    levels[c] = static_cast<std::uint8_t>(level);
  }
  return Color{levels[0], levels[1], levels[2]};
}

// Resize and crop.
absl::Status ParseCrop(const Config& timm, PreprocessSpec& spec) {
  const absl::StatusOr<Size> input = ParseSize(timm);
  if (!input.ok()) return input.status();
  const absl::StatusOr<double> part = ParseCropPart(timm);
  if (!part.ok()) return part.status();
  const absl::StatusOr<std::string> mode = timm.String("crop_mode", "");
  if (!mode.ok()) return mode.status();

  const Size resized = {.height = static_cast<int>(std::floor(input->height / *part)),
                        .width = static_cast<int>(std::floor(input->width / *part))};
  ResizeTarget target;
  if (*mode == "squash") {
    target.exact = resized;
  } else if (*mode == "border") {
    target.fit = resized;
    const absl::StatusOr<Color> color = MeanColor(timm, spec.mean);
    if (!color.ok()) return color.status();
    spec.padding = *color;
  } else if (!mode->empty() && *mode != "center") {
    return UnsupportedValue(timm, "crop_mode", "center, squash and border are implemented");
  } else if (resized.height == resized.width) {
    target.shortest_edge = resized.height;
  } else {
    target.cover = resized;
  }
  spec.resize = target;
  spec.crop = *input;
  spec.crop_rule = CropRule::kTorchvision;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PreprocessSpec> ParseTimmProcessor(const Config& config) {
  if (absl::Status status = CheckClass(config); !status.ok()) return status;
  const absl::StatusOr<Config> timm = config.Section(kTimmSection);
  if (!timm.ok()) return timm.status();
  if (timm->Keys().empty()) {
    return CorruptValue(config, kTimmSection, "an object that says how images are prepared");
  }
  PreprocessSpec spec;
  spec.backend = Backend::kPil;
  const auto mean = ParseRgb(*timm, "mean", kDefaultMean, -kMaxMean, kMaxMean);
  if (!mean.ok()) return mean.status();
  const auto std = ParseRgb(*timm, "std", kDefaultStd, kMinDivisor, kMaxDivisor);
  if (!std.ok()) return std.status();
  const absl::StatusOr<Filter> filter = ParseFilter(*timm);
  if (!filter.ok()) return filter.status();
  spec.mean = *mean;
  spec.std = *std;
  spec.filter = *filter;
  if (absl::Status status = ParseCrop(*timm, spec); !status.ok()) return status;
  if (absl::Status status = ValidateSpec(spec); !status.ok()) {
    return Annotate(status, config.origin());
  }
  return spec;
}

}  // namespace pixembed
