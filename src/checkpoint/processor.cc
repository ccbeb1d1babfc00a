// Source: transformers 5.23.0. Which class: models/auto/image_processing_auto.py
// AutoImageProcessor.from_pretrained. Its defaults: models/*/image_processing_*.py (the torchvision
// and the PIL class of one name have the same). Forms of a value: image_processing_utils.py
// BaseImageProcessor._set_attributes, _standardize_kwargs, get_size_dict; image_utils.py
// validate_preprocess_arguments.
#include <algorithm>
#include <array>
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
#include "src/checkpoint/timm_processor.h"
#include "src/error/error.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

using Kind = Config::Kind;
using Rgb = std::array<double, 3>;

constexpr Rgb kStandardMean = {0.5, 0.5, 0.5};
constexpr Rgb kStandardStd = {0.5, 0.5, 0.5};
constexpr Rgb kClipMean = {0.48145466, 0.4578275, 0.40821073};
constexpr Rgb kClipStd = {0.26862954, 0.26130258, 0.27577711};
constexpr Rgb kImageNetMean = {0.485, 0.456, 0.406};
constexpr Rgb kImageNetStd = {0.229, 0.224, 0.225};

// What a processor class does where its configuration is silent. All resize, rescale by 1/255 and
// normalize.
struct ProcessorClass {
  std::string_view name;
  ResizeTarget size;       // with `patches`: the class looks at neither "size" nor "crop_size"
  bool default_to_square;  // what an int "size" means: both sides, or the shortest edge
  Filter filter;
  bool center_crop;
  std::optional<Size> crop_size;
  Rgb mean;
  Rgb std;
  bool convert_rgb = false;
  // A shortest edge below kWarpFrom is that of the crop, and this the part of the resized image
  // that it keeps; from there on, the image is resized to a square of it.
  std::optional<double> crop_pct = std::nullopt;
  bool rescale_first = false;  // and the class has no pil backend, so that torchvision stands in
};

constexpr int kWarpFrom = 384;

constexpr ResizeTarget Exactly(int side) { return {.exact = Size{side, side}}; }
constexpr ResizeTarget ShortestEdge(int side) {
  return {.exact = std::nullopt, .shortest_edge = side};
}
constexpr ResizeTarget UpTo(int max_patches, int patch) {
  return {.exact = std::nullopt, .patches = PatchBudget{patch, max_patches}};
}

constexpr std::array kClasses = {
    ProcessorClass{.name = "ViTImageProcessor",
                   .size = Exactly(224),
                   .default_to_square = true,
                   .filter = Filter::kBilinear,
                   .center_crop = false,
                   .crop_size = std::nullopt,
                   .mean = kStandardMean,
                   .std = kStandardStd},
    ProcessorClass{.name = "DeiTImageProcessor",
                   .size = Exactly(256),
                   .default_to_square = true,
                   .filter = Filter::kBicubic,
                   .center_crop = true,
                   .crop_size = Size{224, 224},
                   .mean = kStandardMean,
                   .std = kStandardStd},
    ProcessorClass{.name = "BeitImageProcessor",
                   .size = Exactly(224),
                   .default_to_square = true,
                   .filter = Filter::kBicubic,
                   .center_crop = false,
                   .crop_size = Size{224, 224},
                   .mean = kStandardMean,
                   .std = kStandardStd},
    ProcessorClass{.name = "BitImageProcessor",
                   .size = ShortestEdge(224),
                   .default_to_square = false,
                   .filter = Filter::kBicubic,
                   .center_crop = true,
                   .crop_size = Size{224, 224},
                   .mean = kClipMean,
                   .std = kClipStd,
                   .convert_rgb = true},
    ProcessorClass{.name = "CLIPImageProcessor",
                   .size = ShortestEdge(224),
                   .default_to_square = false,
                   .filter = Filter::kBicubic,
                   .center_crop = true,
                   .crop_size = Size{224, 224},
                   .mean = kClipMean,
                   .std = kClipStd,
                   .convert_rgb = true},
    ProcessorClass{.name = "ConvNextImageProcessor",
                   .size = ShortestEdge(384),
                   .default_to_square = false,
                   .filter = Filter::kBicubic,
                   .center_crop = false,
                   .crop_size = std::nullopt,
                   .mean = kStandardMean,
                   .std = kStandardStd,
                   .crop_pct = 224.0 / 256.0},
    ProcessorClass{.name = "DINOv3ViTImageProcessor",
                   .size = Exactly(224),
                   .default_to_square = true,
                   .filter = Filter::kBilinear,
                   .center_crop = false,
                   .crop_size = std::nullopt,
                   .mean = kImageNetMean,
                   .std = kImageNetStd,
                   .rescale_first = true},
    ProcessorClass{.name = "SiglipImageProcessor",
                   .size = Exactly(224),
                   .default_to_square = false,
                   .filter = Filter::kBicubic,
                   .center_crop = false,
                   .crop_size = std::nullopt,
                   .mean = kStandardMean,
                   .std = kStandardStd,
                   .convert_rgb = true},
    ProcessorClass{.name = "Siglip2ImageProcessor",
                   .size = UpTo(256, 16),
                   .default_to_square = true,
                   .filter = Filter::kBilinear,
                   .center_crop = false,
                   .crop_size = std::nullopt,
                   .mean = kStandardMean,
                   .std = kStandardStd},
};

