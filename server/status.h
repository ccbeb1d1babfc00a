// absl::Status -> the status of a call.
#ifndef PIXEMBED_SERVER_STATUS_H_
#define PIXEMBED_SERVER_STATUS_H_

#include <grpcpp/support/status.h>

#include <chrono>

#include "absl/status/status.h"

namespace pixembed {

// ToRpcStatus as the status of a call; the details are the google.rpc.Status.
grpc::Status ToGrpcStatus(const absl::Status& status, std::chrono::milliseconds retry_delay);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_STATUS_H_
