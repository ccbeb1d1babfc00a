#include "src/image/preprocess.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/resample.h"
#include "src/image/resample_float.h"
#include "src/image/taps.h"

namespace pixembed {
namespace {

// Sizes of a processor beyond this are refused: no vision transformer takes such a picture, and
// buffers stay bounded.
constexpr int kMaxTarget = 4096;
constexpr int kMaxPatches = 4096;

absl::Status Unsupported(std::string_view field, std::string_view value, std::string_view why) {
  return MakeError(Reason::kUnsupportedProcessor,
                   absl::StrCat("the image processor's \"", std::string(field), "\" is ",
                                std::string(value), ": ", std::string(why)));
}

absl::Status CheckRange(std::string_view field, int value) {
  if (value >= 1 && value <= kMaxTarget) return absl::OkStatus();
  return Unsupported(field, absl::StrCat(value),
                     absl::StrCat("must be between 1 and ", kMaxTarget));
}

absl::Status CheckTargetSize(std::string_view field, Size size) {
  if (absl::Status s = CheckRange(absl::StrCat(std::string(field), ".height"), size.height);
      !s.ok()) {
    return s;
  }
  return CheckRange(absl::StrCat(std::string(field), ".width"), size.width);
}

absl::Status CheckPatches(const PatchBudget& budget) {
  if (absl::Status s = CheckRange("patch_size", budget.patch); !s.ok()) return s;
  if (budget.max_patches < 1 || budget.max_patches > kMaxPatches) {
    return Unsupported("max_num_patches", absl::StrCat(budget.max_patches),
                       absl::StrCat("must be between 1 and ", kMaxPatches));
  }
  const std::int64_t pixels = std::int64_t{budget.patch} * budget.patch * budget.max_patches;
  constexpr std::int64_t kMaxPixels = std::int64_t{kMaxTarget} * kMaxTarget;
  if (pixels <= kMaxPixels) return absl::OkStatus();
  return Unsupported("max_num_patches", absl::StrCat(budget.max_patches),
                     absl::StrCat("with patch_size ", budget.patch, " that is ", pixels,
                                  " pixels, more than ", kMaxPixels));
}

absl::Status CheckResize(const ResizeTarget& target) {
  const bool has_edge = target.shortest_edge != 0 || target.longest_edge != 0;
  const int forms = static_cast<int>(has_edge) + static_cast<int>(target.exact.has_value()) +
                    static_cast<int>(target.cover.has_value()) +
                    static_cast<int>(target.fit.has_value()) +
                    static_cast<int>(target.patches.has_value());
  if (forms != 1) {
    return Unsupported("size", forms > 1 ? "two sizes at once" : "empty",
                       "must be either height and width, or shortest_edge with or without "
                       "longest_edge, or patch_size and max_num_patches");
  }
  if (target.patches.has_value()) return CheckPatches(*target.patches);
  for (const std::optional<Size>& size : {target.exact, target.cover, target.fit}) {
    if (size.has_value()) return CheckTargetSize("size", *size);
  }
  if (absl::Status s = CheckRange("size.shortest_edge", target.shortest_edge); !s.ok()) return s;
  if (target.longest_edge == 0) return absl::OkStatus();
  return CheckRange("size.longest_edge", target.longest_edge);
}

absl::Status CheckFilter(Backend backend, Filter filter) {
  const std::string value =
      absl::StrCat(static_cast<int>(filter), " (", std::string(FilterName(filter)), ")");
  switch (filter) {
    case Filter::kBilinear:
    case Filter::kBicubic:
      return absl::OkStatus();
    case Filter::kNearest:
    case Filter::kLanczos:
    case Filter::kBox:
    case Filter::kHamming:
      if (backend == Backend::kPil) return absl::OkStatus();
      // torchvision's own nearest picks other pixels on processors with FMA than on those without.
      return Unsupported("resample", value,
                         "the torchvision backend has bilinear (2) and bicubic (3); the pil "
                         "backend has this filter");
  }
  return Unsupported("resample", value, "must be one of 0 to 5");
}

absl::Status CheckRescaleFirst(const PreprocessSpec& spec) {
  if (spec.backend != Backend::kTorchvision || !spec.rescale) {
    return Unsupported("do_rescale", spec.rescale ? "true" : "false",
                       "resizing after rescaling needs both the rescale and the torchvision "
                       "backend");
  }
  if (!spec.resize.has_value()) return absl::OkStatus();
  const ResizeTarget& target = *spec.resize;
  const bool one_column = target.patches.has_value() ? target.patches->patch == 1
                          : target.exact.has_value() ? target.exact->width == 1
                                                     : target.shortest_edge == 1;
  if (!one_column) return absl::OkStatus();
  // ATen 2.11 takes the weights of the first row for all rows of an image of one column.
  return Unsupported("size", "one pixel wide", "must be at least 2 where the resize is in float32");
}

// A number of the processor as the float32 that the arithmetic uses.
bool FitsFloat(double value) { return std::isfinite(static_cast<float>(value)); }

absl::Status CheckArithmetic(const PreprocessSpec& spec) {
  if (spec.rescale && (!FitsFloat(spec.rescale_factor) || !FitsFloat(1.0 / spec.rescale_factor))) {
    return Unsupported("rescale_factor", absl::StrCat(spec.rescale_factor),
                       "it and its inverse must be finite");
  }
  if (!spec.normalize) return absl::OkStatus();
  for (const double mean : spec.mean) {
    if (!FitsFloat(mean)) {
      return Unsupported("image_mean", absl::StrCat(mean), "must be finite");
    }
  }
  const double scale = spec.rescale ? 1.0 / spec.rescale_factor : 1.0;
  for (const double std : spec.std) {
    if (!FitsFloat(std) || !FitsFloat(std * scale) || static_cast<float>(std) == 0.0f ||
        static_cast<float>(std) * static_cast<float>(scale) == 0.0f) {
      return Unsupported("image_std", absl::StrCat(std), "must be finite and not zero");
    }
  }
  return absl::OkStatus();
}

// Python: requested_new_short, int(requested_new_short * long / short).
// Source: transformers 5.23.0 image_transforms.py get_resize_output_image_size.
Size ShortestEdgeSize(int edge, Size input) {
  const int shorter = std::min(input.height, input.width);
  const int longer = std::max(input.height, input.width);
  const int new_longer =
      static_cast<int>(static_cast<double>(std::int64_t{edge} * longer) / shorter);
  return input.width <= input.height ? Size{new_longer, edge} : Size{edge, new_longer};
}

// Source: transformers 5.23.0 image_transforms.py get_size_with_aspect_ratio.
Size CappedSize(int edge, int longest, Size input) {
  const double shorter = std::min(input.height, input.width);
  const double longer = std::max(input.height, input.width);
  if (longer / shorter * edge <= longest) {
    return ShortestEdgeSize(edge, input);
  }
  const double raw = longest * shorter / longer;
  // Python's round(): halves go to the even number, which is the default rounding mode.
  const int new_edge = static_cast<int>(std::nearbyint(raw));
  if (std::min(input.height, input.width) == new_edge) return input;
  if (input.width < input.height) {
    return {static_cast<int>(raw * input.height / input.width), new_edge};
  }
  return {new_edge, static_cast<int>(raw * input.width / input.height)};
}

// Source: timm 1.0.31 data/transforms.py ResizeKeepRatio.get_params.
Size RatioKeptSize(Size target, bool fit, Size input) {
  const double ratio_h = static_cast<double>(input.height) / target.height;
  const double ratio_w = static_cast<double>(input.width) / target.width;
  const double ratio = fit ? std::max(ratio_h, ratio_w) : std::min(ratio_h, ratio_w);
  // Python's round().
  return {static_cast<int>(std::nearbyint(input.height / ratio)),
          static_cast<int>(std::nearbyint(input.width / ratio))};
}

// Source: transformers 5.23.0 models/siglip2/image_processing_siglip2.py
// get_image_size_for_max_num_patches, in its order of operations; the pil backend has the same.
Size BudgetSize(const PatchBudget& budget, Size input) {
  constexpr double kEpsilon = 1e-5;
  // The patches along a side, at least one.
  const auto scaled = [&budget](double scale, int side) {
    return std::max(1.0, std::ceil(side * scale / budget.patch));
  };
  double low = kEpsilon / 10;
  double high = 100.0;
  while (high - low >= kEpsilon) {
    const double scale = (low + high) / 2;
    const bool fits = scaled(scale, input.height) * scaled(scale, input.width) <=
                      static_cast<double>(budget.max_patches);
    (fits ? low : high) = scale;
  }
  return {static_cast<int>(scaled(low, input.height)) * budget.patch,
          static_cast<int>(scaled(low, input.width)) * budget.patch};
}

// One axis of a center crop: samples [from, from + count) of the resized picture land at
// [to, to + count) of the output; the rest of the output is 0.
struct CropAxis {
  int from;
  int to;
  int count;
};

// Where padding is odd, torchvision puts the smaller half before the picture, the pil backend the
// larger. Source: transformers 5.23.0 image_processing_backends.py TorchvisionBackend.center_crop,
// image_transforms.py center_crop; torchvision 0.26.0 transforms/functional.py center_crop, whose
// round() takes halves to the even number.
CropAxis CenterCrop(const PreprocessSpec& spec, int resized, int crop) {
  const bool torchvision = spec.crop_rule == CropRule::kTorchvision;
  if (crop <= resized) {
    const int before = (resized - crop) / 2;
    const bool half = (resized - crop) % 2 != 0;
    return {torchvision && half ? before + before % 2 : before, 0, crop};
  }
  const int padding = crop - resized;
  const bool larger_first = spec.backend == Backend::kPil && !torchvision;
  return {0, larger_first ? (padding + 1) / 2 : padding / 2, resized};
}

// What the crop does not cover.
void FillPadding(const PreprocessSpec& spec, Image& image) {
  if (image.sample() == Sample::kFloat32) {
    std::ranges::fill(image.values(), 0.0F);
    return;
  }
  const auto& [red, green, blue] = spec.padding;
  std::uint8_t* pixel = image.pixels().data();
  const std::uint8_t* const end = pixel + image.samples();
  for (; pixel != end; pixel += 3) {
    pixel[0] = red;
    pixel[1] = green;
    pixel[2] = blue;
  }
}

}  // namespace

absl::Status ValidateSpec(const PreprocessSpec& spec) {
  if (spec.resize.has_value()) {
    if (absl::Status s = CheckResize(*spec.resize); !s.ok()) return s;
    if (absl::Status s = CheckFilter(spec.backend, spec.filter); !s.ok()) return s;
  }
  if (spec.rescale_first) {
    if (absl::Status s = CheckRescaleFirst(spec); !s.ok()) return s;
  }
  if (spec.crop.has_value()) {
    if (absl::Status s = CheckTargetSize("crop_size", *spec.crop); !s.ok()) return s;
    if (spec.resize.has_value() && spec.resize->patches.has_value()) {
      return Unsupported("crop_size", absl::StrCat(spec.crop->height, "x", spec.crop->width),
                         "there is no crop where max_num_patches says how large an image is");
    }
  }
  return CheckArithmetic(spec);
}

std::optional<Size> FixedOutputSize(const PreprocessSpec& spec) {
  if (spec.crop.has_value()) return spec.crop;
  if (spec.resize.has_value()) return spec.resize->exact;
  return std::nullopt;
}

Size LargestSquare(const PatchBudget& budget) {
  const int side = static_cast<int>(std::sqrt(static_cast<double>(budget.max_patches)));
  return {side * budget.patch, side * budget.patch};
}

Size ResizedSize(const PreprocessSpec& spec, Size input) {
  if (!spec.resize.has_value()) return input;
  const ResizeTarget& target = *spec.resize;
  if (target.patches.has_value()) return BudgetSize(*target.patches, input);
  if (target.exact.has_value()) return *target.exact;
  if (target.cover.has_value()) return RatioKeptSize(*target.cover, /*fit=*/false, input);
  if (target.fit.has_value()) return RatioKeptSize(*target.fit, /*fit=*/true, input);
  return target.longest_edge != 0 ? CappedSize(target.shortest_edge, target.longest_edge, input)
                                  : ShortestEdgeSize(target.shortest_edge, input);
}

Size OutputSize(const PreprocessSpec& spec, Size input) {
  return spec.crop.has_value() ? *spec.crop : ResizedSize(spec, input);
}

Window CropWindow(const PreprocessSpec& spec, Size input) {
  const Size resized = ResizedSize(spec, input);
  const Size output = OutputSize(spec, input);
  const CropAxis y = CenterCrop(spec, resized.height, output.height);
  const CropAxis x = CenterCrop(spec, resized.width, output.width);
  return {y.from - y.to, x.from - x.to, output.height, output.width};
}

Columns InputColumns(const PreprocessSpec& spec, Size input) {
  const int resized = ResizedSize(spec, input).width;
  const CropAxis x = CenterCrop(spec, resized, OutputSize(spec, input).width);
  if (resized == input.width) return {x.from, x.from + x.count};
  const InputRange range =
      spec.rescale_first
          ? ComputeFloatInputRange(spec.filter, input.width, resized, x.from, x.count)
          : ComputeInputRange(spec.filter, input.width, resized, x.from, x.count);
  return {range.begin, range.end};
}

Image Resize(const Image& image, const PreprocessSpec& spec) {
  return ResizeWith(BestKernels(), image, spec);
}

Image ResizeWith(const ResampleKernels& kernels, const Image& image, const PreprocessSpec& spec) {
  assert(!spec.convert_rgb || image.transparency() == Transparency());
  const Size resized = ResizedSize(spec, {image.height(), image.width()});
  const Size size = spec.crop.value_or(resized);
  const CropAxis y = CenterCrop(spec, resized.height, size.height);
  const CropAxis x = CenterCrop(spec, resized.width, size.width);
  const bool in_float = spec.rescale_first && spec.resize.has_value();
  Image output(size.width, size.height, in_float ? Sample::kFloat32 : Sample::kUint8);
  if (y.count < size.height || x.count < size.width) FillPadding(spec, output);
  const Window window = {y.from, x.from, y.count, x.count};
  const std::ptrdiff_t stride = std::ptrdiff_t{size.width} * 3;
  const std::ptrdiff_t corner = y.to * stride + std::ptrdiff_t{x.to} * 3;
  if (in_float) {
    ResampleFloat(image, static_cast<float>(spec.rescale_factor), spec.filter, resized, window,
                  BestFloatKernels(), output.values().data() + corner, stride);
    NormalizeValues(spec, output);
  } else {
    Resample(image, spec.backend, spec.filter, resized, window, kernels,
             output.pixels().data() + corner, stride);
  }
  return output;
}

}  // namespace pixembed