// The class of a directory that names none. Not here: what the reference does not resolve either
// ("clip_vision_model", "siglip_vision_model", "dinov2_with_registers").
struct ModelTypeRow {
  std::string_view model_type;
  std::string_view class_name;
};

constexpr std::array kClassOfModelType = {
    ModelTypeRow{"beit", "BeitImageProcessor"},
    ModelTypeRow{"bit", "BitImageProcessor"},
    ModelTypeRow{"clip", "CLIPImageProcessor"},
    ModelTypeRow{"convnext", "ConvNextImageProcessor"},
    ModelTypeRow{"convnextv2", "ConvNextImageProcessor"},
    ModelTypeRow{"cvt", "ConvNextImageProcessor"},
    ModelTypeRow{"data2vec-vision", "BeitImageProcessor"},
    ModelTypeRow{"deit", "DeiTImageProcessor"},
    ModelTypeRow{"dinov2", "BitImageProcessor"},
    ModelTypeRow{"dinov3_vit", "DINOv3ViTImageProcessor"},
    ModelTypeRow{"focalnet", "BitImageProcessor"},
    ModelTypeRow{"hiera", "BitImageProcessor"},
    ModelTypeRow{"ijepa", "ViTImageProcessor"},
    ModelTypeRow{"metaclip_2", "CLIPImageProcessor"},
    ModelTypeRow{"mlcd", "CLIPImageProcessor"},
    ModelTypeRow{"regnet", "ConvNextImageProcessor"},
    ModelTypeRow{"resnet", "ConvNextImageProcessor"},
    ModelTypeRow{"siglip", "SiglipImageProcessor"},
    ModelTypeRow{"siglip2", "Siglip2ImageProcessor"},
    ModelTypeRow{"swin", "ViTImageProcessor"},
    ModelTypeRow{"swinv2", "ViTImageProcessor"},
    ModelTypeRow{"vit", "ViTImageProcessor"},
    ModelTypeRow{"vit_mae", "ViTImageProcessor"},
    ModelTypeRow{"vit_msn", "ViTImageProcessor"},
};

constexpr int kMaxPatches = 65'535;
// PIL.Image.Resampling.MKS2021 of Pillow 13; Filter ends before.
constexpr std::int64_t kMaxResampling = 7;

// A "do_*" key: null is off, whatever the class's default.
absl::StatusOr<bool> Flag(const Config& config, std::string_view key, bool fallback) {
  if (config.KindOf(key) == Kind::kNull) return false;
  return config.Bool(key, fallback);
}

// A value that a step needs: null is an error, as in the reference.
absl::Status CheckNotNull(const Config& config, std::string_view key, std::string_view flag) {
  if (config.KindOf(key) != Kind::kNull) return absl::OkStatus();
  return CorruptValue(config, key, absl::StrCat("set where ", std::string(flag), " is true"));
}

