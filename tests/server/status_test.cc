#include "server/status.h"

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <chrono>

#include "absl/status/status.h"
#include "api/status.h"
#include "google/rpc/status.pb.h"
#include "src/error/error.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using std::chrono::milliseconds;

TEST(Status, EveryReasonBecomesItsCodeWithTheDetailsThatAnImageGets) {
  for (const ReasonInfo& info : AllReasons()) {
    const absl::Status error = MakeError(info.reason, "text");
    const grpc::Status status = ToGrpcStatus(error, milliseconds(1));
    EXPECT_EQ(static_cast<int>(status.error_code()), static_cast<int>(info.code)) << info.name;
    EXPECT_EQ(status.error_message(), "text");
    EXPECT_EQ(DetailsOf(status).SerializeAsString(),
              ToRpcStatus(error, milliseconds(1)).SerializeAsString());
  }
}

TEST(Status, OkIsOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), milliseconds(1)).ok()); }

}  // namespace
}  // namespace pixembed
