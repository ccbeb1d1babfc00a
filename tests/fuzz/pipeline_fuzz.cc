// The path of the service, encoded bytes to model input, against its parts. Whatever the image and
// the processor: DecodeAndResize gives the pixels, or the answer, of Decode, ConvertToRgb and
// Resize (so the columns that it does not decode do not matter), the SIMD kernels those of the
// scalar ones, and Normalize finite numbers.
//
// The input is a file; its last bytes, which decoders ignore in most of them, say the processor
// too. So every image is a seed.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/image/preprocess.h"
#include "src/image/resample.h"

namespace {

using pixembed::Backend;
using pixembed::CropRule;
using pixembed::DecodeLimits;
using pixembed::Filter;
using pixembed::Image;
using pixembed::PatchBudget;
using pixembed::PreprocessSpec;
using pixembed::Reason;
using pixembed::Size;

// Small, so that a run is short.
constexpr DecodeLimits kLimits = {
    .max_encoded_bytes = std::size_t{1} << 20, .max_pixels = 1 << 16, .max_side = 1 << 11};

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// Numbers out of the end of the input, from back to front; 0 where it is spent.
class Tail {
 public:
  explicit Tail(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  // Of [min, max], which span 256 values at most.
  int Number(int min, int max) {
    if (bytes_.empty()) return min;
    const int byte = bytes_.back();
    bytes_ = bytes_.first(bytes_.size() - 1);
    return min + byte % (max - min + 1);
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

// A processor that the reference has.
PreprocessSpec AnySpec(Tail& tail) {
  PreprocessSpec spec;
  spec.backend = static_cast<Backend>(tail.Number(0, 1));
  spec.filter = spec.backend == Backend::kPil ? static_cast<Filter>(tail.Number(0, 5))
                                              : static_cast<Filter>(tail.Number(2, 3));
  bool may_crop = true;
  switch (tail.Number(0, 6)) {
    case 0:
      spec.resize.emplace().exact = Size{tail.Number(1, 250), tail.Number(1, 250)};
      break;
    case 1:
      spec.resize.emplace().shortest_edge = tail.Number(1, 100);
      break;
    case 2:
      spec.resize.emplace().shortest_edge = tail.Number(1, 100);
      spec.resize->longest_edge = tail.Number(1, 200);
      break;
    case 3:
      spec.resize.emplace().cover = Size{tail.Number(1, 100), tail.Number(1, 100)};
      break;
    case 4:
      spec.resize.emplace().fit = Size{tail.Number(1, 250), tail.Number(1, 250)};
      break;
    case 5:
      spec.resize.emplace().patches =
          PatchBudget{.patch = tail.Number(1, 30), .max_patches = tail.Number(1, 100)};
      may_crop = false;
      break;
    default:
      break;
  }
  if (tail.Number(0, 1) == 1 && may_crop) {
    spec.crop = Size{tail.Number(1, 250), tail.Number(1, 250)};
  }
  spec.crop_rule = static_cast<CropRule>(tail.Number(0, 1));
  spec.rescale = tail.Number(0, 3) != 0;
  spec.normalize = tail.Number(0, 3) != 0;
  spec.convert_rgb = tail.Number(0, 1) == 1;
  return spec;
}

bool Same(const Image& a, const Image& b) {
  return a.width() == b.width() && a.height() == b.height() &&
         std::ranges::equal(a.pixels(), b.pixels());
}

void RequireReason(const absl::Status& status) {
  Require(status.ok() || pixembed::ReasonOf(status).has_value(), "a failure has a reason");
  Require(status.code() != absl::StatusCode::kInternal, "never INTERNAL");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto encoded = std::as_bytes(std::span(data, size));
  Tail tail({data, size});
  const PreprocessSpec spec = AnySpec(tail);
  Require(ValidateSpec(spec).ok(), "the processor is one that can be followed");
  const absl::StatusOr<Image> input = pixembed::DecodeAndResize(encoded, kLimits, spec);
  absl::StatusOr<Image> whole = pixembed::Decode(encoded, kLimits);
  if (whole.ok()) {
    const absl::Status converted = ConvertToRgb(spec, *whole);
    if (!converted.ok()) whole = converted;
  }
  if (!input.ok()) {
    RequireReason(input.status());
    RequireReason(whole.status());
    // The result may be too large, or nothing, where the picture itself is not.
    const auto reason = pixembed::ReasonOf(input.status());
    Require(!whole.ok() || reason == Reason::kTooManyPixels || reason == Reason::kEmptyImage,
            "what decodes can be preprocessed");
    return 0;
  }
  Require(whole.ok(), "what can be preprocessed decodes");
  Require(Same(*input, Resize(*whole, spec)), "in one call the pixels are those of two");
  Require(Same(*input, ResizeWith(pixembed::ScalarKernels(), *whole, spec)),
          "SIMD and scalar kernels give the same pixels");
  const std::vector<float> values = PixelValues(*input, spec);
  Require(std::ranges::all_of(values, [](float value) { return std::isfinite(value); }),
          "every value is finite");
  return 0;
}
