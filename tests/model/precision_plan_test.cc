#include "src/model/precision_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(PrecisionPlan, IsThePrecisionButForWhatItKeeps) {
  const PrecisionPlan plan{.precision = Precision::kInt8,
                           .kept = {"layer.0.mlp.fc1"},
                           .kept_precision = Precision::kBFloat16};
  EXPECT_EQ(plan.At("layer.0.mlp.fc1"), Precision::kBFloat16);
  EXPECT_EQ(plan.At("layer.0.mlp.fc2"), Precision::kInt8);
  EXPECT_EQ(PrecisionPlan().At("layer.0.mlp.fc1"), Precision::kFloat32);
}

TEST(PlanText, NamesWhatIsKeptInTheOrderOfTheNames) {
  PrecisionPlan plan;
  EXPECT_EQ(PlanText(plan), "float32");
  plan.precision = Precision::kInt8;
  plan.kept_precision = Precision::kBFloat16;
  EXPECT_EQ(PlanText(plan), "int8");  // what would be kept in what is nothing of an empty plan
  plan.kept = {"b", "a.q+k"};
  EXPECT_EQ(PlanText(plan), "int8 bfloat16=a.q+k,b");
  plan.kept_precision = Precision::kFloat32;
  EXPECT_EQ(PlanText(plan), "int8 float32=a.q+k,b");
  plan.int8_largest_activation = 127;
  EXPECT_EQ(PlanText(plan), "int8 activations=127 float32=a.q+k,b");
  plan.kept.clear();
  EXPECT_EQ(PlanText(plan), "int8 activations=127");
}

TEST(LargestFirst, OrdersByLossThenByNameAndPutsWhatIsNoNumberFirst) {
  const std::vector<ProductLoss> losses = {{"small", 1e-6},
                                           {"b", 1e-3},
                                           {"a", 1e-3},
                                           {"none", std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_THAT(LargestFirst(losses), ElementsAre("none", "a", "b", "small"));
  EXPECT_THAT(LargestFirst({}), IsEmpty());
}

TEST(SmallestEnough, FindsEveryThresholdWithFewQuestionsAndEndsOnTheAnswer) {
  constexpr std::size_t kMost = 24;
  constexpr std::size_t kMostQuestions = 10;
  for (std::size_t threshold = 0; threshold <= kMost; ++threshold) {
    std::vector<std::size_t> asked;
    std::optional<std::size_t> last_enough;
    const auto found = SmallestEnough(kMost, [&](std::size_t count) -> absl::StatusOr<bool> {
      asked.push_back(count);
      if (count >= threshold) last_enough = count;
      return count >= threshold;
    });
    ASSERT_TRUE(found.ok());
    EXPECT_EQ(*found, threshold);
    EXPECT_EQ(last_enough, threshold);
    EXPECT_LE(asked.size(), kMostQuestions);
    EXPECT_EQ(asked.front(), 0U);
  }
}

TEST(SmallestEnough, IsNothingWhereNotEvenTheMostIsAndPassesErrorsOn) {
  std::size_t largest = 0;
  const auto never = SmallestEnough(5, [&](std::size_t count) -> absl::StatusOr<bool> {
    largest = count;
    return false;
  });
  ASSERT_TRUE(never.ok());
  EXPECT_EQ(*never, std::nullopt);
  EXPECT_EQ(largest, 5U);
  EXPECT_EQ(*SmallestEnough(0, [](std::size_t) -> absl::StatusOr<bool> { return false; }),
            std::nullopt);
  const auto failing = SmallestEnough(
      5, [](std::size_t) -> absl::StatusOr<bool> { return absl::InternalError("device"); });
  EXPECT_EQ(failing.status(), absl::InternalError("device"));
}

}  // namespace
}  // namespace pixembed