// `suffix` cut off the end of `name`, if it is there.
std::string_view WithoutSuffix(std::string_view name, std::string_view suffix) {
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

std::string ClassNames() {
  std::string names;
  for (const ProcessorClass& row : kClasses) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(row.name));
  }
  return names;
}

absl::StatusOr<const ProcessorClass*> ClassByName(const Config& config, std::string_view key,
                                                  std::string_view name) {
  const std::string_view base = WithoutSuffix(WithoutSuffix(name, "Fast"), "Pil");
  const auto* const row =
      std::find_if(kClasses.begin(), kClasses.end(),
                   [base](const ProcessorClass& candidate) { return candidate.name == base; });
  if (row != kClasses.end()) return row;
  return UnsupportedValue(config, key,
                          absl::StrCat("processor class ", Quoted(base),
                                       " is not implemented; implemented are ", ClassNames()));
}

// Whether the directory ships code of its own for its processor; the reference then does not look
// at feature_extractor_type.
absl::StatusOr<bool> HasOwnCode(const Config& config) {
  const absl::StatusOr<Config> auto_map = config.Section("auto_map");
  if (!auto_map.ok()) return auto_map.status();
  return auto_map->KindOf("AutoImageProcessor") != Kind::kAbsent;
}

absl::StatusOr<const ProcessorClass*> FindClass(const Config& config, std::string_view model_type) {
  if (config.Has("image_processor_type")) {
    const absl::StatusOr<std::string> name = config.String("image_processor_type", "");
    if (!name.ok()) return name.status();
    return ClassByName(config, "image_processor_type", *name);
  }
  const absl::StatusOr<bool> own_code = HasOwnCode(config);
  if (!own_code.ok()) return own_code.status();
  if (!*own_code && config.Has("feature_extractor_type")) {
    absl::StatusOr<std::string> name = config.String("feature_extractor_type", "");
    if (!name.ok()) return name.status();
    constexpr std::string_view kOldNoun = "FeatureExtractor";
    for (std::size_t at = name->find(kOldNoun); at != std::string::npos;
         at = name->find(kOldNoun, at)) {
      name->replace(at, kOldNoun.size(), "ImageProcessor");
    }
    return ClassByName(config, "feature_extractor_type", *name);
  }
  const auto* const row = std::find_if(
      kClassOfModelType.begin(), kClassOfModelType.end(),
      [model_type](const ModelTypeRow& candidate) { return candidate.model_type == model_type; });
  if (row != kClassOfModelType.end()) {
    return ClassByName(config, "image_processor_type", row->class_name);
  }
  return UnsupportedValue(config, "image_processor_type",
                          absl::StrCat("no processor class is known for model_type ",
                                       Quoted(model_type), "; name one of ", ClassNames()));
}

// "size" in its object form.
absl::StatusOr<ResizeTarget> ParseSizeObject(const Config& config) {
  constexpr std::string_view kForms =
      R"({"height", "width"}, {"shortest_edge"} or {"shortest_edge", "longest_edge"})";
  const absl::StatusOr<Config> size = config.Section("size");
  if (!size.ok()) return size.status();
  const std::vector<std::string> keys = size->Keys();
  const auto has_exactly = [&keys](const std::vector<std::string>& wanted) {
    return keys == wanted;  // both sorted
  };
  if (has_exactly({"height", "width"})) {
    const auto height = size->Int("height", 0, 1, kMaxSide);
    if (!height.ok()) return height.status();
    const auto width = size->Int("width", 0, 1, kMaxSide);
    if (!width.ok()) return width.status();
    return ResizeTarget{.exact = Size{static_cast<int>(*height), static_cast<int>(*width)}};
  }
  if (has_exactly({"shortest_edge"}) || has_exactly({"longest_edge", "shortest_edge"})) {
    const auto shortest = size->Int("shortest_edge", 0, 1, kMaxSide);
    if (!shortest.ok()) return shortest.status();
    const auto longest = size->Int("longest_edge", 0, 1, kMaxSide);
    if (!longest.ok()) return longest.status();
    return ResizeTarget{.exact = std::nullopt,
                        .shortest_edge = static_cast<int>(*shortest),
                        .longest_edge = static_cast<int>(*longest)};
  }
  if (has_exactly({"max_height", "max_width"}) || has_exactly({"max_pixels", "min_pixels"})) {
    return UnsupportedValue(
        config, "size",
        absl::StrCat("sizes by ", Quoted(keys.front()), " and ", Quoted(keys.back()),
                     " are not implemented; implemented are ", std::string(kForms)));
  }
  return CorruptValue(config, "size", absl::StrCat("an object with ", std::string(kForms)));
}

