#include "api/explanation.h"

#include <cstdint>
#include <string>

#include "api/embed_options.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"
#include "src/image/image.h"

namespace pixembed {

v1::ImageExplanation ToExplanation(const Outcome& outcome, const EmbedPlan& plan) {
  const v1::Model& model = *plan.description;
  const ImageDescription& image = outcome.description.value();
  v1::ImageExplanation result;
  result.set_model(model.name());
  result.set_format(std::string(FormatName(image.format)));
  result.set_mode(std::string(image.mode));
  result.set_width(static_cast<std::uint32_t>(image.size.width));
  result.set_height(static_cast<std::uint32_t>(image.size.height));
  result.set_exif_orientation(static_cast<std::uint32_t>(image.orientation));
  result.set_orientation_applied(image.oriented);
  result.set_resized_width(static_cast<std::uint32_t>(image.resized.width));
  result.set_resized_height(static_cast<std::uint32_t>(image.resized.height));
  result.set_crop_left(image.crop_left);
  result.set_crop_top(image.crop_top);
  result.set_input_width(static_cast<std::uint32_t>(image.input.width));
  result.set_input_height(static_cast<std::uint32_t>(image.input.height));
  result.set_patches(static_cast<std::uint32_t>(image.patches));
  result.set_decoded_sha256(image.decoded_sha256);
  result.set_input_sha256(image.input_sha256);
  *result.mutable_preprocessing() = model.preprocessing();
  SetTimings(outcome.timings, *result.mutable_timings());
  result.set_fingerprint(plan.fingerprint);
  return result;
}

}  // namespace pixembed
