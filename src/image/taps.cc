#include "src/image/taps.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <vector>

namespace pixembed {
namespace {

// Pillow's fixed precision: 8 bits for the result and 2 for sums beyond [0, 1] leave 22 of 32.
constexpr int kPillowPrecision = 32 - 8 - 2;

// The largest weight from which on ATen's precision is at its smallest, 14 bits (see
// AtenPrecision). No filter has a normalised weight of 2, which would lower it further.
constexpr double kLargestWeight = 32767.5 / 32768.0;

double BoxFilter(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

double BilinearFilter(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double HammingFilter(double x) {
  x = std::abs(x);
  if (x == 0.0) return 1.0;
  if (x >= 1.0) return 0.0;
  x *= std::numbers::pi;
  // The constants are float32 in the reference too.
  return std::sin(x) / x * (0.54f + 0.46f * std::cos(x));
}

// Both pieces are computed and one is chosen, so that the compiler can vectorise.
double BicubicFilter(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  const double inner = ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1;
  const double outer = (((x - 5) * x + 8) * x - 4) * kA;
  const double tail = x < 2.0 ? outer : 0.0;
  return x < 1.0 ? inner : tail;
}

double Sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double LanczosFilter(double x) { return -3.0 <= x && x < 3.0 ? Sinc(x) * Sinc(x / 3) : 0.0; }

// How far a filter reaches, in inputs, where nothing is scaled down.
double Support(Filter filter) {
  switch (filter) {
    case Filter::kBox:
      return 0.5;
    case Filter::kBilinear:
    case Filter::kHamming:
      return 1.0;
    case Filter::kBicubic:
      return 2.0;
    case Filter::kLanczos:
      return 3.0;
    case Filter::kNearest:
      break;
  }
  return 0.0;
}

// Places and weights of an axis's outputs, in the double precision of both references.
class Axis {
 public:
  Axis(Filter filter, int input, int output)
      : input_(input),
        scale_(static_cast<double>(input) / output),
        filter_scale_(std::max(scale_, 1.0)),
        inverse_(1.0 / filter_scale_),
        support_(Support(filter) * filter_scale_) {}

  // No output has more weights.
  int max_count() const { return static_cast<int>(std::ceil(support_)) * 2 + 1; }

  struct Range {
    int first;
    int count;
  };

  // The inputs of output i.
  Range RangeOf(int i) const {
    const double center = Center(i);
    const int first = std::max(Truncate(center - support_ + 0.5), 0);
    const int end = std::min(Truncate(center + support_ + 0.5), input_);
    return {first, std::clamp(end - first, 0, max_count())};
  }

  // Their normalised weights, into `weights`.
  template <double (*kFilter)(double)>
  void Weigh(int i, Range range, double* weights) const {
    const double center = Center(i);
    for (int t = 0; t < range.count; ++t) {
      weights[t] = kFilter((t + range.first - center + 0.5) * inverse_);
    }
    double sum = 0.0;
    for (int t = 0; t < range.count; ++t) sum += weights[t];
    if (sum == 0.0) return;
    for (int t = 0; t < range.count; ++t) weights[t] /= sum;
  }

 private:
  double Center(int i) const { return (i + 0.5) * scale_; }

  int input_;
  double scale_;
  double filter_scale_;
  double inverse_;
  double support_;
};

int Quantize(double weight, int precision) {
  return Truncate((weight < 0 ? -0.5 : 0.5) + weight * (1 << precision));
}

// The most bits for which the largest weight of the whole axis still fits 16 bits.
int AtenPrecision(double largest) {
  int precision = 0;
  while (precision < 22 && Truncate(0.5 + largest * (1 << (precision + 1))) < (1 << 15)) {
    ++precision;
  }
  return precision;
}

// The largest of `largest` and the weights of outputs [begin, end), or one of at least
// kLargestWeight. Enlarging meets such a weight at its first output; an axis that shrinks has fewer
// outputs than inputs: the work is bounded by the input.
template <double (*kFilter)(double)>
double LargestWeight(const Axis& axis, int begin, int end, double largest) {
  std::vector<double> weights(axis.max_count());
  for (int i = begin; i < end && largest < kLargestWeight; ++i) {
    const Axis::Range range = axis.RangeOf(i);
    axis.Weigh<kFilter>(i, range, weights.data());
    largest = std::max(largest, *std::max_element(weights.begin(), weights.begin() + range.count));
  }
  return largest;
}

// The weights as integers of 22 bits, in two parts.
void QuantizeForPillow(const std::vector<double>& weights, AxisTaps& taps) {
  taps.precision = kPillowPrecision;
  taps.coarse.resize(weights.size());
  taps.fine.resize(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const int weight = Quantize(weights[i], kPillowPrecision);
    taps.coarse[i] = static_cast<std::int16_t>(weight >> AxisTaps::kFineBits);
    taps.fine[i] = static_cast<std::int16_t>(weight & ((1 << AxisTaps::kFineBits) - 1));
  }
}

void QuantizeForAten(const std::vector<double>& weights, int precision, AxisTaps& taps) {
  taps.precision = precision;
  taps.coarse.resize(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    taps.coarse[i] = static_cast<std::int16_t>(Quantize(weights[i], precision));
  }
}

template <double (*kFilter)(double)>
AxisTaps Compute(Backend backend, const Axis& axis, int output, int begin, int outputs) {
  AxisTaps taps;
  taps.first.resize(outputs);
  taps.count.resize(outputs);
  for (int i = 0; i < outputs; ++i) {
    const Axis::Range range = axis.RangeOf(begin + i);
    taps.first[i] = range.first;
    taps.count[i] = range.count;
  }
  const int longest = *std::max_element(taps.count.begin(), taps.count.end());
  taps.stride = (longest + AxisTaps::kGroup - 1) / AxisTaps::kGroup * AxisTaps::kGroup;

  std::vector<double> weights(static_cast<std::size_t>(outputs) * taps.stride);
  for (int i = 0; i < outputs; ++i) {
    axis.Weigh<kFilter>(begin + i, {taps.first[i], taps.count[i]},
                        &weights[static_cast<std::size_t>(i) * taps.stride]);
  }
  if (backend == Backend::kPil) {
    QuantizeForPillow(weights, taps);
    return taps;
  }
  double largest = *std::max_element(weights.begin(), weights.end());
  largest = LargestWeight<kFilter>(axis, 0, begin, largest);
  largest = LargestWeight<kFilter>(axis, begin + outputs, output, largest);
  QuantizeForAten(weights, AtenPrecision(largest), taps);
  return taps;
}

}  // namespace

AxisTaps ComputeTaps(Backend backend, Filter filter, int input, int output, int begin,
                     int outputs) {
  const Axis axis(filter, input, output);
  switch (filter) {
    case Filter::kBox:
      return Compute<BoxFilter>(backend, axis, output, begin, outputs);
    case Filter::kBilinear:
      return Compute<BilinearFilter>(backend, axis, output, begin, outputs);
    case Filter::kHamming:
      return Compute<HammingFilter>(backend, axis, output, begin, outputs);
    case Filter::kBicubic:
      return Compute<BicubicFilter>(backend, axis, output, begin, outputs);
    case Filter::kLanczos:
      return Compute<LanczosFilter>(backend, axis, output, begin, outputs);
    case Filter::kNearest:
      break;
  }
  return {};
}

std::vector<int> NearestInputs(int input, int output, int begin, int outputs) {
  // Positions are added up, not multiplied, as in the reference: rounding included.
  const double scale = static_cast<double>(input) / output;
  double position = scale * 0.5;
  for (int i = 0; i < begin; ++i) position += scale;
  std::vector<int> inputs(outputs);
  for (int& in : inputs) {
    in = std::min(static_cast<int>(position), input - 1);
    position += scale;
  }
  return inputs;
}

InputRange ComputeInputRange(Filter filter, int input, int output, int begin, int outputs) {
  if (filter == Filter::kNearest) {
    const std::vector<int> inputs = NearestInputs(input, output, begin, outputs);
    return {inputs.front(), inputs.back() + 1};
  }
  const Axis axis(filter, input, output);
  const Axis::Range last = axis.RangeOf(begin + outputs - 1);
  return {axis.RangeOf(begin).first, last.first + last.count};
}

}  // namespace pixembed
