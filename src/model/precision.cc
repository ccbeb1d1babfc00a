#include "src/model/precision.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
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
#include "src/model/model.h"

namespace pixembed {
namespace {

// A level of one channel at a place from 0 to 1.
using Picture = std::function<double(double y, double x, int channel)>;

constexpr double kPi = 3.14159265358979323846;

double Shades(double y, double x, int channel) {
  return channel == 0 ? x : channel == 1 ? y : 1.0 - 0.5 * (x + y);
}

double Edges(double y, double x, int channel) {
  const bool dark = (static_cast<int>(y * 7.0) + static_cast<int>(x * 5.0)) % 2 == 0;
  return dark ? 0.05 * channel : 0.9 - 0.2 * channel;
}

double Blobs(double y, double x, int channel) {
  const double wave = std::sin(2.0 * kPi * (1.5 * x + 0.2 * channel)) *
                      std::cos(2.0 * kPi * (2.5 * y + 0.1 * channel));
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

absl::Status Refuse(Precision precision, const Device& device, std::string_view lacks) {
  return MakeError(Reason::kUnsupportedPrecision,
                   absl::StrCat("--precision=", std::string(PrecisionName(precision)), ": ",
                                DeviceName(device), " ", std::string(lacks),
                                "; --precision=float32 would be faster there, and exact"));
}

}  // namespace

absl::Status CheckNative(Precision precision, std::span<const Device> devices) {
  if (precision == Precision::kFloat32) return absl::OkStatus();
  for (const Device& device : devices) {
    if (device.kind == Device::Kind::kCpu) {
      // All that have AMX have it, too.
      if (__builtin_cpu_supports("avx512bf16")) continue;
      return Refuse(precision, device, "has neither AVX512_BF16 nor AMX");
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
