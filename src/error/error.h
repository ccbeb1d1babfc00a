// Why something was refused, as a machine can read it.
//
// Every failure that a caller can meet is an absl::Status with a reason attached. The status code
// says what the caller should do (retry, fix the request, give up); the reason says what happened,
// in a word that never changes; the message says it to a person, with both numbers and the flag or
// field that changes the limit. server/ turns all three into google.rpc.Status + ErrorInfo.
#ifndef PIXEMBED_SRC_ERROR_ERROR_H_
#define PIXEMBED_SRC_ERROR_ERROR_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace pixembed {

// One row per reason. Adding a reason: a value here and a row in error.cc's table; the README lists
// every row and a test compares the two.
enum class Reason {
  // An image cannot be used. The item fails alone.
  kEmptyImage,
  kUnsupportedFormat,
  kTruncatedImage,
  kCorruptImage,
  kTooManyBytes,
  kTooManyPixels,
  // A request asks for something that does not exist or is out of range.
  kMalformedRequest,
  kMessageTooLarge,
  kEmptyRequest,
  kTooManyImages,
  kUnknownModel,
  kInvalidOption,
  kFingerprintMismatch,
  kUnsupportedMethod,
  // The caller does not show that it may call.
  kInvalidToken,
  // The service cannot take or finish the work now.
  kOverloaded,
  kDraining,
  kDeadlineTooShort,
  kDeadlineExceeded,
  kCancelled,
  // A model directory cannot be served. Found at start, never at the first request.
  kCheckpointMissing,
  kCheckpointCorrupt,
  kTensorMissing,
  kTensorShape,
  kUnsupportedModel,
  kUnsupportedProcessor,
  kGoldenMismatch,
  kUntrustedCode,
  kIncompatibleProgram,
  kUnsupportedPrecision,
  kPrecisionLoss,
  // The library is asked to run where it cannot.
  kUnusableProcess,
  // The device failed while it ran a batch.
  kDeviceFailure,
  kOutOfMemory,
  // It gave something that is no vector.
  kNonFiniteVector,
};

// A reason as the world sees it.
struct ReasonInfo {
  Reason reason;
  std::string_view name;     // the ErrorInfo.reason text: "TRUNCATED_IMAGE"
  absl::StatusCode code;     // the code that a status with this reason has
  std::string_view meaning;  // one sentence for the documentation
};

// All reasons, in the order of the enum.
std::span<const ReasonInfo> AllReasons();

// The row of one reason.
const ReasonInfo& Describe(Reason reason);

// A status with the reason's code, the message, and the reason attached as a payload.
absl::Status MakeError(Reason reason, std::string_view message);

// Most bytes of one text from outside that an error or a line of the log repeats.
inline constexpr std::size_t kMaxPrintableBytes = 100;

// `text`, which a file or a caller chose, fit for an error and for a line of the log: printable
// ASCII stays, quotes and backslashes are escaped, every other byte is "\n" or as "\x1b". A longer
// text than kMaxPrintableBytes is cut there and ends with "...", so that the result has at most
// 4 * kMaxPrintableBytes + 3 bytes. Thread-safe.
std::string Printable(std::string_view text);

// Printable in double quotes.
std::string Quoted(std::string_view text);

// The reason attached to `status`, if any. Survives copies and moves of the status.
std::optional<Reason> ReasonOf(const absl::Status& status);

// The same status with `prefix` before its message; code and reason stay.
absl::Status Annotate(const absl::Status& status, std::string_view prefix);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ERROR_ERROR_H_
