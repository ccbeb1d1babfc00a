#include "src/verify/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "tests/checkpoint/status_matchers.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/model/fake_model.h"
#include "tests/server/test_images.h"
#include "tests/verify/golden_bytes.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int kThreads = 1;

class VerifyTest : public testing::Test {
 protected:
  VerifyTest() {
    parts_.AddTrue("dark", SolidImage(3, 5, 7), model_);
    parts_.AddTrue("light", SolidImage(200, 220, 240), model_);
  }

  absl::StatusOr<std::vector<Verification>> VerifyAll() {
    parts_.Write(directory_.path());
    const absl::StatusOr<GoldenFile> golden = OpenGoldenFile(directory_.path());
    if (!golden.ok()) return golden.status();
    return Verify(model_, *golden, DecodeLimits(), kThreads);
  }

  // The verdict on the only device.
  absl::Status Verdict() {
    const auto verifications = VerifyAll();
    return verifications.ok() ? verifications->front().Verdict() : verifications.status();
  }

  void SetVector(const std::string& name, std::vector<float> vector) {
    parts_.tensors[name + ".vector"].bytes.assign(reinterpret_cast<const char*>(vector.data()),
                                                  vector.size() * sizeof(float));
  }

  TemporaryDirectory directory_;
  FakeModel model_;
  GoldenParts parts_;
};

TEST_F(VerifyTest, AModelThatGivesTheReferencesPixelsAndVectorsAgrees) {
  const auto verifications = VerifyAll();
  ASSERT_TRUE(verifications.ok()) << verifications.status();
  ASSERT_THAT(*verifications, SizeIs(1));
  const Verification& verification = verifications->front();
  EXPECT_TRUE(verification.Verdict().ok()) << verification.Verdict();
  EXPECT_THAT(verification.images, SizeIs(2));
  EXPECT_EQ(verification.max_abs(), 0.0F);
  EXPECT_DOUBLE_EQ(verification.cosine(), 1.0);
}

TEST_F(VerifyTest, ANumberWithinTheToleranceAgreesAndOneBeyondItDoesNot) {
  SetVector("dark", {3.0F + GoldenBounds().max_abs * 0.9F, 5.0F, 7.0F});
  EXPECT_TRUE(Verdict().ok()) << Verdict();
  SetVector("dark", {3.0F, 5.0F, 7.0F - GoldenBounds().max_abs * 1.1F});
  const absl::Status verdict = Verdict();
  EXPECT_EQ(ReasonOf(verdict), Reason::kGoldenMismatch);
  EXPECT_THAT(std::string(verdict.message()),
              AllOf(HasSubstr("1 of 2 golden images disagree on cpu"), HasSubstr("dark"),
                    HasSubstr("pixels equal, max-abs 0.00011 (at most 1e-04)")));
}

TEST_F(VerifyTest, AModelOfLessPrecisionAnswersForItsDirectionWithinItsOwnBound) {
  FakeModelOptions options;
  options.precision = Precision::kBFloat16;
  options.precision_min_cosine = 0.9;
  const FakeModel reduced(options);
  const auto agreement = [&](std::vector<float> vector) {
    SetVector("dark", std::move(vector));
    parts_.Write(directory_.path());
    const auto golden = OpenGoldenFile(directory_.path());
    return Verify(reduced, *golden, DecodeLimits(), kThreads)->front().Verdict();
  };
  EXPECT_TRUE(agreement({3.2F, 4.5F, 7.0F}).ok());
  EXPECT_THAT(std::string(agreement({3.0F, 5.0F, -7.0F}).message()), HasSubstr("(at least 0.9"));
}

TEST_F(VerifyTest, AVectorOfAnotherDirectionDisagreesHoweverSmall) {
  parts_.AddTrue("dark", SolidImage(0, 0, 0), model_);
  SetVector("dark", {5e-5F, 0.0F, 0.0F});  // within the absolute tolerance of 0
  EXPECT_THAT(std::string(Verdict().message()), HasSubstr("cosine -1.0000000 (at least 0.99999)"));
}

TEST_F(VerifyTest, APixelThatDiffersIsAMismatchEvenIfTheVectorAgrees) {
  parts_.tensors["light.pixel_values_sha256"].bytes[31] ^= 1;
  const auto verifications = VerifyAll();
  ASSERT_TRUE(verifications.ok());
  EXPECT_EQ(verifications->front().max_abs(), 0.0F);
  EXPECT_THAT(std::string(verifications->front().Verdict().message()),
              AllOf(HasSubstr("light"), HasSubstr("pixels DIFFER")));
}

TEST_F(VerifyTest, AnImageThatIsRefusedIsAMismatchAndTheOthersAreStillCompared) {
  parts_.Add("broken", "no image", std::string(32, '\0'), std::vector<float>(3, 1.0F));
  const auto verifications = VerifyAll();
  ASSERT_TRUE(verifications.ok());
  EXPECT_THAT(verifications->front().images, SizeIs(3));
  EXPECT_THAT(std::string(verifications->front().Verdict().message()),
              AllOf(HasSubstr("1 of 3"), HasSubstr("broken is refused: ")));
}

TEST_F(VerifyTest, EveryDeviceOfTheModelIsVerified) {
  FakeModelOptions options;
  options.devices = {{Device::Kind::kCuda, 0}, {Device::Kind::kCuda, 1}};
  const FakeModel two(options);
  parts_.Write(directory_.path());
  const auto golden = OpenGoldenFile(directory_.path());
  ASSERT_TRUE(golden.ok());
  const auto verifications = Verify(two, *golden, DecodeLimits(), kThreads);
  ASSERT_TRUE(verifications.ok());
  ASSERT_THAT(*verifications, SizeIs(2));
  EXPECT_EQ((*verifications)[1].device, options.devices[1]);
}

TEST_F(VerifyTest, AFileOfTheOtherBackendIsRefusedWithTheFlagThatFits) {
  parts_.metadata["backend"] = "pil";
  EXPECT_THAT(VerifyAll(), Fails(Reason::kGoldenMismatch, HasSubstr("serve with --backend=pil")));
}

TEST_F(VerifyTest, AVectorOfAnotherLengthIsRefusedWithBothNumbers) {
  parts_.Add("dark", SolidImage(3), std::string(32, '\0'), std::vector<float>(7, 1.0F));
  EXPECT_THAT(VerifyAll(),
              Fails(Reason::kGoldenMismatch,
                    HasSubstr("the vector of dark has 7 dimensions, the model gives 3")));
}

TEST_F(VerifyTest, ADeviceThatFailsIsAnErrorAndNoVerdict) {
  model_.FailNext(MakeError(Reason::kDeviceFailure, "it broke"));
  EXPECT_THAT(VerifyAll(), Fails(Reason::kDeviceFailure, HasSubstr("it broke")));
  model_.FailRunners(MakeError(Reason::kOutOfMemory, "no room"));
  EXPECT_THAT(VerifyAll(), Fails(Reason::kOutOfMemory, HasSubstr("no room")));
}

}  // namespace
}  // namespace pixembed
