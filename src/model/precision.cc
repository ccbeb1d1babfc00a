#include "src/model/precision.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numbers>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/integer_kernel.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

// A level of one channel at a place from 0 to 1.
using Picture = std::function<double(double y, double x, int channel)>;

double Shades(double y, double x, int channel) {
  return channel == 0 ? x : channel == 1 ? y : 1.0 - 0.5 * (x + y);
}

double Edges(double y, double x, int channel) {
  const bool dark = (static_cast<int>(y * 7.0) + static_cast<int>(x * 5.0)) % 2 == 0;
  return dark ? 0.05 * channel : 0.9 - 0.2 * channel;
}

double Blobs(double y, double x, int channel) {
  const double wave = std::sin(2.0 * std::numbers::pi * (1.5 * x + 0.2 * channel)) *
                      std::cos(2.0 * std::numbers::pi * (2.5 * y + 0.1 * channel));
  return 0.5 + 0.45 * wave;
}

Image Paint(Size size, const Picture& picture) {
  Image image(size.width, size.height);
  std::uint8_t* level = image.pixels().data();
  for (int y = 0; y < size.height; ++y) {
    for (int x = 0; x < size.width; ++x) {
      for (int channel = 0; channel < 3; ++channel) {
        const double value = picture((y + 0.5) / size.height, (x + 0.5) / size.width, channel);
        *level++ = static_cast<std::uint8_t>(std::lround(255.0 * std::clamp(value, 0.0, 1.0)));
      }
    }
  }
  return image;
}

// "Dead leaves": shapes of all sizes, each in front of those after it, as the things in a photo
// are.
class Leaves {
 public:
  Leaves(Size size, std::uint32_t seed)
      : size_(size),
        random_(seed),
        colors_(static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width)) {
    constexpr int kMostLeaves = 4000;
    std::size_t bare = colors_.size();
    for (int leaf = 0; leaf < kMostLeaves && bare > 0; ++leaf) bare -= Add();
  }

  // `blur`: over so many pixels in each direction.
  Picture Paint(double darkness, double colorfulness, int blur) const {
    return [this, darkness, colorfulness, blur](double y, double x, int channel) {
      const int row = static_cast<int>(y * size_.height);
      const int column = static_cast<int>(x * size_.width);
      double sum = 0.0;
      int count = 0;
      for (int i = std::max(0, row - blur); i <= std::min(size_.height - 1, row + blur); ++i) {
        for (int j = std::max(0, column - blur); j <= std::min(size_.width - 1, column + blur);
             ++j) {
          const std::array<double, 3>& color = At(i, j).value_or(std::array{0.5, 0.5, 0.5});
          const double grey = (color[0] + color[1] + color[2]) / 3.0;
          sum += grey + colorfulness * (color[static_cast<std::size_t>(channel)] - grey);
          ++count;
        }
      }
      return (1.0 - darkness) * sum / count;
    };
  }

 private:
  const std::optional<std::array<double, 3>>& At(int row, int column) const {
    return colors_[static_cast<std::size_t>(row) * static_cast<std::size_t>(size_.width) +
                   static_cast<std::size_t>(column)];
  }

  // From 0 to 1.
  double Draw() { return static_cast<double>(random_()) / 4294967296.0; }

  // Returns how many pixels it covers that were bare.
  std::size_t Add() {
    const double side = std::max(size_.height, size_.width);
    const double smallest = side / 56.0;
    const double largest = side / 2.0;
    // As many of each size as makes an image look the same from any distance: r^-3.
    const double place = Draw();
    const double radius =
        1.0 / std::sqrt(place / (largest * largest) + (1.0 - place) / (smallest * smallest));
    const double y = (1.2 * Draw() - 0.1) * size_.height;
    const double x = (1.2 * Draw() - 0.1) * size_.width;
    const double stretch = std::exp2(2.0 * Draw() - 1.0);
    const double angle = std::numbers::pi * Draw();
    const bool square = Draw() < 0.4;
    const double shade = Draw();
    std::array<double, 3> base{};
    for (double& channel : base) channel = std::clamp(shade + 0.25 * (Draw() - 0.5), 0.0, 1.0);
    const double slope_y = 0.6 * (Draw() - 0.5) / side;
    const double slope_x = 0.6 * (Draw() - 0.5) / side;
    const double grain = 0.12 * Draw();
    const double stripes = 0.1 * Draw();
    const double frequency = 1.2 * Draw();
    const double reach = 1.5 * radius * std::max(stretch, 1.0 / stretch);
    std::size_t covered = 0;
    for (int i = std::max(0, static_cast<int>(y - reach));
         i <= std::min(size_.height - 1, static_cast<int>(y + reach)); ++i) {
      for (int j = std::max(0, static_cast<int>(x - reach));
           j <= std::min(size_.width - 1, static_cast<int>(x + reach)); ++j) {
        std::optional<std::array<double, 3>>& color =
            colors_[static_cast<std::size_t>(i) * static_cast<std::size_t>(size_.width) +
                    static_cast<std::size_t>(j)];
        if (color.has_value()) continue;
        const double down = i + 0.5 - y;
        const double right = j + 0.5 - x;
        const double along = (std::cos(angle) * right + std::sin(angle) * down) / stretch;
        const double across = (std::cos(angle) * down - std::sin(angle) * right) * stretch;
        const double distance = square ? std::max(std::abs(along), std::abs(across))
                                       : std::sqrt(along * along + across * across);
        if (distance >= radius) continue;
        const double light = slope_y * down + slope_x * right + grain * (Draw() - 0.5) +
                             stripes * std::sin(frequency * along);
        color = base;
        for (double& channel : *color) channel += light;
        ++covered;
      }
    }
    return covered;
  }

  Size size_;
  std::mt19937 random_;  // the same numbers in every standard library
  std::vector<std::optional<std::array<double, 3>>> colors_;
};

