#include "server/status.h"

#include <grpcpp/support/status.h>

#include <chrono>

#include "absl/status/status.h"
#include "api/status.h"
#include "google/rpc/status.pb.h"

namespace pixembed {

grpc::Status ToGrpcStatus(const absl::Status& status, std::chrono::milliseconds retry_delay) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status details = ToRpcStatus(status, retry_delay);
  return {static_cast<grpc::StatusCode>(details.code()), details.message(),
          details.SerializeAsString()};
}

}  // namespace pixembed
