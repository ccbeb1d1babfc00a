#include "src/verify/verify.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/digest/digest.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

float LargestDifference(std::span<const float> a, std::span<const float> b) {
  float largest = 0.0F;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (!std::isfinite(difference)) return std::numeric_limits<float>::infinity();
    largest = std::max(largest, difference);
  }
  return largest;
}

Sha256Digest PixelValuesDigest(const Image& image, const PreprocessSpec& spec) {
  const std::vector<float> values = PixelValues(image, spec);
  return Sha256(std::as_bytes(std::span(values)));
}

absl::Status CheckFits(const Model& model, const GoldenFile& golden) {
  const ModelInfo& info = model.info();
  if (golden.backend != info.preprocess.backend) {
    const std::string made(BackendName(golden.backend));
    return MakeError(Reason::kGoldenMismatch,
                     absl::StrCat(std::string(kGoldenFileName), " was made with the backend ", made,
                                  ", but the model's processor uses ",
                                  std::string(BackendName(info.preprocess.backend)),
                                  ": serve with --backend=", made, ", or make it again"));
  }
  for (const GoldenImage& image : golden.images) {
    const auto dimension = static_cast<std::size_t>(info.dimension);
    if (image.vector.size() == dimension) continue;
    return MakeError(
        Reason::kGoldenMismatch,
        absl::StrCat(std::string(kGoldenFileName), ": the vector of ", image.name, " has ",
                     image.vector.size(), " dimensions, the model gives ", dimension));
  }
  return absl::OkStatus();
}

// One image, alone: what is wrong with it is not hidden by its neighbours.
absl::StatusOr<Agreement> Check(const Model& model, Runner& runner, const GoldenImage& golden,
                                const DecodeLimits& limits, int threads) {
  Agreement agreement;
  agreement.name = golden.name;
  agreement.bounds = BoundsOf(model.info());
  const PreprocessSpec& spec = model.info().preprocess;
  const absl::StatusOr<Image> image = DecodeAndResize(golden.encoded, limits, spec);
  agreement.decoded = image.status();
  if (!image.ok()) return agreement;
  agreement.same_pixels = PixelValuesDigest(*image, spec) == golden.pixel_values;
  const Image* const images[] = {&*image};
  const OutputSpec specs[] = {OutputSpec{}};
  const absl::StatusOr<std::vector<Embedding>> embeddings = runner.Embed(images, specs, threads);
  if (!embeddings.ok()) return embeddings.status();
  const std::vector<float> vector = FloatValues(embeddings->front());
  if (vector.size() != golden.vector.size()) {
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat("the model gave ", vector.size(), " numbers for ", golden.name,
                                  ", not ", golden.vector.size()));
  }
  agreement.max_abs = LargestDifference(vector, golden.vector);
  agreement.cosine = CosineSimilarity(vector, golden.vector);
  return agreement;
}

absl::StatusOr<Verification> VerifyDevice(const Model& model, const Device& device,
                                          const GoldenFile& golden, const DecodeLimits& limits,
                                          int threads) {
  const absl::StatusOr<std::unique_ptr<Runner>> runner = model.NewRunner(device);
  if (!runner.ok()) return runner.status();
  Verification verification{.device = device, .images = {}};
  for (const GoldenImage& image : golden.images) {
    absl::StatusOr<Agreement> agreement = Check(model, **runner, image, limits, threads);
    if (!agreement.ok()) return agreement.status();
    verification.images.push_back(*std::move(agreement));
  }
  return verification;
}

std::string WhatIsWrong(const Agreement& agreement) {
  if (!agreement.decoded.ok()) {
    return absl::StrCat(agreement.name, " is refused: ", agreement.decoded.message());
  }
  return absl::StrFormat("%s: pixels %s, max-abs %.3g (at most %.0e), cosine %.7f (at least %.5f)",
                         agreement.name, agreement.same_pixels ? "equal" : "DIFFER",
                         agreement.max_abs, agreement.bounds.max_abs, agreement.cosine,
                         agreement.bounds.cosine);
}

}  // namespace

GoldenBounds BoundsOf(const ModelInfo& info) {
  if (info.precision == Precision::kFloat32) return {};
  return {.max_abs = std::numeric_limits<float>::max(), .cosine = info.precision_min_cosine};
}

float Verification::max_abs() const {
  float worst = 0.0F;
  for (const Agreement& image : images) worst = std::max(worst, image.max_abs);
  return worst;
}

double Verification::cosine() const {
  double worst = 1.0;
  for (const Agreement& image : images) {
    if (image.decoded.ok()) worst = std::min(worst, image.cosine);
  }
  return worst;
}

absl::Status Verification::Verdict() const {
  const auto wrong =
      std::ranges::count_if(images, [](const Agreement& image) { return !image.ok(); });
  if (wrong == 0) return absl::OkStatus();
  const auto first = std::ranges::find_if(images, [](const Agreement& i) { return !i.ok(); });
  return MakeError(Reason::kGoldenMismatch,
                   absl::StrCat(wrong, " of ", images.size(), " golden images disagree on ",
                                DeviceName(device), "; ", WhatIsWrong(*first)));
}

absl::StatusOr<std::vector<Verification>> Verify(const Model& model, const GoldenFile& golden,
                                                 const DecodeLimits& limits, int threads) {
  if (absl::Status status = CheckFits(model, golden); !status.ok()) return status;
  try {
    std::vector<Verification> verifications;
    for (const Device& device : model.devices()) {
      absl::StatusOr<Verification> verification =
          VerifyDevice(model, device, golden, limits, threads);
      if (!verification.ok()) return verification.status();
      verifications.push_back(*std::move(verification));
    }
    return verifications;
  } catch (const std::bad_alloc&) {
    return MakeError(Reason::kOutOfMemory, "no memory for the golden images");
  }
}

}  // namespace pixembed
