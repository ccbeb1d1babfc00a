// The image processor of timm's models, whose configuration lies in config.json. Internal to the
// room.
#ifndef PIXEMBED_SRC_CHECKPOINT_TIMM_PROCESSOR_H_
#define PIXEMBED_SRC_CHECKPOINT_TIMM_PROCESSOR_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"

namespace pixembed {

// The "model_type" of timm's models.
inline constexpr std::string_view kTimmWrapper = "timm_wrapper";

// Its section of config.json says how images are prepared; a directory whose config.json has it is
// timm's. Source: transformers 5.23.0 utils/generic.py is_timm_config_dict.
inline constexpr std::string_view kTimmSection = "pretrained_cfg";

// What timm's transforms do to an image. They work on Pillow's images whatever backend is asked
// for: the class has no other.
// Errors: CHECKPOINT_CORRUPT, UNSUPPORTED_PROCESSOR.
absl::StatusOr<PreprocessSpec> ParseTimmProcessor(const Config& config);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_CHECKPOINT_TIMM_PROCESSOR_H_
