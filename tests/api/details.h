// What is in a google.rpc.Status.
#ifndef PIXEMBED_TESTS_API_DETAILS_H_
#define PIXEMBED_TESTS_API_DETAILS_H_

#include <optional>
#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace pixembed {

// A detail of a google.rpc.Status.
template <typename Detail>
std::optional<Detail> DetailOf(const google::rpc::Status& status) {
  Detail detail;
  for (const auto& any : status.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return std::nullopt;
}

// ErrorInfo.reason; empty if there is none.
inline std::string ReasonIn(const google::rpc::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  return info.has_value() ? info->reason() : "";
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_API_DETAILS_H_
