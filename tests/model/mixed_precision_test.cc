#include "src/model/mixed_precision.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/integer_kernel.h"
#include "src/model/linear.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/precision.h"
#include "src/model/precision_plan.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

constexpr int kWidth = 12;  // numbers of a patch of 2 x 2 pixels
const std::vector<std::string> kNames = {"a", "b", "c", "d"};

// Products one after the other. One of `lossy` gives another direction as soon as it is int8.
class Chain final : public Network {
 public:
  Chain(const PrecisionPlan& plan, SwitchedProducts* switches, const std::set<std::string>& lossy) {
    info_.patch = {2, 2};
    info_.tokens = 1;
    info_.dimension = kWidth;
    for (const std::string& name : kNames) {
      const at::Tensor weight = at::eye(kWidth, at::kFloat);
      const at::Tensor bias = at::zeros({kWidth}, at::kFloat);
      if (lossy.contains(name)) bias[name.front() - 'a'].fill_(100.0);
      const Linear rounded(weight, bias, Precision::kInt8);
      if (plan.At(name) == Precision::kInt8) {
        products_.push_back(rounded);
        continue;
      }
      products_.emplace_back(weight, at::Tensor(), Precision::kFloat32);
      if (switches == nullptr) continue;
      switches->push_back({name});
      products_.back().SwitchTo(rounded, &switches->back().int8);
    }
  }

  const NetworkInfo& info() const override { return info_; }
  HiddenStates Forward(const PatchBatch& batch, std::span<const int> /*layers*/) const override {
    at::Tensor x = batch.patches;
    for (const Linear& product : products_) x = product.Forward(x);
    return {.last = x};
  }

 private:
  NetworkInfo info_;
  std::vector<Linear> products_;
};

class MixedInt8 : public testing::Test {
 protected:
  void SetUp() override {
    if (NativeInt8Kernel() == nullptr) GTEST_SKIP() << "this CPU does not multiply int8";
    spec_.resize = ResizeTarget{.exact = Size{2, 2}};
  }

  absl::StatusOr<MixedNetwork> Build(const std::set<std::string>& lossy, double min_cosine) const {
    const c10::InferenceMode inference;
    return BuildMixedInt8(
        [&](const PrecisionPlan& plan,
            SwitchedProducts* switches) -> absl::StatusOr<std::shared_ptr<const Network>> {
          return std::make_shared<const Chain>(plan, switches, lossy);
        },
        spec_, {2, 2}, min_cosine);
  }

  PreprocessSpec spec_;
};

TEST_F(MixedInt8, KeepsNothingWhereNothingIsLost) {
  const auto mixed = Build({}, 0.9);
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  EXPECT_THAT(mixed->plan.kept, testing::IsEmpty());
  EXPECT_EQ(mixed->plan.precision, Precision::kInt8);
  EXPECT_EQ(mixed->plan.int8_largest_activation, NativeInt8Kernel()->largest_activation);
  EXPECT_EQ(mixed->products, kNames.size());
  EXPECT_GT(mixed->cosine, 1.0 - 0.1 / kCalibrationMargin);
  EXPECT_NE(mixed->network, nullptr);
}

TEST_F(MixedInt8, KeepsTheProductsThatLose) {
  const auto mixed = Build({"b", "d"}, 0.9);
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  EXPECT_THAT(mixed->plan.kept, testing::ElementsAre("b", "d"));
  const Device cpu[] = {Device{}};
  EXPECT_EQ(mixed->plan.kept_precision,
            CheckNative(Precision::kBFloat16, cpu).ok() ? Precision::kBFloat16 : Precision::kInt16);
  EXPECT_GT(mixed->cosine, 1.0 - 0.1 / kCalibrationMargin);
}

TEST_F(MixedInt8, RefusesWhereMoreThanHalfWouldHaveToBeKept) {
  const auto mixed = Build({"a", "b", "c"}, 0.9);
  EXPECT_EQ(ReasonOf(mixed.status()), Reason::kPrecisionLoss);
  EXPECT_THAT(std::string(mixed.status().message()),
              testing::AllOf(testing::HasSubstr("up to half of its 4 products"),
                             testing::HasSubstr("0.900000000 of --precision_min_cosine")));
}

TEST_F(MixedInt8, PassesOnThatABuildFailed) {
  const auto mixed = BuildMixedInt8(
      [](const PrecisionPlan&,
         SwitchedProducts*) -> absl::StatusOr<std::shared_ptr<const Network>> {
        return absl::NotFoundError("no weights");
      },
      spec_, {2, 2}, 0.9);
  EXPECT_EQ(mixed.status(), absl::NotFoundError("no weights"));
}

}  // namespace
}  // namespace pixembed
