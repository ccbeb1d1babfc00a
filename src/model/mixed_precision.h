// An int8 network that is close enough to float32. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_MIXED_PRECISION_H_
#define PIXEMBED_SRC_MODEL_MIXED_PRECISION_H_

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/linear.h"
#include "src/model/network.h"
#include "src/model/precision_plan.h"

namespace pixembed {

// On the CPU, by `plan`. `log`: where it is not null, the network's products note there what int8
// would change; it outlives the network.
using NetworkBuilder = std::function<absl::StatusOr<std::shared_ptr<const Network>>(
    const PrecisionPlan& plan, ProductLog* log)>;

struct MixedNetwork {
  std::shared_ptr<const Network> network;
  PrecisionPlan plan;
  std::size_t products = 0;  // that the plan is about
  // The smallest, over the calibration pictures, of the mean-pooled vectors with float32's.
  double cosine = 1.0;
};

// Photos lose more than the built-in pictures: of DINOv2-S/14, the worst of 14 lose up to three
// times as much as the worst picture. So 1 - the cosine of the pictures has to be at most a third
// of what is asked for.
inline constexpr double kCalibrationMargin = 3.0;

// Of the products, those that int8 changes most stay in bfloat16 where this CPU multiplies it, else
// in float32: as few of them as do, and at most half. Takes a few passes over the pictures, and
// builds.
// Errors: PRECISION_LOSS; those of `build` and of Runner::Embed.
absl::StatusOr<MixedNetwork> BuildMixedInt8(const NetworkBuilder& build, const PreprocessSpec& spec,
                                            Size input, double min_cosine);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_MIXED_PRECISION_H_
