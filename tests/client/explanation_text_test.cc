#include "client/cpp/explanation_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {
namespace {

using ::testing::HasSubstr;

v1::ImageExplanation Example() {
  v1::ImageExplanation image;
  image.set_model("dino");
  image.set_format("JPEG");
  image.set_mode("CMYK");
  image.set_width(640);
  image.set_height(480);
  image.set_exif_orientation(6);
  image.set_resized_width(341);
  image.set_resized_height(256);
  image.set_crop_left(58);
  image.set_crop_top(16);
  image.set_input_width(224);
  image.set_input_height(224);
  image.set_decoded_sha256("aa");
  image.set_input_sha256("bb");
  image.set_fingerprint("cc");
  image.mutable_preprocessing()->set_filter("bicubic");
  image.mutable_preprocessing()->set_backend("torchvision");
  image.mutable_preprocessing()->set_resize("shortest_edge 256");
  image.mutable_preprocessing()->set_processor_type("BitImageProcessor");
  return image;
}

TEST(ExplanationAsText, SaysEachStepOnALineOfItsOwn) {
  EXPECT_EQ(ExplanationAsText("cat.jpg", Example()),
            "cat.jpg\n"
            "  format       JPEG, mode CMYK, 640x480\n"
            "  orientation  6, seen, not applied\n"
            "  pixels       sha256 aa\n"
            "  resize       to 341x256, bicubic, as the torchvision backend (shortest_edge 256)\n"
            "  crop         224x224 from left 58, top 16\n"
            "  padding      none\n"
            "  model input  224x224, sha256 bb\n"
            "  model        dino, BitImageProcessor\n"
            "  fingerprint  cc\n");
}

TEST(ExplanationAsText, SaysWhatWasNotDone) {
  v1::ImageExplanation image = Example();
  image.set_exif_orientation(1);
  image.set_width(224);
  image.set_height(224);
  image.set_resized_width(224);
  image.set_resized_height(224);
  image.set_crop_left(0);
  image.set_crop_top(0);
  const std::string text = ExplanationAsText("cat.jpg", image);
  EXPECT_THAT(text, HasSubstr("orientation  upright\n"));
  EXPECT_THAT(text, HasSubstr("resize       none"));
  EXPECT_THAT(text, HasSubstr("crop         none\n"));
}

TEST(ExplanationAsText, SaysWherePaddingIs) {
  v1::ImageExplanation image = Example();
  image.set_resized_width(101);
  image.set_crop_left(-61);
  EXPECT_THAT(ExplanationAsText("cat.jpg", image),
              HasSubstr("padding      black: left 61, top 0, right 62, bottom 0\n"));
}

TEST(ExplanationAsText, CountsPatches) {
  v1::ImageExplanation image = Example();
  image.set_patches(252);
  image.mutable_preprocessing()->set_max_patches(256);
  EXPECT_THAT(ExplanationAsText("cat.jpg", image),
              HasSubstr("model input  224x224, 252 patches, padded to 256, sha256 bb\n"));
}

TEST(ExplanationAsText, SaysThatTiffIsTurned) {
  v1::ImageExplanation image = Example();
  image.set_orientation_applied(true);
  EXPECT_THAT(ExplanationAsText("cat.tif", image), HasSubstr("6, applied\n"));
}

TEST(ExplanationAsJson, IsALineWithEveryFieldAndTheImagesName) {
  const std::string line = ExplanationAsJson("a \"cat\".jpg", Example());
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["image"], "a \"cat\".jpg");
  EXPECT_EQ(json["exif_orientation"], 6);
  EXPECT_EQ(json["orientation_applied"], false);
  EXPECT_EQ(json["preprocessing"]["filter"], "bicubic");
}

}  // namespace
}  // namespace pixembed::client
