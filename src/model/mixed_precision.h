// An int8 network that is close enough to float32. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_MIXED_PRECISION_H_
#define PIXEMBED_SRC_MODEL_MIXED_PRECISION_H_

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/network.h"
#include "src/model/precision_plan.h"
#include "src/model/weights.h"

namespace pixembed {

// On the CPU, by `plan`. `switches`: see WeightReader.
using NetworkBuilder = std::function<absl::StatusOr<std::shared_ptr<const Network>>(
    const PrecisionPlan& plan, SwitchedProducts* switches)>;

struct MixedNetwork {
  std::shared_ptr<const Network> network;
  PrecisionPlan plan;
  std::size_t products = 0;  // that the plan is about
  // The smallest, over the calibration pictures, of the mean-pooled vectors with float32's.
  double cosine = 1.0;
};

// Photos lose more than the built-in pictures: of DINOv2-S/14, the worst of 14 loses 4.3 times as
// much as the worst picture. So 1 - the cosine of the pictures has to be at most a fifth of what is
// asked for.
inline constexpr double kCalibrationMargin = 5.0;

// Where int8 alone is not close enough, some products stay in bfloat16 (int16 where this CPU does
// not multiply that): those that, alone in int8, change the worst picture most; as few as do, and
// at most half. Takes a pass over the pictures in float32 and one in int8, and else, beside a few
// more, one over the worst picture for each product. Errors: PRECISION_LOSS; those of `build` and
// of Runner::Embed.
absl::StatusOr<MixedNetwork> BuildMixedInt8(const NetworkBuilder& build, const PreprocessSpec& spec,
                                            Size input, double min_cosine);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_MIXED_PRECISION_H_
