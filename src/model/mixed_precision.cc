#include "src/model/mixed_precision.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/integer_kernel.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/precision.h"
#include "src/model/precision_plan.h"
#include "src/model/runner.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

// The built-in pictures, and their vectors in float32.
class Calibration {
 public:
  Calibration(const PreprocessSpec& spec, Size input)
      : images_(CalibrationImages(spec, input)), pixels_(std::make_shared<const PixelTable>(spec)) {
    std::ranges::move(NaturalImages(spec, input), std::back_inserter(images_));
  }

  absl::Status SetExact(std::shared_ptr<const Network> network) {
    const std::unique_ptr<Runner> runner = NewCpuRunner({std::move(network), pixels_});
    for (const Image& image : images_) {
      absl::StatusOr<std::vector<float>> vector = Embed(*runner, image);
      if (!vector.ok()) return vector.status();
      exact_.push_back(*std::move(vector));
    }
    return absl::OkStatus();
  }

  // The smallest cosine of all pictures, or the first that is below `least`. Starts with the
  // picture that was the worst last time.
  absl::StatusOr<double> Worst(std::shared_ptr<const Network> network, double least) {
    const std::unique_ptr<Runner> runner = NewCpuRunner({std::move(network), pixels_});
    double smallest = 1.0;
    std::size_t worst = worst_;
    for (std::size_t i = 0; i < images_.size(); ++i) {
      const std::size_t picture = (worst_ + i) % images_.size();
      const absl::StatusOr<double> cosine = Cosine(*runner, picture);
      if (!cosine.ok()) return cosine.status();
      if (*cosine < smallest) {
        smallest = *cosine;
        worst = picture;
      }
      if (smallest < least) break;
    }
    worst_ = worst;
    return smallest;
  }

  // Of each product: what it changes in the worst picture when it alone is in int8. `network` is
  // float32, and has these switches.
  absl::StatusOr<std::vector<ProductLoss>> Losses(std::shared_ptr<const Network> network,
                                                  SwitchedProducts& switches) const {
    const std::unique_ptr<Runner> runner = NewCpuRunner({std::move(network), pixels_});
    std::vector<ProductLoss> losses;
    for (SwitchedProduct& product : switches) {
      product.int8 = true;
      const absl::StatusOr<double> cosine = Cosine(*runner, worst_);
      product.int8 = false;
      if (!cosine.ok()) return cosine.status();
      losses.push_back({product.path, 1.0 - *cosine});
    }
    return losses;
  }

 private:
  static absl::StatusOr<std::vector<float>> Embed(Runner& runner, const Image& image) {
    const std::vector<OutputSpec> specs(1);
    const Image* const one[] = {&image};
    const absl::StatusOr<std::vector<Embedding>> embedded = runner.Embed(one, specs, /*threads=*/1);
    if (!embedded.ok()) return embedded.status();
    return FloatValues(embedded->front());
  }

  absl::StatusOr<double> Cosine(Runner& runner, std::size_t picture) const {
    const absl::StatusOr<std::vector<float>> vector = Embed(runner, images_[picture]);
    if (!vector.ok()) return vector.status();
    return CosineSimilarity(*vector, exact_[picture]);
  }

  std::vector<Image> images_;
  std::shared_ptr<const PixelTable> pixels_;
  std::vector<std::vector<float>> exact_;
  std::size_t worst_ = 0;
};

Precision KeptPrecision() {
  const Device cpu[] = {Device{}};
  // What multiplies int8 multiplies int16.
  return CheckNative(Precision::kBFloat16, cpu).ok() ? Precision::kBFloat16 : Precision::kInt16;
}

}  // namespace

absl::StatusOr<MixedNetwork> BuildMixedInt8(const NetworkBuilder& build, const PreprocessSpec& spec,
                                            Size input, double min_cosine) {
  Calibration calibration(spec, input);
  SwitchedProducts switches;
  absl::StatusOr<std::shared_ptr<const Network>> exact = build(PrecisionPlan{}, &switches);
  if (!exact.ok()) return exact.status();
  if (absl::Status status = calibration.SetExact(*exact); !status.ok()) return status;

  const double least = 1.0 - (1.0 - min_cosine) / kCalibrationMargin;
  std::vector<std::string> order;
  MixedNetwork best;
  double last = 1.0;
  const auto enough = [&](std::size_t count) -> absl::StatusOr<bool> {
    if (count > 0 && order.empty()) {
      const absl::StatusOr<std::vector<ProductLoss>> losses = calibration.Losses(*exact, switches);
      if (!losses.ok()) return losses.status();
      order = LargestFirst(*losses);
      exact->reset();  // not needed again
    }
    MixedNetwork tried;
    tried.products = switches.size();
    tried.plan.precision = Precision::kInt8;
    tried.plan.kept = {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count)};
    tried.plan.kept_precision = KeptPrecision();
    tried.plan.int8_largest_activation = NativeInt8Kernel()->largest_activation;
    absl::StatusOr<std::shared_ptr<const Network>> network = build(tried.plan, nullptr);
    if (!network.ok()) return network.status();
    tried.network = *std::move(network);
    const absl::StatusOr<double> cosine = calibration.Worst(tried.network, least);
    if (!cosine.ok()) return cosine.status();
    tried.cosine = last = *cosine;
    if (*cosine < least) return false;
    best = std::move(tried);
    return true;
  };
  const absl::StatusOr<std::optional<std::size_t>> count =
      SmallestEnough(switches.size() / 2, enough);
  if (!count.ok()) return count.status();
  if (count->has_value()) return best;
  const std::string kept(PrecisionName(KeptPrecision()));
  return MakeError(
      Reason::kPrecisionLoss,
      absl::StrFormat(
          "in int8, with up to half of its %d products in %s, a vector of a built-in picture has "
          "the cosine %.9f with that of float32; photos lose up to %.0f times as much, more than "
          "the %.9f of --precision_min_cosine allows; serve with --precision=%s or "
          "--precision=float32",
          switches.size(), kept, last, kCalibrationMargin, min_cosine, kept));
}

}  // namespace pixembed
