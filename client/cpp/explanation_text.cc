#include "client/cpp/explanation_text.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {
namespace {

std::string Sides(std::uint32_t width, std::uint32_t height) {
  return absl::StrCat(width, "x", height);
}

std::string Orientation(const v1::ImageExplanation& image) {
  if (image.exif_orientation() == 1) {
    return "upright";
  }
  return absl::StrCat(image.exif_orientation(),
                      image.orientation_applied() ? ", applied" : ", seen, not applied");
}

std::string Resize(const v1::ImageExplanation& image) {
  if (image.resized_width() == image.width() && image.resized_height() == image.height()) {
    return "none: it has the size already, or the processor does not resize";
  }
  return absl::StrCat("to ", Sides(image.resized_width(), image.resized_height()), ", ",
                      image.preprocessing().filter(), ", as the ", image.preprocessing().backend(),
                      " backend (", image.preprocessing().resize(), ")");
}

std::string Crop(const v1::ImageExplanation& image) {
  const std::string window = Sides(image.input_width(), image.input_height());
  if (image.input_width() == image.resized_width() &&
      image.input_height() == image.resized_height()) {
    return "none";
  }
  return absl::StrCat(window, " from left ", std::max(0, image.crop_left()), ", top ",
                      std::max(0, image.crop_top()));
}

std::string Padding(const v1::ImageExplanation& image) {
  const int left = std::max(0, -image.crop_left());
  const int top = std::max(0, -image.crop_top());
  const int right = std::max(0, image.crop_left() + static_cast<int>(image.input_width()) -
                                    static_cast<int>(image.resized_width()));
  const int bottom = std::max(0, image.crop_top() + static_cast<int>(image.input_height()) -
                                     static_cast<int>(image.resized_height()));
  if (left + top + right + bottom == 0) {
    return "none";
  }
  return absl::StrCat("black: left ", left, ", top ", top, ", right ", right, ", bottom ", bottom);
}

std::string Input(const v1::ImageExplanation& image) {
  std::string text = Sides(image.input_width(), image.input_height());
  if (image.patches() > 0) {
    absl::StrAppend(&text, ", ", image.patches(), " patches, padded to ",
                    image.preprocessing().max_patches());
  }
  return text;
}

}  // namespace

std::string ExplanationAsText(const std::string& path, const v1::ImageExplanation& image) {
  return absl::StrCat(
      path, "\n  format       ", image.format(), ", mode ", image.mode(), ", ",
      Sides(image.width(), image.height()), "\n  orientation  ", Orientation(image),
      "\n  pixels       sha256 ", image.decoded_sha256(), "\n  resize       ", Resize(image),
      "\n  crop         ", Crop(image), "\n  padding      ", Padding(image), "\n  model input  ",
      Input(image), ", sha256 ", image.input_sha256(), "\n  model        ", image.model(), ", ",
      image.preprocessing().processor_type(), "\n  fingerprint  ", image.fingerprint(), "\n");
}

std::string ExplanationAsJson(const std::string& path, const v1::ImageExplanation& explanation) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // The message is ours and whole: there is nothing in it that JSON cannot say.
  if (!google::protobuf::util::MessageToJsonString(explanation, &json, options).ok()) {
    return "{}\n";
  }
  const std::string name =
      nlohmann::json(path).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return absl::StrCat(R"({"image":)", name, ",", json.substr(1), "\n");
}

}  // namespace pixembed::client
