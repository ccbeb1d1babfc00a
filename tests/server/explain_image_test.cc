// ExplainImage: what the server says of an image is what it does to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "pixembed/v1/embedding.pb.h"
#include "src/digest/digest.h"
#include "src/image/image.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"

namespace pixembed {
namespace {

using ::testing::HasSubstr;

class ExplainImageTest : public ServerTest {
 protected:
  grpc::Status Explain(const std::string& data, const std::string& model,
                       v1::ImageExplanation* explanation, const v1::EmbedOptions& options = {}) {
    v1::ExplainImageRequest request;
    request.set_model(model);
    *request.mutable_options() = options;
    request.set_data(data);
    return stub_->ExplainImage(Context().get(), request, explanation);
  }
};

TEST_F(ExplainImageTest, SaysWhatIsDoneToTheImage) {
  Start();
  const std::string data = SolidImage(3, 4, 5);
  v1::ImageExplanation explanation;
  const grpc::Status status = Explain(data, "", &explanation);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(explanation.format(), "BMP");
  EXPECT_EQ(explanation.mode(), "RGB");
  EXPECT_EQ(explanation.width(), 8U);
  EXPECT_EQ(explanation.height(), 8U);
  EXPECT_EQ(explanation.exif_orientation(), 1U);
  EXPECT_EQ(explanation.input_width(), 8U);
  EXPECT_EQ(explanation.preprocessing().resize(), "8x8");
  const auto image = Decode(std::as_bytes(std::span(data)), DecodeLimits());
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(explanation.decoded_sha256(), Hex(Sha256(std::as_bytes(image->pixels()))));
  std::vector<float> chw(image->samples());
  Normalize(*image, models_[0]->info().preprocess, chw);
  EXPECT_EQ(explanation.input_sha256(), Hex(Sha256(std::as_bytes(std::span(chw)))));
}

TEST_F(ExplainImageTest, CountsThePatchesOfAModelThatPads) {
  Start({}, {}, {"padded"}, {.patches = PatchBudget{.patch = 4, .max_patches = 10}});
  v1::ImageExplanation explanation;
  const grpc::Status status = Explain(SolidImage(3, 4, 5), "", &explanation);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(explanation.resized_width(), 12U);
  EXPECT_EQ(explanation.input_height(), 12U);
  EXPECT_EQ(explanation.patches(), 9U);
  EXPECT_EQ(explanation.preprocessing().max_patches(), 10U);
}

TEST_F(ExplainImageTest, FollowsTheOptionsOfTheEmbeddingThatItExplains) {
  Start();
  v1::EmbedOptions options;
  options.set_exif_orientation(v1::EXIF_ORIENTATION_APPLY);
  options.mutable_background()->set_green(200);
  v1::ImageExplanation explanation;
  ASSERT_TRUE(Explain(SolidImage(1), "", &explanation, options).ok());
  const DecodePolicy policy = {.apply_exif_orientation = true, .background = Color{0, 200, 0}};
  EXPECT_EQ(engine_->last().policy, policy);
  EXPECT_EQ(explanation.fingerprint(), models_[0]->Fingerprint({.policy = policy}));
  options.set_expected_fingerprint(models_[0]->Fingerprint({}));
  EXPECT_EQ(ReasonIn(Explain(SolidImage(1), "", &explanation, options)), "FINGERPRINT_MISMATCH");
}

TEST_F(ExplainImageTest, EveryBrokenImageFailsWithItsReason) {
  Start();
  constexpr std::size_t kMaxBytes = std::size_t{32} << 20;
  for (const BrokenImage& broken : BrokenImages(kMaxBytes)) {
    v1::ImageExplanation explanation;
    const grpc::Status status = Explain(broken.data, "", &explanation);
    EXPECT_EQ(ReasonIn(status), broken.reason) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(broken.text));
  }
}

TEST_F(ExplainImageTest, AnUnknownModelIsNotFound) {
  Start();
  v1::ImageExplanation explanation;
  const grpc::Status status = Explain(SolidImage(1), "nobody", &explanation);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonIn(status), "UNKNOWN_MODEL");
}

}  // namespace
}  // namespace pixembed
