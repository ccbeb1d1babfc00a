// Which products of a network are computed in what. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_PRECISION_PLAN_H_
#define PIXEMBED_SRC_MODEL_PRECISION_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/model/model.h"

namespace pixembed {

// Of the products with a block's weights. Others are float32 always.
struct PrecisionPlan {
  Precision precision = Precision::kFloat32;  // never kAuto
  // Products that are computed in `kept_precision` instead, by the path of their weight:
  // "encoder.layer.0.mlp.fc1", and "encoder.layer.0.attention.attention.query+key+value" of
  // several that are multiplied together.
  std::set<std::string, std::less<>> kept = {};
  Precision kept_precision = Precision::kFloat32;
  // In int8, the largest whole number of an activation: see integer_kernel.h.
  std::int32_t int8_largest_activation = 255;

  Precision At(std::string_view path) const;
};

// For a fingerprint: "float32", "int8", "int8 bfloat16=encoder.layer.0.mlp.fc1,...", and
// "int8 activations=127", "int8 activations=127 int16=encoder.layer.0.mlp.fc1,...".
std::string PlanText(const PrecisionPlan& plan);

// A product that can be computed in int8 for once, to see what that changes.
struct SwitchedProduct {
  std::string path;  // as in PrecisionPlan
  bool int8 = false;
};

// What int8 changes in a vector, of one product.
struct ProductLoss {
  std::string path;
  double error = 0.0;  // 1 - cosine
};

// The paths, that of the largest loss first; of equals, in the order of their names. What is not a
// number counts as the largest.
std::vector<std::string> LargestFirst(std::span<const ProductLoss> losses);

// The smallest number from 0 to `most` that is enough, where all above a number that is enough are,
// too; else one that is, but perhaps not the smallest. Nullopt: `most` is not. Asks for few
// numbers, the small ones first; its last question about the answer was answered by yes. Errors:
// those of `enough`.
absl::StatusOr<std::optional<std::size_t>> SmallestEnough(
    std::size_t most, const std::function<absl::StatusOr<bool>(std::size_t)>& enough);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PRECISION_PLAN_H_
