#include "src/image/resample.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "src/image/image.h"
#include "src/image/taps.h"

namespace pixembed {
namespace {

constexpr int kChannels = 3;
constexpr int kRows = ResampleKernels::kRows;

// The sum of an output, and its rounding. Unsigned: partial sums may wrap, the whole fits.
class Accumulator {
 public:
  void Add(std::uint8_t sample, std::int32_t weight) {
    sum_ += static_cast<std::uint32_t>(sample * weight);
  }
  std::uint8_t Result(int precision) const {
    const auto sum = static_cast<std::int32_t>(sum_ + (std::uint32_t{1} << (precision - 1)));
    return static_cast<std::uint8_t>(std::clamp(sum >> precision, 0, 255));
  }

 private:
  std::uint32_t sum_ = 0;
};

// Weight t of the row of weights that starts at `row`.
std::int32_t Weight(const AxisTaps& taps, std::size_t row, int t) {
  const std::int32_t coarse = taps.coarse[row + t];
  return taps.split() ? coarse * (1 << AxisTaps::kFineBits) + taps.fine[row + t] : coarse;
}

void HorizontalScalar(const AxisTaps& taps, const std::uint8_t* const* in, int rows,
                      std::uint8_t* const* out) {
  for (int i = 0; i < taps.outputs(); ++i) {
    const std::size_t weights = static_cast<std::size_t>(i) * taps.stride;
    for (int r = 0; r < rows; ++r) {
      const std::uint8_t* pixel = in[r] + static_cast<std::ptrdiff_t>(taps.first[i]) * kChannels;
      std::array<Accumulator, kChannels> sums;
      for (int t = 0; t < taps.count[i]; ++t, pixel += kChannels) {
        const std::int32_t weight = Weight(taps, weights, t);
        for (int c = 0; c < kChannels; ++c) sums[c].Add(pixel[c], weight);
      }
      for (int c = 0; c < kChannels; ++c) {
        out[r][i * kChannels + c] = sums[c].Result(taps.precision);
      }
    }
  }
}

void VerticalScalar(const AxisTaps& taps, int i, const std::uint8_t* const* in, int bytes,
                    std::uint8_t* out) {
  const std::size_t weights = static_cast<std::size_t>(i) * taps.stride;
  for (int x = 0; x < bytes; ++x) {
    Accumulator sum;
    for (int t = 0; t < taps.count[i]; ++t) sum.Add(in[t][x], Weight(taps, weights, t));
    out[x] = sum.Result(taps.precision);
  }
}

// Rows of pixels that the kernels may overrun by their slack.
class RowBuffer {
 public:
  RowBuffer(int rows, int width)
      : stride_(static_cast<std::size_t>(width) * kChannels + ResampleKernels::kSlack),
        bytes_(stride_ * rows) {}

  std::uint8_t* row(int y) { return bytes_.data() + stride_ * y; }

 private:
  std::size_t stride_;
  std::vector<std::uint8_t> bytes_;
};

// Rows of the source for the horizontal kernel, which also reads what it weighs with zero: rows so
// near the end of the pixels that it would read past them are copied first.
class SourceRows {
 public:
  SourceRows(const Image& source, const AxisTaps& taps)
      : source_(source),
        reach_(taps.end() + taps.stride),
        copies_(kRows, std::max(source.width(), reach_)) {}

  // `slot` < kRows: which copy to use where one is needed.
  const std::uint8_t* row(int y, int slot) {
    const std::uint8_t* row = source_.row(y);
    const std::ptrdiff_t readable = source_.pixels().data() + source_.size_bytes() - row;
    if (std::ptrdiff_t{reach_} * kChannels + ResampleKernels::kSlack <= readable) return row;
    return static_cast<std::uint8_t*>(
        std::memcpy(copies_.row(slot), row, static_cast<std::size_t>(source_.width()) * kChannels));
  }

 private:
  const Image& source_;
  int reach_;
  RowBuffer copies_;
};

// Where the pass order leaves one axis as it is, its taps are absent.
struct Passes {
  const Image& source;
  const Window& window;
  const AxisTaps* x;
  const AxisTaps* y;
  const ResampleKernels& kernels;
  std::uint8_t* out;
  std::ptrdiff_t stride;
};

void CopyWindow(const Passes& p) {
  for (int y = 0; y < p.window.height; ++y) {
    std::memcpy(p.out + y * p.stride,
                p.source.row(p.window.top + y) + std::ptrdiff_t{p.window.left} * kChannels,
                static_cast<std::size_t>(p.window.width) * kChannels);
  }
}

// Along y straight from the source, columns [left, left + width).
class SourceColumns {
 public:
  SourceColumns(const Passes& passes, int left, int width)
      : passes_(passes), left_(left), width_(width), in_(passes.y->stride + 1) {}

  // Row i of the resized picture, width * 3 bytes.
  void Row(int i, std::uint8_t* out) {
    const AxisTaps& taps = *passes_.y;
    for (int t = 0; t <= taps.count[i]; ++t) {
      in_[t] = passes_.source.row(taps.first[i] + std::min(t, taps.count[i] - 1)) +
               std::ptrdiff_t{left_} * kChannels;
    }
    passes_.kernels.vertical(taps, i, in_.data(), width_ * kChannels, out);
  }

