#include "client/cpp/status.h"

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/cpp/client.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace pixembed::client {
namespace {

constexpr char kTypeUrlPrefix[] = "type.googleapis.com/";

// gRPC and Abseil number their codes alike.
absl::StatusCode ToCode(int code) {
  return code >= 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated)
             ? static_cast<absl::StatusCode>(code)
             : absl::StatusCode::kUnknown;
}

template <typename Detail>
std::optional<Detail> DetailOf(const absl::Status& status) {
  const auto payload =
      status.GetPayload(absl::StrCat(kTypeUrlPrefix, Detail::descriptor()->full_name()));
  if (!payload.has_value()) {
    return std::nullopt;
  }
  std::string bytes;
  absl::CopyCordToString(*payload, &bytes);
  Detail detail;
  if (!detail.ParseFromString(bytes)) {
    return std::nullopt;
  }
  return detail;
}

void CopyDetails(const google::rpc::Status& from, absl::Status& to) {
  for (const auto& detail : from.details()) {
    to.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
}

}  // namespace

absl::Status FromRpc(const google::rpc::Status& status) {
  absl::Status result(ToCode(status.code()), status.message());
  CopyDetails(status, result);
  return result;
}

absl::Status FromGrpc(const grpc::Status& status) {
  absl::Status result(ToCode(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (!status.ok() && details.ParseFromString(status.error_details())) {
    CopyDetails(details, result);
  }
  return result;
}

std::optional<std::chrono::nanoseconds> RetryDelay(const absl::Status& status) {
  const auto info = DetailOf<google::rpc::RetryInfo>(status);
  if (!info) {
    return std::nullopt;
  }
  return std::chrono::nanoseconds(
      google::protobuf::util::TimeUtil::DurationToNanoseconds(info->retry_delay()));
}

std::string ErrorReason(const absl::Status& status) {
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  return info ? info->reason() : std::string();
}

std::string ErrorText(const absl::Status& status) {
  std::string reason = ErrorReason(status);
  if (reason.empty()) {
    reason = absl::StatusCodeToString(status.code());
  }
  return absl::StrCat(reason, ": ", status.message());
}

absl::Status WithAddress(const absl::Status& status, const std::string& address) {
  if (status.code() != absl::StatusCode::kUnavailable || !ErrorReason(status).empty()) {
    return status;
  }
  return absl::UnavailableError(absl::StrCat(address, ": ", status.message()));
}

}  // namespace pixembed::client
