#include "src/model/precision_plan.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/model/model.h"

namespace pixembed {

Precision PrecisionPlan::At(std::string_view path) const {
  return kept.contains(path) ? kept_precision : precision;
}

std::string PlanText(const PrecisionPlan& plan) {
  std::string text(PrecisionName(plan.precision));
  const std::int32_t largest = plan.int8_largest_activation;
  if (largest != PrecisionPlan{}.int8_largest_activation) {
    absl::StrAppend(&text, " activations=", largest);
  }
  if (plan.kept.empty()) return text;
  return absl::StrCat(text, " ", std::string(PrecisionName(plan.kept_precision)), "=",
                      absl::StrJoin(plan.kept, ","));
}

std::vector<std::string> LargestFirst(std::span<const ProductLoss> losses) {
  std::vector<std::tuple<double, std::string>> order;
  order.reserve(losses.size());
  for (const ProductLoss& loss : losses) {
    const double error =
        std::isnan(loss.error) ? std::numeric_limits<double>::infinity() : loss.error;
    order.emplace_back(-error, loss.path);
  }
  std::ranges::sort(order);
  std::vector<std::string> paths;
  paths.reserve(order.size());
  for (const auto& [error, path] : order) paths.push_back(path);
  return paths;
}

absl::StatusOr<std::optional<std::size_t>> SmallestEnough(
    std::size_t most, const std::function<absl::StatusOr<bool>(std::size_t)>& enough) {
  // 0, 1, 3, 7, ... until one is enough; then between it and the last that was not.
  std::size_t tried = 0;
  std::size_t lowest = 0;
  for (;; tried = std::min(2 * tried + 1, most)) {
    const absl::StatusOr<bool> found = enough(tried);
    if (!found.ok()) return found.status();
    if (*found) break;
    if (tried == most) return std::nullopt;
    lowest = tried + 1;
  }
  while (lowest < tried) {
    const std::size_t middle = lowest + (tried - lowest) / 2;
    const absl::StatusOr<bool> found = enough(middle);
    if (!found.ok()) return found.status();
    if (*found) {
      tried = middle;
    } else {
      lowest = middle + 1;
    }
  }
  return tried;
}

}  // namespace pixembed
