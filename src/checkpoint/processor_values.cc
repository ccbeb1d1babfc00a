#include "src/checkpoint/processor_values.h"

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"

namespace pixembed {

absl::Status CorruptValue(const Config& config, std::string_view key, std::string_view rule) {
  return MakeError(Reason::kCheckpointCorrupt,
                   absl::StrCat(config.Describe(key), " must be ", std::string(rule)));
}

absl::Status UnsupportedValue(const Config& config, std::string_view key, std::string_view what) {
  return MakeError(Reason::kUnsupportedProcessor,
                   absl::StrCat(config.Describe(key), ": ", std::string(what)));
}

}  // namespace pixembed
