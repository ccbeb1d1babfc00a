// A call that ends early takes its images out of the engine, and nothing else.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <thread>

#include "pixembed/v1/embedding.grpc.pb.h"
#include "src/engine/engine.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using ::testing::SizeIs;

class EarlyEndTest : public ServerTest {
 protected:
  // What is left of a call that was cut off: nothing ran but what was in the model already.
  void ExpectOnlyTheBatchInTheModelRan(std::size_t images) {
    models_[0]->LetGo();
    ASSERT_TRUE(engine_->Drain(std::chrono::steady_clock::now() + kPatience).ok());
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.admitted, images);
    EXPECT_LE(stats.completed, 1U);
    EXPECT_GE(stats.failed, images - 1);
  }
};

TEST_F(EarlyEndTest, TheDeadlineOfTheCallIsTheDeadlineOfItsImages) {
  Start();
  const auto context = Context();
  const auto before = std::chrono::steady_clock::now();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  v1::EmbedResponse response;
  ASSERT_TRUE(stub_->Embed(context.get(), Request({SolidImage(1)}), &response).ok());
  const auto deadline = engine_->last().deadline;
  EXPECT_GT(deadline, before + std::chrono::minutes(59));
  EXPECT_LT(deadline, std::chrono::steady_clock::now() + std::chrono::minutes(61));
}

TEST_F(EarlyEndTest, WithoutADeadlineImagesHaveNone) {
  Start();
  grpc::ClientContext context;
  v1::EmbedResponse response;
  ASSERT_TRUE(stub_->Embed(&context, Request({SolidImage(1)}), &response).ok());
  EXPECT_EQ(engine_->last().deadline, TimePoint::max());
}

TEST_F(EarlyEndTest, ADeadlineThatPassesEndsTheCallAndFreesTheEngine) {
  Start();
  models_[0]->Hold();
  const auto context = Context();
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
  v1::EmbedResponse response;
  const grpc::Status status = stub_->Embed(
      context.get(), Request({SolidImage(1), SolidImage(2), SolidImage(3)}), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  if (engine_->submitted() > 0) AwaitStop(engine_->last().stop);
  ExpectOnlyTheBatchInTheModelRan(engine_->stats().admitted);
}

TEST_F(EarlyEndTest, CancellingEmbedMidBatchStopsTheRest) {
  Start();
  models_[0]->Hold();
  const auto context = Context();
  v1::EmbedRequest request;
  for (int i = 0; i < 20; ++i) request.add_images()->set_data(SolidImage(i));
  v1::EmbedResponse response;
  auto call = std::async(std::launch::async,
                         [&] { return stub_->Embed(context.get(), request, &response); });
  models_[0]->AwaitHeld(1);
  context->TryCancel();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::CANCELLED);
  AwaitStop(engine_->last().stop);
  ExpectOnlyTheBatchInTheModelRan(20);
}

TEST_F(EarlyEndTest, CancellingEmbedBatchMidBatchStopsTheRest) {
  Start();
  models_[0]->Hold();
  const auto context = Context();
  v1::EmbedRequest request;
  for (int i = 0; i < 20; ++i) request.add_images()->set_data(SolidImage(i));
  const auto reader = stub_->EmbedBatch(context.get(), request);
  models_[0]->AwaitHeld(1);
  context->TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  AwaitStop(engine_->last().stop);
  ExpectOnlyTheBatchInTheModelRan(20);
}

TEST_F(EarlyEndTest, ACancelledCallDoesNotTouchItsNeighbour) {
  Start();
  models_[0]->Hold();
  const auto cancelled = Context();
  v1::EmbedRequest request;
  for (int i = 0; i < 5; ++i) request.add_images()->set_data(SolidImage(i));
  const auto reader = stub_->EmbedBatch(cancelled.get(), request);
  models_[0]->AwaitHeld(1);
  const std::stop_token stop = engine_->last().stop;
  v1::EmbedResponse response;
  auto neighbour = std::async(std::launch::async, [&] { return Embed(request, &response); });
  engine_->AwaitSubmitted(10);
  cancelled->TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  AwaitStop(stop);
  models_[0]->LetGo();
  EXPECT_TRUE(neighbour.get().ok());
  ASSERT_THAT(response.results(), SizeIs(5));
  for (const v1::EmbedResult& result : response.results()) EXPECT_TRUE(result.has_embedding());
}

}  // namespace
}  // namespace pixembed
