#include "src/image/resample_float.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/image/image.h"
#include "src/image/resample.h"
#include "src/image/taps.h"

namespace pixembed {
namespace {

constexpr int kChannels = 3;
constexpr int kLanes = FloatKernels::kLanes;
constexpr int kBlock = FloatKernels::kBlock;

float BilinearFilter(float x) {
  x = std::abs(x);
  return x < 1.0F ? 1.0F - x : 0.0F;
}

// Fused where the compiler of ATen's build fused.
float BicubicFilter(float x) {
  constexpr float kA = -0.5F;
  x = std::abs(x);
  if (x < 1.0F) return std::fma(std::fma(kA + 2.0F, x, -(kA + 3.0F)) * x, x, 1.0F);
  if (x < 2.0F) return std::fma(std::fma(x - 5.0F, x, 8.0F), x, -4.0F) * kA;
  return 0.0F;
}

// Places and weights of an axis's outputs. What is double and what is float32 is the reference's.
class FloatAxis {
 public:
  FloatAxis(Filter filter, int input, int output)
      : filter_(filter == Filter::kBicubic ? BicubicFilter : BilinearFilter),
        input_(input),
        scale_(static_cast<float>(input) / static_cast<float>(output)) {
    const double support = filter == Filter::kBicubic ? 2.0 : 1.0;
    support_ = static_cast<float>(scale_ >= 1.0F ? support * scale_ : support);
    inverse_ = static_cast<float>(scale_ >= 1.0F ? 1.0 / scale_ : 1.0);
  }

  struct Range {
    int first;
    int count;
  };

  Range RangeOf(int i) const {
    const float center = Center(i);
    const int first = std::max(Truncate((center - support_) + 0.5), 0);
    const int end = std::min(Truncate((center + support_) + 0.5), input_);
    const int most = static_cast<int>(std::ceil(support_)) * 2 + 1;
    return {first, std::clamp(end - first, 1, most)};
  }

  void Weigh(int i, Range range, float* weights) const {
    const float center = Center(i);
    float sum = 0.0F;
    for (int t = 0; t < range.count; ++t) {
      const float distance = static_cast<float>(range.first + t) - center;
      weights[t] = filter_(static_cast<float>((distance + 0.5) * inverse_));
      sum += weights[t];
    }
    if (sum == 0.0F) return;
    for (int t = 0; t < range.count; ++t) weights[t] /= sum;
  }

 private:
  float Center(int i) const { return static_cast<float>(scale_ * (i + 0.5)); }

  float (*filter_)(float);
  int input_;
  float scale_;
  float support_;
  float inverse_;
};

void HorizontalScalar(const FloatTaps& taps, const float* in, float* out) {
  for (int i = 0; i < taps.outputs(); ++i) {
    const float* pixel = in + std::ptrdiff_t{taps.first[i]} * kLanes;
    const float* weights = &taps.weights[static_cast<std::size_t>(i) * taps.stride];
    const int fused = taps.fused(i);
    for (int lane = 0; lane < kLanes; ++lane) {
      float sum = pixel[lane] * weights[0];
      int t = 1;
      for (; t < fused; ++t) sum += pixel[t * kLanes + lane] * weights[t];
      for (; t < taps.count[i]; ++t) sum = std::fma(pixel[t * kLanes + lane], weights[t], sum);
      out[i * kLanes + lane] = sum;
    }
  }
}

void VerticalScalar(const FloatTaps& taps, int i, const float* const* in, int floats, float* out) {
  const float* weights = &taps.weights[static_cast<std::size_t>(i) * taps.stride];
  const int fused = taps.fused(i);
  for (int x = 0; x < floats; ++x) {
    float sum = in[0][x] * weights[0];
    int t = 1;
    for (; t < fused; ++t) sum += in[t][x] * weights[t];
    for (; t < taps.count[i]; ++t) sum = std::fma(in[t][x], weights[t], sum);
    out[x] = sum;
  }
}

// The rescaled pixels of some columns of the source, row by row.
class RescaledRows {
 public:
  RescaledRows(const Image& source, float factor, InputRange columns)
      : source_(source),
        columns_(columns),
        row_(static_cast<std::size_t>(columns.end - columns.begin) * kLanes) {
    for (int level = 0; level < 256; ++level) {
      values_[static_cast<std::size_t>(level)] = static_cast<float>(level) * factor;
    }
  }

