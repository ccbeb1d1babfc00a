// A drain finishes what was accepted, refuses the rest in words that clients retry on, and ends.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "pixembed/v1/embedding.grpc.pb.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/server/raw_connection.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using ::testing::AnyOf;
using ::testing::SizeIs;

class DrainTest : public ServerTest {
 protected:
  // UNAVAILABLE; or what gRPC 1.51 answers to a call that arrives while it shuts down.
  static void ExpectRefused(const grpc::Status& status) {
    EXPECT_THAT(status.error_code(),
                AnyOf(grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::CANCELLED))
        << status.error_message();
  }

  std::future<absl::Status> StopInBackground() {
    return std::async(std::launch::async, [this] {
      return server_->Stop(std::chrono::steady_clock::now() + kPatience);
    });
  }
};

TEST_F(DrainTest, ACallThatWasAcceptedGetsItsAnswerAndALaterOneIsDraining) {
  Start();
  models_[0]->Hold();
  v1::EmbedResponse accepted;
  auto call = std::async(std::launch::async, [&] {
    return Embed(Request({SolidImage(1), SolidImage(2)}), &accepted);
  });
  engine_->AwaitSubmitted(2);
  auto stopped = StopInBackground();
  engine_->AwaitDrainBegun();
  v1::EmbedResponse refused;
  const grpc::Status status = Embed(Request({SolidImage(3)}), &refused);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "DRAINING");
  models_[0]->LetGo();
  EXPECT_TRUE(call.get().ok());
  ASSERT_THAT(accepted.results(), SizeIs(2));
  for (const v1::EmbedResult& result : accepted.results()) EXPECT_TRUE(result.has_embedding());
  EXPECT_TRUE(stopped.get().ok());
}

TEST_F(DrainTest, AStreamGetsTheResultsOfWhatWasAcceptedAndThenDraining) {
  Start();
  models_[0]->Hold();
  const auto context = Context();
  const auto stream = stub_->EmbedStream(context.get());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream->Write(Request({SolidImage(i)})));
  engine_->AwaitSubmitted(3);
  auto stopped = StopInBackground();
  engine_->AwaitDrainBegun();
  models_[0]->LetGo();
  int results = 0;
  for (v1::EmbedResult result; stream->Read(&result); ++results) {
    EXPECT_TRUE(result.has_embedding());
  }
  EXPECT_EQ(results, 3);
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "DRAINING");
  EXPECT_TRUE(stopped.get().ok());
}

TEST_F(DrainTest, AStreamThatHadHalfClosedEndsWithOk) {
  Start();
  models_[0]->Hold();
  const auto context = Context();
  const auto stream = stub_->EmbedStream(context.get());
  ASSERT_TRUE(stream->Write(Request({SolidImage(1)})));
  stream->WritesDone();
  engine_->AwaitSubmitted(1);
  RoundTrip();  // the half-close has been seen
  auto stopped = StopInBackground();
  engine_->AwaitDrainBegun();
  models_[0]->LetGo();
  v1::EmbedResult result;
  EXPECT_TRUE(stream->Read(&result));
  EXPECT_TRUE(result.has_embedding());
  EXPECT_FALSE(stream->Read(&result));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(stopped.get().ok());
}

