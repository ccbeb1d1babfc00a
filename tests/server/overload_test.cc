// Full means full: refused at once, with when to come back, and nothing admitted is lost.
#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "pixembed/v1/embedding.grpc.pb.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using ::testing::HasSubstr;

class OverloadTest : public ServerTest {
 protected:
  static void ExpectOverloaded(const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_EQ(ReasonIn(status), "OVERLOADED");
    const auto retry = DetailOf<google::rpc::RetryInfo>(DetailsOf(status));
    ASSERT_TRUE(retry.has_value());
    EXPECT_GT(retry->retry_delay().seconds() + retry->retry_delay().nanos(), 0);
  }
};

TEST_F(OverloadTest, ACallBeyondTheQueueIsRefusedAtOnceWithRetryInfo) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 4;
  Start({}, engine_options);
  models_[0]->Hold();
  v1::EmbedResponse admitted;
  auto call = std::async(std::launch::async, [&] {
    return Embed(Request({SolidImage(1), SolidImage(2), SolidImage(3), SolidImage(4)}), &admitted);
  });
  engine_->AwaitSubmitted(4);
  v1::EmbedResponse refused;
  ExpectOverloaded(Embed(Request({SolidImage(5)}), &refused));
  const auto context = Context();
  const auto reader = stub_->EmbedBatch(context.get(), Request({SolidImage(5)}));
  ExpectOverloaded(reader->Finish());
  models_[0]->LetGo();
  EXPECT_TRUE(call.get().ok());
  EXPECT_EQ(engine_->stats().completed, 4U);
  EXPECT_EQ(engine_->stats().refused, 2U);
}

TEST_F(OverloadTest, AdmissionIsAllOrNothing) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 4;
  Start({}, engine_options);
  models_[0]->Hold();
  v1::EmbedResponse first;
  auto call = std::async(std::launch::async, [&] {
    return Embed(Request({SolidImage(1), SolidImage(2), SolidImage(3)}), &first);
  });
  engine_->AwaitSubmitted(3);
  v1::EmbedResponse refused;
  ExpectOverloaded(Embed(Request({SolidImage(4), SolidImage(5)}), &refused));
  EXPECT_EQ(engine_->stats().admitted, 3U);
  models_[0]->LetGo();
  EXPECT_TRUE(call.get().ok());
}

TEST_F(OverloadTest, BytesCountAsImagesDo) {
  EngineOptions engine_options;
  engine_options.max_queued_bytes = SolidImage(1).size() * 2;
  Start({}, engine_options);
  models_[0]->Hold();
  v1::EmbedResponse first;
  auto call = std::async(std::launch::async, [&] {
    return Embed(Request({SolidImage(1), SolidImage(2)}), &first);
  });
  engine_->AwaitSubmitted(2);
  v1::EmbedResponse refused;
  ExpectOverloaded(Embed(Request({SolidImage(3)}), &refused));
  models_[0]->LetGo();
  EXPECT_TRUE(call.get().ok());
}

TEST_F(OverloadTest, CallsBeyondMaxCallsAreRefusedAtOnceAndTheFlagIsNamed) {
  ServerOptions options;
  options.max_calls = 2;
  Start(options);
  models_[0]->Hold();
  v1::EmbedResponse first;
  v1::EmbedResponse second;
  auto call =
      std::async(std::launch::async, [&] { return Embed(Request({SolidImage(1)}), &first); });
  auto other =
      std::async(std::launch::async, [&] { return Embed(Request({SolidImage(2)}), &second); });
  engine_->AwaitSubmitted(2);
  v1::EmbedResponse refused;
  const grpc::Status status = Embed(Request({SolidImage(3)}), &refused);
  ExpectOverloaded(status);
  EXPECT_THAT(status.error_message(), HasSubstr("--max_calls"));
  models_[0]->LetGo();
  EXPECT_TRUE(call.get().ok());
  EXPECT_TRUE(other.get().ok());
  EXPECT_TRUE(Embed(Request({SolidImage(3)}), &refused).ok());
}

// gRPC 1.51 receives a message whole before anyone may refuse it; the quota is what bounds that.
TEST_F(OverloadTest, AMessageBeyondTheReceiveBudgetIsResourceExhausted) {
  ServerOptions options;
  options.limits.max_message_bytes = 1 << 20;
  options.max_receive_bytes = 8 << 20;
  Start(options);
  v1::EmbedResponse response;
  const grpc::Status status = Embed(Request({std::string(64 << 20, 'x')}), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Embed(Request({SolidImage(1)}), &response).ok());
}

}  // namespace
}  // namespace pixembed