  // Valid until the next call.
  const float* row(int y) {
    const std::uint8_t* level = source_.row(y) + std::ptrdiff_t{columns_.begin} * kChannels;
    for (std::size_t x = 0; x < row_.size(); x += kLanes, level += kChannels) {
      for (int c = 0; c < kChannels; ++c) row_[x + c] = values_[level[c]];
    }
    return row_.data();
  }

 private:
  const Image& source_;
  InputRange columns_;
  std::array<float, 256> values_;
  std::vector<float> row_;
};

InputRange RangeOf(const FloatTaps& taps) {
  return {taps.first.front(), taps.first.back() + taps.count.back()};
}

}  // namespace

FloatTaps ComputeFloatTaps(Filter filter, int input, int output, int begin, int outputs) {
  const FloatAxis axis(filter, input, output);
  FloatTaps taps;
  taps.first.resize(outputs);
  taps.count.resize(outputs);
  for (int i = 0; i < outputs; ++i) {
    const FloatAxis::Range range = axis.RangeOf(begin + i);
    taps.first[i] = range.first;
    taps.count[i] = range.count;
  }
  taps.stride = *std::max_element(taps.count.begin(), taps.count.end());
  taps.weights.resize(static_cast<std::size_t>(outputs) * taps.stride);
  for (int i = 0; i < outputs; ++i) {
    axis.Weigh(begin + i, {taps.first[i], taps.count[i]},
               &taps.weights[static_cast<std::size_t>(i) * taps.stride]);
  }
  return taps;
}

InputRange ComputeFloatInputRange(Filter filter, int input, int output, int begin, int outputs) {
  const FloatAxis axis(filter, input, output);
  const FloatAxis::Range last = axis.RangeOf(begin + outputs - 1);
  return {axis.RangeOf(begin).first, last.first + last.count};
}

const FloatKernels& ScalarFloatKernels() {
  static constexpr FloatKernels kKernels = {HorizontalScalar, VerticalScalar};
  return kKernels;
}

const FloatKernels& BestFloatKernels() {
  static const FloatKernels* const kernels = FmaFloatKernels();
  return kernels != nullptr ? *kernels : ScalarFloatKernels();
}

// Like the reference, an axis whose size stays is resized too: its weights are 1 and 0.
void ResampleFloat(const Image& source, float factor, Filter filter, Size size,
                   const Window& window, const FloatKernels& kernels, float* out,
                   std::ptrdiff_t stride) {
  FloatTaps x = ComputeFloatTaps(filter, source.width(), size.width, window.left, window.width);
  const FloatTaps y =
      ComputeFloatTaps(filter, source.height(), size.height, window.top, window.height);
  const InputRange columns = RangeOf(x);
  for (int& first : x.first) first -= columns.begin;
  RescaledRows rescaled(source, factor, columns);

  // The rows between the passes live in a ring that holds what one output row needs.
  const int row_floats = (window.width * kLanes + kBlock - 1) / kBlock * kBlock;
  std::vector<float> ring(static_cast<std::size_t>(y.stride) * row_floats);
  const auto ring_row = [&](int row) {
    return ring.data() + static_cast<std::ptrdiff_t>(row % y.stride) * row_floats;
  };
  std::vector<float> finished(static_cast<std::size_t>(row_floats));
  std::vector<const float*> between(static_cast<std::size_t>(y.stride));
  int done = y.first.front();
  for (int i = 0; i < window.height; ++i, out += stride) {
    for (; done < y.first[i] + y.count[i]; ++done) {
      kernels.horizontal(x, rescaled.row(done), ring_row(done));
    }
    for (int t = 0; t < y.count[i]; ++t) between[t] = ring_row(y.first[i] + t);
    kernels.vertical(y, i, between.data(), row_floats, finished.data());
    for (int column = 0; column < window.width; ++column) {
      std::copy_n(&finished[static_cast<std::size_t>(column) * kLanes], kChannels,
                  out + std::ptrdiff_t{column} * kChannels);
    }
  }
}

}  // namespace pixembed