TEST_F(DrainTest, IdleStreamsAndWatchersDoNotHoldItUp) {
  Start();
  const auto context = Context();
  const auto stream = stub_->EmbedStream(context.get());
  ASSERT_TRUE(stream->Write(Request({SolidImage(1)})));
  v1::EmbedResult result;
  ASSERT_TRUE(stream->Read(&result));
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
  EXPECT_FALSE(stream->Read(&result));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(DrainTest, WhatIsLeftAtTheDeadlineIsCutOffAndReported) {
  Start();
  models_[0]->Hold();
  v1::EmbedResponse response;
  auto call = std::async(std::launch::async, [&] {
    return Embed(Request({SolidImage(1), SolidImage(2)}), &response);
  });
  models_[0]->AwaitHeld(1);
  engine_->AwaitSubmitted(2);
  const absl::Status stopped = server_->Stop(std::chrono::steady_clock::now());
  EXPECT_EQ(stopped.code(), absl::StatusCode::kDeadlineExceeded) << stopped;
  EXPECT_TRUE(call.get().ok());
  ASSERT_THAT(response.results(), SizeIs(2));
  for (const auto& result : response.results()) EXPECT_EQ(ReasonIn(result.error()), "DRAINING");
  models_[0]->LetGo();
}

TEST_F(DrainTest, AReaderThatNeverReadsIsCutOffAtTheDeadline) {
  FakeModelOptions model_options;
  model_options.dimension = 200'000;
  Start({}, {}, {"fake"}, model_options);
  const auto context = Context();
  const auto stream = stub_->EmbedStream(context.get());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(stream->Write(Request({SolidImage(1)})));
  engine_->AwaitSubmitted(65);  // more than the window: results are on their way to nobody
  const absl::Status stopped =
      server_->Stop(std::chrono::steady_clock::now() + std::chrono::milliseconds(200));
  EXPECT_EQ(stopped.code(), absl::StatusCode::kDeadlineExceeded) << stopped;
  v1::EmbedResult result;
  while (stream->Read(&result)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(DrainTest, AClientThatWasAnsweredHasUntilTheDeadlineToReadIt) {
  Start();
  models_[0]->Hold();
  std::optional<RawConnection> client(std::in_place, address_);
  ASSERT_TRUE(client->Send(RawConnection::Preface() +
                           RawConnection::CallHeaders(1, "/pixembed.v1.EmbeddingService/Embed") +
                           RawConnection::MessageFrame(1, Request({SolidImage(1)}))));
  engine_->AwaitSubmitted(1);
  auto stopped = StopInBackground();
  engine_->AwaitDrainBegun();
  models_[0]->LetGo();
  // It reads nothing meanwhile, as a process does that is stopped; longer than kLastWord.
  EXPECT_EQ(stopped.wait_for(std::chrono::milliseconds(1500)), std::future_status::timeout);
  client.reset();
  EXPECT_TRUE(stopped.get().ok());
}

TEST_F(DrainTest, UnderLoadEveryCallIsAnsweredOrRefusedAndNothingAcceptedIsLost) {
  ServerOptions options;
  options.threads = 2;
  EngineOptions engine_options;
  engine_options.cores = 2;
  engine_options.max_batch_size = 4;
  Start(options, engine_options);
  std::atomic<std::uint64_t> vectors = 0;
  constexpr int kCallers = 8;  // every second one by a stream
  // Whoever has not connected when the server stops never will.
  std::latch served(kCallers);
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < kCallers / 2; ++caller) {
    callers.emplace_back([&, caller] {
      const auto stub = v1::EmbeddingService::NewStub(Connect(address_));
      for (bool first = true;; first = false) {
        v1::EmbedResponse response;
        const grpc::Status status =
            stub->Embed(Context().get(), Request({SolidImage(caller), SolidImage(2)}), &response);
        if (first) {
          EXPECT_TRUE(status.ok()) << "before the drain: " << status.error_message();
          served.count_down();
        }
        if (!status.ok()) {
          ExpectRefused(status);
          return;
        }
        for (const auto& result : response.results()) {
          EXPECT_TRUE(result.has_embedding());
          ++vectors;
        }
      }
    });
    callers.emplace_back([&, caller] {
      const auto stub = v1::EmbeddingService::NewStub(Connect(address_));
      const auto context = Context();
      const auto stream = stub->EmbedStream(context.get());
      std::jthread writer([&] {
        while (stream->Write(Request({SolidImage(caller)}))) {
        }
      });
      std::uint64_t results = 0;
      for (v1::EmbedResult result; stream->Read(&result); ++results) {
        EXPECT_TRUE(result.has_embedding());
        if (results == 0) served.count_down();
      }
      if (results == 0) {
        ADD_FAILURE() << "a stream ended before its first result";
        served.count_down();
      }
      vectors += results;
      EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
    });
  }
  served.wait();
  engine_->AwaitSubmitted(300);
  server_->AnnounceDrain();
  engine_->AwaitSubmitted(engine_->submitted() + 100);  // served on
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
  callers.clear();
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.failed, 0U);
  EXPECT_EQ(vectors, stats.completed);
}

TEST_F(DrainTest, StoppingTwiceIsStoppingOnce) {
  Start();
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now()).ok());
}

TEST_F(DrainTest, AServerThatIsDestroyedStops) {
  Start();
  v1::EmbedResponse response;
  ASSERT_TRUE(Embed(Request({SolidImage(1)}), &response).ok());
  server_.reset();
  EXPECT_EQ(Embed(Request({SolidImage(1)}), &response).error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace pixembed