absl::Status Refuse(Precision precision, const Device& device, std::string_view why) {
  const bool has_int16 = device.kind == Device::Kind::kCpu && NativeInt16Kernel() != nullptr;
  return MakeError(
      Reason::kUnsupportedPrecision,
      absl::StrCat("--precision=", std::string(PrecisionName(precision)), ": ", DeviceName(device),
                   " ", std::string(why),
                   has_int16 ? "; --precision=int16 is faster than float32 there, and near to it"
                             : "; --precision=float32 is no slower there, and exact"));
}

}  // namespace

absl::Status CheckNative(Precision precision, std::span<const Device> devices) {
  if (precision == Precision::kFloat32) return absl::OkStatus();
  for (const Device& device : devices) {
    if (device.kind == Device::Kind::kCpu) {
      if (precision == Precision::kInt16 || precision == Precision::kInt8) {
        const bool native = precision == Precision::kInt16 ? NativeInt16Kernel() != nullptr
                                                           : NativeInt8Kernel() != nullptr;
        if (native) continue;
        return Refuse(
            precision, device,
            Avx2Int16Kernel() != nullptr
                ? absl::StrCat("has AVX-512 without VNNI, which multiplies float32 as fast as ",
                               std::string(PrecisionName(precision)))
                : "has no AVX2");
      }
      // All that have AMX have it, too.
      if (__builtin_cpu_supports("avx512bf16")) continue;
      return Refuse(precision, device, "has neither AVX512_BF16 nor AMX");
    }
    if (precision == Precision::kInt16 || precision == Precision::kInt8) {
      return MakeError(Reason::kUnsupportedPrecision,
                       absl::StrCat("--precision=", std::string(PrecisionName(precision)),
                                    " is for CPUs, not for ", DeviceName(device),
                                    "; --precision=bfloat16 is for both"));
    }
    const absl::StatusOr<const CudaModule*> module = LoadCudaModule();
    if (!module.ok()) return module.status();
    const absl::StatusOr<bool> native = (*module)->MultipliesBFloat16(device.index);
    if (!native.ok()) return native.status();
    if (!*native) return Refuse(precision, device, "has a compute capability below 8.0");
  }
  return absl::OkStatus();
}

std::vector<Image> CalibrationImages(const PreprocessSpec& spec, Size input) {
  std::mt19937 random(1);  // the same numbers in every standard library
  const Picture noise = [&random](double, double, int) {
    return static_cast<double>(random() % 256) / 255.0;
  };
  std::vector<Image> images;
  for (const Picture& picture : {Picture(Shades), Picture(Edges), Picture(Blobs), noise}) {
    images.push_back(Resize(Paint(input, picture), spec));
  }
  return images;
}

std::vector<Image> NaturalImages(const PreprocessSpec& spec, Size input) {
  struct Look {
    double darkness;
    double colorfulness;
    int blur;
  };
  std::vector<Image> images;
  for (const Look& look :
       {Look{0.0, 1.0, 0}, Look{0.65, 1.0, 0}, Look{0.0, 1.0, 5}, Look{0.0, 0.0, 0}}) {
    const Leaves leaves(input, static_cast<std::uint32_t>(images.size()) + 1);
    const Picture picture = leaves.Paint(look.darkness, look.colorfulness, look.blur);
    images.push_back(Resize(Paint(input, picture), spec));
  }
  return images;
}

absl::StatusOr<double> WorstCosine(Runner& first, Runner& second, std::span<const Image> images,
                                   int threads) {
  const std::vector<OutputSpec> specs(1);
  double worst = 1.0;
  for (const Image& image : images) {
    const Image* const one[] = {&image};
    const absl::StatusOr<std::vector<Embedding>> a = first.Embed(one, specs, threads);
    if (!a.ok()) return a.status();
    const absl::StatusOr<std::vector<Embedding>> b = second.Embed(one, specs, threads);
    if (!b.ok()) return b.status();
    worst = std::min(worst, CosineSimilarity(FloatValues(a->front()), FloatValues(b->front())));
  }
  return worst;
}

}  // namespace pixembed
