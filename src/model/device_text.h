// --device as it is written, before anything is looked for.
#ifndef PIXEMBED_SRC_MODEL_DEVICE_TEXT_H_
#define PIXEMBED_SRC_MODEL_DEVICE_TEXT_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/model/model.h"

namespace pixembed {

// One of its words.
struct DeviceWord {
  std::string text;
  Device::Kind kind = Device::Kind::kCpu;
  std::optional<int> ordinal = std::nullopt;  // of "cuda:N"
};

// The words of a list; none of "auto". Errors: INVALID_OPTION names the word and what is possible.
absl::StatusOr<std::vector<DeviceWord>> ReadDeviceText(std::string_view text);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_DEVICE_TEXT_H_