absl::StatusOr<ResizeTarget> ParseSize(const Config& config, const ProcessorClass& defaults) {
  if (absl::Status status = CheckNotNull(config, "size", "do_resize"); !status.ok()) return status;
  const Kind kind = config.KindOf("size");
  if (kind == Kind::kAbsent) return defaults.size;
  if (kind == Kind::kObject) return ParseSizeObject(config);
  const absl::StatusOr<Size> size = config.SquareOrPair("size", Size{}, 1, kMaxSide);
  if (!size.ok()) return size.status();
  const absl::StatusOr<bool> to_square =
      Flag(config, "default_to_square", defaults.default_to_square);
  if (!to_square.ok()) return to_square.status();
  if (kind == Kind::kInt && !*to_square) return ShortestEdge(size->height);
  return ResizeTarget{.exact = *size};
}

// Of a class that counts patches.
absl::StatusOr<ResizeTarget> ParsePatches(const Config& config, const PatchBudget& defaults) {
  if (config.Has("size")) {
    return UnsupportedValue(config, "size", "the class has patch_size and max_num_patches instead");
  }
  for (const char* const key : {"patch_size", "max_num_patches"}) {
    if (absl::Status status = CheckNotNull(config, key, "do_resize"); !status.ok()) return status;
  }
  const auto patch = config.Int("patch_size", defaults.patch, 1, kMaxSide);
  if (!patch.ok()) return patch.status();
  const auto max_patches = config.Int("max_num_patches", defaults.max_patches, 1, kMaxPatches);
  if (!max_patches.ok()) return max_patches.status();
  return UpTo(static_cast<int>(*max_patches), static_cast<int>(*patch));
}

absl::StatusOr<Filter> ParseFilter(const Config& config, const ProcessorClass& defaults) {
  if (absl::Status status = CheckNotNull(config, "resample", "do_resize"); !status.ok()) {
    return status;
  }
  const auto resample =
      config.Int("resample", static_cast<std::int64_t>(defaults.filter), 0, kMaxResampling);
  if (!resample.ok()) return resample.status();
  if (*resample > static_cast<std::int64_t>(Filter::kHamming)) {
    return UnsupportedValue(config, "resample", "the MKS filters of Pillow 13 are not implemented");
  }
  return static_cast<Filter>(*resample);
}

absl::StatusOr<Size> ParseCropSize(const Config& config, const ProcessorClass& defaults) {
  const Kind kind = config.KindOf("crop_size");
  if (kind == Kind::kAbsent && defaults.crop_size) return *defaults.crop_size;
  if (kind == Kind::kAbsent || kind == Kind::kNull) {
    return CorruptValue(config, "crop_size", "set where do_center_crop is true");
  }
  if (kind != Kind::kObject) return config.SquareOrPair("crop_size", Size{}, 1, kMaxSide);
  const absl::StatusOr<Config> crop = config.Section("crop_size");
  if (!crop.ok()) return crop.status();
  if (crop->Keys() != std::vector<std::string>{"height", "width"}) {
    return CorruptValue(config, "crop_size", R"(an object with {"height", "width"})");
  }
  const auto height = crop->Int("height", 0, 1, kMaxSide);
  if (!height.ok()) return height.status();
  const auto width = crop->Int("width", 0, 1, kMaxSide);
  if (!width.ok()) return width.status();
  return Size{static_cast<int>(*height), static_cast<int>(*width)};
}

