// Differential: the resamplers' SIMD kernels against the scalar ones, for any backend, filter,
// sizes and window; and the steps of a whole spec, valid or not, on the same picture.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/image/preprocess.h"
#include "src/image/resample.h"
#include "src/image/resample_float.h"

namespace {

using pixembed::Backend;
using pixembed::Filter;
using pixembed::FloatKernels;
using pixembed::Image;
using pixembed::PatchBudget;
using pixembed::PreprocessSpec;
using pixembed::ResampleKernels;
using pixembed::Size;
using pixembed::Window;

// Bounds that keep a run in milliseconds.
constexpr int kMaxSide = 600;
constexpr int kMaxPixels = 1 << 14;

// What the input says, a number at a time; 0 after its end.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  template <typename T>
  T Take() {
    T value{};
    const std::size_t size = std::min(sizeof(T), bytes_.size());
    if (size > 0) std::memcpy(&value, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return value;
  }
  // Of [min, max].
  int Number(int min, int max) { return min + Take<std::uint16_t>() % (max - min + 1); }
  Size SmallSize() {
    Size size = {Number(1, kMaxSide), Number(1, kMaxSide)};
    size.width = std::min(size.width, std::max(kMaxPixels / size.height, 1));
    return size;
  }
  std::span<const std::uint8_t> rest() const { return bytes_; }

 private:
  std::span<const std::uint8_t> bytes_;
};

void Require(bool condition) {
  if (!condition) std::abort();
}

// The rest of the input, over and over.
Image Picture(std::span<const std::uint8_t> bytes, Size size) {
  Image image(size.width, size.height);
  for (std::size_t i = 0; i < image.size_bytes(); ++i) {
    image.pixels()[i] = bytes.empty() ? static_cast<std::uint8_t>(i * 37) : bytes[i % bytes.size()];
  }
  return image;
}

Window WindowOf(Input& input, Size size) {
  Window window;
  window.height = input.Number(1, size.height);
  window.width = input.Number(1, size.width);
  window.top = input.Number(0, size.height - window.height);
  window.left = input.Number(0, size.width - window.width);
  return window;
}

void CompareKernels(const Image& image, Backend backend, Filter filter, Size to,
                    const Window& window) {
  const std::size_t row_bytes = static_cast<std::size_t>(window.width) * 3;
  const auto run = [&](const ResampleKernels& kernels) {
    std::vector<std::uint8_t> out(row_bytes * static_cast<std::size_t>(window.height));
    Resample(image, backend, filter, to, window, kernels, out.data(),
             static_cast<std::ptrdiff_t>(row_bytes));
    return out;
  };
  Require(run(pixembed::ScalarKernels()) == run(pixembed::BestKernels()));
}

void CompareFloatKernels(const Image& image, Filter filter, Size to, const Window& window) {
  const std::size_t row_floats = static_cast<std::size_t>(window.width) * 3;
  const auto run = [&](const FloatKernels& kernels) {
    std::vector<float> out(row_floats * static_cast<std::size_t>(window.height));
    ResampleFloat(image, 1.0F / 255.0F, filter, to, window, kernels, out.data(),
                  static_cast<std::ptrdiff_t>(row_floats));
    return out;
  };
  Require(run(pixembed::ScalarFloatKernels()) == run(pixembed::BestFloatKernels()));
}

PreprocessSpec AnySpec(Input& input, Backend backend, Filter filter) {
  PreprocessSpec spec;
  spec.backend = backend;
  spec.filter = filter;
  const int form = input.Number(0, 8);
  if (form >= 7) {
    spec.resize.emplace().patches =
        PatchBudget{.patch = input.Number(-1, 30), .max_patches = input.Number(-1, 60)};
    if (form == 7) spec.resize->shortest_edge = input.Number(-1, 1);
  } else if (form != 0) {
    spec.resize.emplace();
    if (form % 2 == 0) spec.resize->exact = Size{input.Number(-1, 200), input.Number(-1, 200)};
    if (form % 4 != 2) spec.resize->shortest_edge = input.Number(-1, 40);
    if (form == 5) spec.resize->longest_edge = input.Number(0, 60);
  }
  if (input.Number(0, 1) == 1) spec.crop = Size{input.Number(-1, 200), input.Number(-1, 200)};
  spec.rescale = input.Number(0, 1) == 1;
  spec.normalize = input.Number(0, 1) == 1;
  spec.rescale_factor = input.Take<double>();
  spec.mean[0] = input.Take<double>();
  spec.std[1] = input.Take<double>();
  spec.rescale_first = input.Number(0, 3) == 3;
  return spec;
}

void RunSpec(const Image& image, const PreprocessSpec& spec) {
  const absl::Status status = ValidateSpec(spec);
  if (!status.ok()) {
    Require(pixembed::ReasonOf(status) == pixembed::Reason::kUnsupportedProcessor);
    return;
  }
  const Size resized_size = ResizedSize(spec, {image.height(), image.width()});
  if (resized_size.height < 1 || resized_size.width < 1) return;  // DecodeAndResize refuses it
  const Size size = OutputSize(spec, {image.height(), image.width()});
  if (std::int64_t{size.height} * size.width > 1 << 16) return;
  const Image resized = Resize(image, spec);
  Require(resized.height() == size.height && resized.width() == size.width);
  const std::vector<float> values = PixelValues(resized, spec);
  Require(values.size() >= resized.samples());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input({data, size});
  const auto backend = static_cast<Backend>(input.Number(0, 1));
  const auto filter = static_cast<Filter>(input.Number(0, 5));
  const Size from = input.SmallSize();
  const Size to = input.SmallSize();
  const Window window = WindowOf(input, to);
  const PreprocessSpec spec = AnySpec(input, backend, filter);
  const Image image = Picture(input.rest(), from);
  const bool has_filter =
      backend == Backend::kPil || filter == Filter::kBilinear || filter == Filter::kBicubic;
  if (has_filter) CompareKernels(image, backend, filter, to, window);
  if (filter == Filter::kBilinear || filter == Filter::kBicubic) {
    CompareFloatKernels(image, filter, to, window);
  }
  RunSpec(image, spec);
  return 0;
}