 private:
  const Passes& passes_;
  int left_;
  int width_;
  std::vector<const std::uint8_t*> in_;
};

void VerticalOnly(const Passes& p) {
  SourceColumns columns(p, p.window.left, p.window.width);
  for (int y = 0; y < p.window.height; ++y) columns.Row(y, p.out + y * p.stride);
}

// Along x, then along y. The rows between the passes live in a ring that holds what one output row
// needs.
void HorizontalFirst(const Passes& p) {
  const std::size_t row_bytes = static_cast<std::size_t>(p.window.width) * kChannels;
  const int begin = p.y != nullptr ? p.y->begin() : p.window.top;
  const int end = p.y != nullptr ? p.y->end() : p.window.top + p.window.height;
  const int ring_rows = (p.y != nullptr ? p.y->stride : 1) + kRows;
  RowBuffer ring(ring_rows, p.window.width);
  SourceRows source(p.source, *p.x);
  std::vector<const std::uint8_t*> between(ring_rows + 1);
  int done = begin;

  for (int i = 0; i < p.window.height; ++i) {
    const int first = p.y != nullptr ? p.y->first[i] : p.window.top + i;
    const int count = p.y != nullptr ? p.y->count[i] : 1;
    while (done < first + count) {
      const int rows = std::min(kRows, end - done);
      std::array<const std::uint8_t*, kRows> in{};
      std::array<std::uint8_t*, kRows> out{};
      for (int r = 0; r < rows; ++r) {
        in[r] = source.row(done + r, r);
        out[r] = ring.row((done + r) % ring_rows);
      }
      p.kernels.horizontal(*p.x, in.data(), rows, out.data());
      done += rows;
    }
    std::uint8_t* row = p.out + i * p.stride;
    if (p.y == nullptr) {
      std::memcpy(row, ring.row(first % ring_rows), row_bytes);
      continue;
    }
    for (int t = 0; t <= count; ++t) {
      between[t] = ring.row((first + std::min(t, count - 1)) % ring_rows);
    }
    p.kernels.vertical(*p.y, i, between.data(), static_cast<int>(row_bytes), row);
  }
}

// Along y, then along x, a few output rows at a time.
void VerticalFirst(const Passes& p) {
  const int left = p.x->begin();
  const int width = p.x->end() - left;
  AxisTaps x = *p.x;
  for (int& first : x.first) first -= left;
  SourceColumns columns(p, left, width);
  RowBuffer between(kRows, width + x.stride);
  RowBuffer finished(kRows, p.window.width);
  std::array<std::uint8_t*, kRows> middle{};
  std::array<std::uint8_t*, kRows> out{};
  for (int r = 0; r < kRows; ++r) {
    middle[r] = between.row(r);
    out[r] = finished.row(r);
  }
  for (int y = 0; y < p.window.height; y += kRows) {
    const int rows = std::min(kRows, p.window.height - y);
    for (int r = 0; r < rows; ++r) columns.Row(y + r, middle[r]);
    p.kernels.horizontal(x, middle.data(), rows, out.data());
    for (int r = 0; r < rows; ++r) {
      std::memcpy(p.out + (y + r) * p.stride, out[r],
                  static_cast<std::size_t>(p.window.width) * kChannels);
    }
  }
}

// Pillow 13 runs the vertical pass first where the height shrinks by more than twice what the width
// does. Source: Resample.c ImagingResampleInner, horizontal_first.
bool IsVerticalFirst(Backend backend, Size from, Size to) {
  const std::int64_t shrink_y = std::int64_t{from.height} - to.height;
  const std::int64_t shrink_x = std::int64_t{from.width} - to.width;
  return backend == Backend::kPil && shrink_y > 0 && shrink_y > 2 * shrink_x;
}

void ResampleNearest(const Image& source, Size size, const Window& window, std::uint8_t* out,
                     std::ptrdiff_t stride) {
  const std::vector<int> rows =
      NearestInputs(source.height(), size.height, window.top, window.height);
  const std::vector<int> columns =
      NearestInputs(source.width(), size.width, window.left, window.width);
  for (int y = 0; y < window.height; ++y) {
    const std::uint8_t* in = source.row(rows[y]);
    std::uint8_t* pixel = out + y * stride;
    for (const int x : columns) {
      pixel = std::copy_n(in + std::ptrdiff_t{x} * kChannels, kChannels, pixel);
    }
  }
}

}  // namespace

const ResampleKernels& ScalarKernels() {
  static constexpr ResampleKernels kKernels = {HorizontalScalar, VerticalScalar};
  return kKernels;
}

const ResampleKernels& BestKernels() {
  static const ResampleKernels* const kernels = Avx2Kernels();
  return kernels != nullptr ? *kernels : ScalarKernels();
}

void Resample(const Image& source, Backend backend, Filter filter, Size size, const Window& window,
              const ResampleKernels& kernels, std::uint8_t* out, std::ptrdiff_t stride) {
  const Size from = {source.height(), source.width()};
  if (filter == Filter::kNearest && from != size) {
    return ResampleNearest(source, size, window, out, stride);
  }
  AxisTaps x;
  AxisTaps y;
  Passes passes = {source, window, nullptr, nullptr, kernels, out, stride};
  if (from.width != size.width) {
    x = ComputeTaps(backend, filter, from.width, size.width, window.left, window.width);
    passes.x = &x;
  }
  if (from.height != size.height) {
    y = ComputeTaps(backend, filter, from.height, size.height, window.top, window.height);
    passes.y = &y;
  }
  if (passes.x == nullptr && passes.y == nullptr) return CopyWindow(passes);
  if (passes.x == nullptr) return VerticalOnly(passes);
  if (passes.y != nullptr && IsVerticalFirst(backend, from, size)) return VerticalFirst(passes);
  return HorizontalFirst(passes);
}

}  // namespace pixembed
