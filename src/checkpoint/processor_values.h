// What the numbers of a processor's configuration may be, and how others are refused. Internal to
// the room.
#ifndef PIXEMBED_SRC_CHECKPOINT_PROCESSOR_VALUES_H_
#define PIXEMBED_SRC_CHECKPOINT_PROCESSOR_VALUES_H_

#include <string_view>

#include "absl/status/status.h"
#include "src/checkpoint/checkpoint.h"

namespace pixembed {

inline constexpr int kMaxSide = 65'535;
inline constexpr double kMaxMean = 1e6;
inline constexpr double kMinCropPart = 1e-3;
inline constexpr double kMaxCropPart = 1e3;
// A divisor: zero is a division by zero in the reference too.
inline constexpr double kMinDivisor = 1e-9;
inline constexpr double kMaxDivisor = 1e9;

// CHECKPOINT_CORRUPT: the key, its value, and what it "must be".
absl::Status CorruptValue(const Config& config, std::string_view key, std::string_view rule);

// UNSUPPORTED_PROCESSOR: the key, its value, and why it is not implemented.
absl::Status UnsupportedValue(const Config& config, std::string_view key, std::string_view what);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_CHECKPOINT_PROCESSOR_VALUES_H_
