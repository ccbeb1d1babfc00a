// grpc.health.v1: a status for the server, each service and each model; watches hear of changes.
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class HealthTest : public ServerTest {
 protected:
  void StartTwo() {
    Start({}, {}, {"first", "second"});
    health_ = Health::NewStub(channel_);
  }

  static HealthCheckRequest Named(const std::string& service) {
    HealthCheckRequest request;
    request.set_service(service);
    return request;
  }

  grpc::Status Check(const std::string& service, HealthCheckResponse* response) {
    return health_->Check(Context().get(), Named(service), response);
  }

  std::unique_ptr<Health::Stub> health_;
};

TEST_F(HealthTest, ServerServicesAndModelsAreServing) {
  StartTwo();
  for (const char* const name :
       {"", "pixembed.v1.EmbeddingService", "grpc.health.v1.Health", "first", "second"}) {
    HealthCheckResponse response;
    ASSERT_TRUE(Check(name, &response).ok()) << name;
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << name;
  }
}

TEST_F(HealthTest, AnUnknownNameIsNotFound) {
  StartTwo();
  HealthCheckResponse response;
  const grpc::Status status = Check("third", &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonIn(status), "UNKNOWN_MODEL");
}

TEST_F(HealthTest, EveryNameIsNotServingOnceTheDrainIsAnnounced) {
  StartTwo();
  server_->AnnounceDrain();
  for (const char* const name : {"", "pixembed.v1.EmbeddingService", "first", "second"}) {
    HealthCheckResponse response;
    ASSERT_TRUE(Check(name, &response).ok()) << name;
    EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING) << name;
  }
  v1::EmbedResponse response;
  EXPECT_TRUE(Embed(Request({SolidImage(1)}), &response).ok());  // and is served all the same
}

TEST_F(HealthTest, AWatchHearsTheStatusAtOnceAndEveryChange) {
  StartTwo();
  const auto context = Context();
  const auto watch = health_->Watch(context.get(), Named("second"));
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  server_->AnnounceDrain();
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  ASSERT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthTest, AWatchOfAnUnknownNameSaysSoAndStaysOpen) {
  StartTwo();
  const auto context = Context();
  const auto watch = health_->Watch(context.get(), Named("third"));
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  RoundTrip();  // and nothing more comes
  context->TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthTest, ACancelledWatchIsForgotten) {
  StartTwo();
  {
    const auto context = Context();
    const auto watch = health_->Watch(context.get(), Named(""));
    HealthCheckResponse response;
    ASSERT_TRUE(watch->Read(&response));
    context->TryCancel();
    watch->Finish();
  }
  server_->AnnounceDrain();  // reaches nobody
}

}  // namespace
}  // namespace pixembed
