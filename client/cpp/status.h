// gRPC's errors -> absl::Status. The only place that turns one into the other.
#ifndef PIXEMBED_CLIENT_CPP_STATUS_H_
#define PIXEMBED_CLIENT_CPP_STATUS_H_

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace pixembed::client {

// Code and message stay; each detail becomes a payload under its type URL.
absl::Status FromRpc(const google::rpc::Status& status);

// As FromRpc, with the details that travelled in grpc-status-details-bin.
absl::Status FromGrpc(const grpc::Status& status);

// The delay of the status's google.rpc.RetryInfo: after it the call may be tried again.
std::optional<std::chrono::nanoseconds> RetryDelay(const absl::Status& status);

// gRPC's own words about a connection do not always name the address that was asked for; these do.
absl::Status WithAddress(const absl::Status& status, const std::string& address);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_STATUS_H_
