#include "src/model/mixed_precision.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/linear.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/precision.h"
#include "src/model/precision_plan.h"
#include "src/model/runner.h"

namespace pixembed {
namespace {

using Vectors = std::vector<std::vector<float>>;

class Calibration {
 public:
  Calibration(const PreprocessSpec& spec, Size input)
      : images_(CalibrationImages(spec, input)), pixels_(std::make_shared<const PixelTable>(spec)) {
    std::ranges::move(NaturalImages(spec, input), std::back_inserter(images_));
  }

  // One image after the other, mean-pooled.
  absl::StatusOr<Vectors> Embed(std::shared_ptr<const Network> network) const {
    const std::unique_ptr<Runner> runner = NewCpuRunner({std::move(network), pixels_});
    const std::vector<OutputSpec> specs(1);
    Vectors vectors;
    for (const Image& image : images_) {
      const Image* const one[] = {&image};
      const absl::StatusOr<std::vector<Embedding>> embedded =
          runner->Embed(one, specs, /*threads=*/1);
      if (!embedded.ok()) return embedded.status();
      vectors.push_back(FloatValues(embedded->front()));
    }
    return vectors;
  }

 private:
  std::vector<Image> images_;
  std::shared_ptr<const PixelTable> pixels_;
};

double WorstOf(const Vectors& first, const Vectors& second) {
  double worst = 1.0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    worst = std::min(worst, CosineSimilarity(first[i], second[i]));
  }
  return worst;
}

Precision KeptPrecision() {
  const Device cpu[] = {Device{}};
  return CheckNative(Precision::kBFloat16, cpu).ok() ? Precision::kBFloat16 : Precision::kFloat32;
}

}  // namespace

absl::StatusOr<MixedNetwork> BuildMixedInt8(const NetworkBuilder& build, const PreprocessSpec& spec,
                                            Size input, double min_cosine) {
  const Calibration calibration(spec, input);
  ProductLog log;
  Vectors exact;
  {
    const absl::StatusOr<std::shared_ptr<const Network>> network = build(PrecisionPlan{}, &log);
    if (!network.ok()) return network.status();
    absl::StatusOr<Vectors> vectors = calibration.Embed(*network);
    if (!vectors.ok()) return vectors.status();
    exact = *std::move(vectors);
  }
  const std::vector<std::string> order =
      LargestFirst(std::vector<ProductLoss>(log.begin(), log.end()));

  MixedNetwork best;
  double closest = -1.0;
  const auto enough = [&](std::size_t count) -> absl::StatusOr<bool> {
    MixedNetwork tried;
    tried.products = order.size();
    tried.plan.precision = Precision::kInt8;
    tried.plan.kept = {order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count)};
    tried.plan.kept_precision = KeptPrecision();
    absl::StatusOr<std::shared_ptr<const Network>> network = build(tried.plan, nullptr);
    if (!network.ok()) return network.status();
    tried.network = *std::move(network);
    const absl::StatusOr<Vectors> vectors = calibration.Embed(tried.network);
    if (!vectors.ok()) return vectors.status();
    tried.cosine = WorstOf(*vectors, exact);
    closest = std::max(closest, tried.cosine);
    if (1.0 - tried.cosine > (1.0 - min_cosine) / kCalibrationMargin) return false;
    best = std::move(tried);
    return true;
  };
  const absl::StatusOr<std::optional<std::size_t>> count = SmallestEnough(order.size() / 2, enough);
  if (!count.ok()) return count.status();
  if (count->has_value()) return best;
  return MakeError(
      Reason::kPrecisionLoss,
      absl::StrFormat(
          "in int8, with up to half of its %d products in %s, the smallest cosine of a vector with "
          "that of float32 is %.9f on the built-in pictures; photos lose up to %.0f times as much, "
          "more than the %.9f of --precision_min_cosine allows; serve with --precision=bfloat16 or "
          "--precision=float32",
          order.size(), std::string(PrecisionName(KeptPrecision())), closest, kCalibrationMargin,
          min_cosine));
}

}  // namespace pixembed
