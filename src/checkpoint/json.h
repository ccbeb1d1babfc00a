// Internal to checkpoint/: JSON from hostile files, with bounded memory and stack, and errors that
// name the key they are about.
#ifndef PIXEMBED_SRC_CHECKPOINT_JSON_H_
#define PIXEMBED_SRC_CHECKPOINT_JSON_H_

#include <cstddef>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace pixembed {

// What one JSON document may hold. The largest config.json in use (21,841 classes, each named
// twice) has 2 MB and 44,000 values.
inline constexpr std::size_t kMaxJsonBytes = std::size_t{8} << 20;
inline constexpr std::size_t kMaxJsonValues = std::size_t{1} << 18;
inline constexpr int kMaxJsonDepth = 64;

// Parses a document whose root is an object. Of a key given twice the last one counts, as in
// Python. `origin` names the document in errors.
// Errors: CHECKPOINT_CORRUPT (not JSON, NaN and Infinity included; over one of the limits above).
absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view origin);

// What nlohmann-json takes silently and the reference parsers (Python json, serde_json) refuse: a
// byte order mark, and a NUL, which ends the input early.
// Errors: CHECKPOINT_CORRUPT.
absl::Status CheckJsonBytes(std::string_view text, std::string_view origin);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_CHECKPOINT_JSON_H_