// Three numbers, or one for all three channels.
absl::StatusOr<Rgb> ParseRgb(const Config& config, std::string_view key, const Rgb& fallback,
                             double min, double max) {
  if (absl::Status status = CheckNotNull(config, key, "do_normalize"); !status.ok()) return status;
  const absl::StatusOr<std::vector<double>> numbers = config.Numbers(key, fallback, min, max);
  if (!numbers.ok()) return numbers.status();
  if (numbers->size() == 1) return Rgb{numbers->front(), numbers->front(), numbers->front()};
  if (numbers->size() != 3) return CorruptValue(config, key, "one number or a list of three");
  return Rgb{(*numbers)[0], (*numbers)[1], (*numbers)[2]};
}

// Resize and crop of a class with crop_pct.
// Source: transformers 5.23.0 models/convnext/image_processing_convnext.py
// ConvNextImageProcessor.resize; the pil backend's does the same.
absl::Status ApplyCropPart(const Config& config, double fallback, PreprocessSpec& spec) {
  const int edge = spec.resize->shortest_edge;
  if (edge == 0) return CorruptValue(config, "size", R"(an object with {"shortest_edge"})");
  const Size square = {edge, edge};
  if (edge >= kWarpFrom) {
    spec.resize = ResizeTarget{.exact = square};
    return absl::OkStatus();
  }
  if (absl::Status s = CheckNotNull(config, "crop_pct", "do_resize"); !s.ok()) return s;
  const auto part = config.Double("crop_pct", fallback, kMinCropPart, kMaxCropPart);
  if (!part.ok()) return part.status();
  if (spec.crop.has_value() && *spec.crop != square) {
    return UnsupportedValue(config, "crop_size",
                            "a crop after that of crop_pct is not implemented");
  }
  // Python: int(shortest_edge / crop_pct).
  spec.resize =
      ResizeTarget{.exact = std::nullopt, .shortest_edge = static_cast<int>(edge / *part)};
  spec.crop = square;
  return absl::OkStatus();
}

absl::Status ParseConversion(const Config& config, const ProcessorClass& defaults,
                             PreprocessSpec& spec) {
  const absl::StatusOr<bool> converts = Flag(config, "do_convert_rgb", defaults.convert_rgb);
  if (!converts.ok()) return converts.status();
  spec.convert_rgb = *converts;
  return absl::OkStatus();
}

absl::Status ParseResize(const Config& config, const ProcessorClass& defaults,
                         PreprocessSpec& spec) {
  const std::optional<PatchBudget>& patches = defaults.size.patches;
  const absl::StatusOr<bool> resizes = Flag(config, "do_resize", true);
  if (!resizes.ok()) return resizes.status();
  if (!*resizes && patches.has_value()) {
    return UnsupportedValue(config, "do_resize",
                            "without it, most images are not of whole patches");
  }
  if (!*resizes) return absl::OkStatus();
  const absl::StatusOr<ResizeTarget> size =
      patches.has_value() ? ParsePatches(config, *patches) : ParseSize(config, defaults);
  if (!size.ok()) return size.status();
  const absl::StatusOr<Filter> filter = ParseFilter(config, defaults);
  if (!filter.ok()) return filter.status();
  spec.resize = *size;
  spec.filter = *filter;
  return absl::OkStatus();
}

absl::Status ParseCenterCrop(const Config& config, const ProcessorClass& defaults,
                             PreprocessSpec& spec) {
  const absl::StatusOr<bool> crops = Flag(config, "do_center_crop", defaults.center_crop);
  if (!crops.ok() || !*crops) return crops.status();
  if (defaults.size.patches.has_value()) {
    return UnsupportedValue(config, "do_center_crop", "the class does not crop");
  }
  const absl::StatusOr<Size> size = ParseCropSize(config, defaults);
  if (!size.ok()) return size.status();
  spec.crop = *size;
  return absl::OkStatus();
}

