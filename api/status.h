// absl::Status -> google.rpc.Status: what a caller sees. The only conversion.
#ifndef PIXEMBED_API_STATUS_H_
#define PIXEMBED_API_STATUS_H_

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"

namespace pixembed {

// Longer messages are cut: they travel in HTTP/2 headers, which clients bound at 8 KiB.
inline constexpr std::size_t kMaxStatusMessageBytes = 1024;

// `status` with an entry for ErrorInfo.metadata: what a program may want of the message's numbers
// and names. The value is cut like a message.
absl::Status WithMetadata(absl::Status status, std::string_view key, std::string_view value);

// The code and message of `status`, with ErrorInfo (domain "pixembed", the reason's name, the
// metadata) if it has a reason, and RetryInfo(retry_delay) if it is RESOURCE_EXHAUSTED.
// REQUIRES: the message is UTF-8.
google::rpc::Status ToRpcStatus(const absl::Status& status, std::chrono::milliseconds retry_delay);

// The message, cut where it is longer than kMaxStatusMessageBytes.
std::string MessageText(const absl::Status& status);

// The status in one line: "REASON: message", the code's name where there is no reason; "" for OK.
std::string StatusText(const absl::Status& status);

}  // namespace pixembed

#endif  // PIXEMBED_API_STATUS_H_