absl::Status ParseRescale(const Config& config, const ProcessorClass& defaults,
                          PreprocessSpec& spec) {
  const absl::StatusOr<bool> rescales = Flag(config, "do_rescale", true);
  if (!rescales.ok()) return rescales.status();
  spec.rescale = *rescales;
  spec.rescale_first = defaults.rescale_first && spec.rescale;
  if (!spec.rescale) return absl::OkStatus();
  absl::Status status = CheckNotNull(config, "rescale_factor", "do_rescale");
  if (!status.ok()) return status;
  if (spec.rescale_first && config.KindOf("rescale_factor") == Kind::kInt) {
    // A product of integers stays one in the reference, and is then not resized in float32.
    return CorruptValue(config, "rescale_factor", "a number with a point, in this class");
  }
  const auto factor =
      config.Double("rescale_factor", spec.rescale_factor, kMinDivisor, kMaxDivisor);
  if (!factor.ok()) return factor.status();
  spec.rescale_factor = *factor;
  return absl::OkStatus();
}

absl::Status ParseNormalize(const Config& config, const ProcessorClass& defaults,
                            PreprocessSpec& spec) {
  const absl::StatusOr<bool> normalizes = Flag(config, "do_normalize", true);
  if (!normalizes.ok()) return normalizes.status();
  spec.normalize = *normalizes;
  if (!spec.normalize) return absl::OkStatus();
  if (defaults.rescale_first && !spec.rescale) {
    // The reference fails on it, too: it does not normalize integers.
    return CorruptValue(config, "do_normalize", "false where do_rescale is false, in this class");
  }
  const auto mean = ParseRgb(config, "image_mean", defaults.mean, -kMaxMean, kMaxMean);
  if (!mean.ok()) return mean.status();
  const auto std = ParseRgb(config, "image_std", defaults.std, kMinDivisor, kMaxDivisor);
  if (!std.ok()) return std.status();
  spec.mean = *mean;
  spec.std = *std;
  return absl::OkStatus();
}

// Steps of the reference that change pixels and are not followed here.
absl::Status CheckOtherSteps(const Config& config) {
  const absl::StatusOr<bool> pads = Flag(config, "do_pad", false);
  if (!pads.ok()) return pads.status();
  if (*pads) return UnsupportedValue(config, "do_pad", "padding is not implemented");
  const absl::StatusOr<bool> squares = Flag(config, "use_square_size", false);
  if (!squares.ok()) return squares.status();
  if (*squares) {
    return UnsupportedValue(config, "use_square_size",
                            R"(not implemented; write "size": {"height": ..., "width": ...})");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Processor> ParseProcessor(const Config& preprocessor_config,
                                         std::string_view model_type, Backend backend) {
  if (model_type == kTimmWrapper) {
    const absl::StatusOr<PreprocessSpec> spec = ParseTimmProcessor(preprocessor_config);
    if (!spec.ok()) return spec.status();
    return Processor{.type = "TimmWrapperImageProcessor", .spec = *spec};
  }
  const absl::StatusOr<const ProcessorClass*> found = FindClass(preprocessor_config, model_type);
  if (!found.ok()) return found.status();
  const ProcessorClass& defaults = **found;
  Processor processor{.type = std::string(defaults.name), .spec = {}};
  PreprocessSpec& spec = processor.spec;
  spec.backend = defaults.rescale_first ? Backend::kTorchvision : backend;
  absl::Status status = ParseConversion(preprocessor_config, defaults, spec);
  if (status.ok()) status = ParseResize(preprocessor_config, defaults, spec);
  if (status.ok()) status = ParseCenterCrop(preprocessor_config, defaults, spec);
  if (status.ok() && defaults.crop_pct && spec.resize) {
    status = ApplyCropPart(preprocessor_config, *defaults.crop_pct, spec);
  }
  if (status.ok()) status = ParseRescale(preprocessor_config, defaults, spec);
  if (status.ok()) status = ParseNormalize(preprocessor_config, defaults, spec);
  if (status.ok()) status = CheckOtherSteps(preprocessor_config);
  if (!status.ok()) return status;
  status = ValidateSpec(spec);
  if (!status.ok()) return Annotate(status, preprocessor_config.origin());
  return processor;
}

}  // namespace pixembed
