// EmbedStream: order, flow control, what ends it and what does not.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "pixembed/v1/embedding.grpc.pb.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class StreamTest : public ServerTest {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::EmbedRequest, v1::EmbedResult>;

  void Open() {
    context_ = Context();
    stream_ = stub_->EmbedStream(context_.get());
  }

  static v1::EmbedRequest One(int red) { return Request({SolidImage(red)}); }

  // Reads to the end of the stream.
  std::vector<v1::EmbedResult> ReadAll() {
    std::vector<v1::EmbedResult> results;
    v1::EmbedResult result;
    while (stream_->Read(&result)) results.push_back(result);
    return results;
  }

  // The indices of results, in the order of their arrival.
  static std::vector<std::uint64_t> Indices(const std::vector<v1::EmbedResult>& results) {
    std::vector<std::uint64_t> indices;
    indices.reserve(results.size());
    for (const v1::EmbedResult& result : results) indices.push_back(result.index());
    return indices;
  }

  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(StreamTest, EveryImageOfEveryRequestComesBackOnceWithItsIndexIdAndFingerprint) {
  Start();
  Open();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(stream_->Write(Request({SolidImage(i), SolidImage(100 + i)})));
  }
  stream_->WritesDone();
  std::vector<v1::EmbedResult> results = ReadAll();
  EXPECT_TRUE(stream_->Finish().ok());
  ASSERT_THAT(results, SizeIs(200));
  std::sort(results.begin(), results.end(),
            [](const auto& a, const auto& b) { return a.index() < b.index(); });
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(results[i].index(), i);
    EXPECT_EQ(results[i].id(), "image " + std::to_string(i % 2));
    EXPECT_THAT(results[i].embedding().values(), ElementsAre(i / 2 + (i % 2) * 100, 0, 0));
    EXPECT_EQ(results[i].fingerprint(), models_[0]->Fingerprint({.pooling = Pooling::kMean}));
  }
}

// A broken image is done before the model has finished the one in front of it.
TEST_F(StreamTest, ResultsComeAsTheyAreReadyUnlessOrderIsAskedFor) {
  Start();
  models_[0]->Hold();
  Open();
  ASSERT_TRUE(stream_->Write(Request({SolidImage(1), "no image"})));
  models_[0]->AwaitHeld(1);
  v1::EmbedResult result;
  ASSERT_TRUE(stream_->Read(&result));
  EXPECT_EQ(result.index(), 1U);
  models_[0]->LetGo();
  ASSERT_TRUE(stream_->Read(&result));
  EXPECT_EQ(result.index(), 0U);
  stream_->WritesDone();
  EXPECT_THAT(ReadAll(), SizeIs(0));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, OrderedResultsKeepTheOrderOfTheImages) {
  EngineOptions engine_options;
  engine_options.cores = 2;
  engine_options.max_batch_size = 3;
  Start({}, engine_options);
  Open();
  v1::EmbedRequest request = Request({SolidImage(0), "no image", SolidImage(2)});
  request.mutable_options()->set_ordered(true);
  std::vector<std::uint64_t> expected(180);
  std::iota(expected.begin(), expected.end(), std::uint64_t{0});
  std::jthread writer([&] {
    for (int i = 0; i < 60; ++i) ASSERT_TRUE(stream_->Write(request));
    stream_->WritesDone();
  });
  const std::vector<v1::EmbedResult> results = ReadAll();
  EXPECT_EQ(Indices(results), expected);
  EXPECT_TRUE(results[1].has_error());
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, TheLaneIsBulkUnlessOnlineIsAskedFor) {
  Start();
  Open();
  ASSERT_TRUE(stream_->Write(One(1)));
  engine_->AwaitSubmitted(1);
  EXPECT_EQ(engine_->last().lane, Lane::kBulk);
  stream_->WritesDone();
  ReadAll();
  EXPECT_TRUE(stream_->Finish().ok());
  Open();
  v1::EmbedRequest request = One(1);
  request.mutable_options()->set_lane(v1::LANE_ONLINE);
  ASSERT_TRUE(stream_->Write(request));
  engine_->AwaitSubmitted(2);
  EXPECT_EQ(engine_->last().lane, Lane::kOnline);
  stream_->WritesDone();
  ReadAll();
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, NoMoreImagesAreReadThanTheWindowHolds) {
  ServerOptions options;
  options.stream_window = 8;
  Start(options);
  models_[0]->Hold();
  Open();
  // Small enough to lie in the server's transport, where they would be read if anyone asked.
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(stream_->Write(One(i)));
  engine_->AwaitSubmitted(8);
  RoundTrip();
  EXPECT_EQ(engine_->submitted(), 8U);
  models_[0]->LetGoOne();
  v1::EmbedResult result;
  ASSERT_TRUE(stream_->Read(&result));
  engine_->AwaitSubmitted(9);
  RoundTrip();
  EXPECT_EQ(engine_->submitted(), 9U);
  models_[0]->LetGo();
  stream_->WritesDone();
  EXPECT_THAT(ReadAll(), SizeIs(49));
  EXPECT_TRUE(stream_->Finish().ok());
}

// Results of 800 KB: what a client does not read soon has nowhere to go but the server's memory.
TEST_F(StreamTest, AReaderThatStopsReadingBoundsWhatTheServerHolds) {
  constexpr std::size_t kWindow = 4;
  constexpr std::size_t kImages = 200;
  // gRPC's transports take at most this many bytes of results off our hands: the client's
  // flow-control window.
  constexpr std::size_t kTransportResults = (std::size_t{16} << 20) / 800'000;
  ServerOptions options;
  options.stream_window = kWindow;
  FakeModelOptions model_options;
  model_options.dimension = 200'000;
  Start(options, {}, {"fake"}, model_options);
  Open();
  for (std::size_t i = 0; i < kImages; ++i) ASSERT_TRUE(stream_->Write(One(1)));
  stream_->WritesDone();
  engine_->AwaitSubmitted(kWindow + 1);
  for (int i = 0; i < 50; ++i) RoundTrip();
  EXPECT_LE(engine_->submitted(), kWindow + kTransportResults);
  EXPECT_LE(engine_->stats().queued_images, kWindow);
  // The same holds at every moment of reading.
  v1::EmbedResult result;
  for (std::size_t read = 0; read < kImages; ++read) {
    ASSERT_TRUE(stream_->Read(&result));
    ASSERT_LE(engine_->submitted(), read + 1 + kWindow + kTransportResults);
  }
  EXPECT_FALSE(stream_->Read(&result));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, AStreamWaitsForRoomWhereACallWouldBeRefused) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 4;  // bulk may have half of it
  Start({}, engine_options);
  models_[0]->Hold();
  Open();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(stream_->Write(One(i)));
  engine_->AwaitSubmitted(3);  // two are in, one waits in line
  RoundTrip();
  EXPECT_EQ(engine_->submitted(), 3U);
  models_[0]->LetGo();
  stream_->WritesDone();
  EXPECT_THAT(ReadAll(), SizeIs(10));
  EXPECT_TRUE(stream_->Finish().ok());
  EXPECT_EQ(engine_->stats().refused, 0U);
}

TEST_F(StreamTest, LaterRequestsMayRepeatModelAndOptionsOrLeaveThemEmpty) {
  Start({}, {}, {"first", "second"});
  Open();
  v1::EmbedRequest request = One(1);
  request.set_model("second");
  request.mutable_options()->set_pooling(v1::POOLING_MAX);
  ASSERT_TRUE(stream_->Write(request));
  ASSERT_TRUE(stream_->Write(request));
  ASSERT_TRUE(stream_->Write(One(2)));
  stream_->WritesDone();
  const std::vector<v1::EmbedResult> results = ReadAll();
  ASSERT_THAT(results, SizeIs(3));
  for (const v1::EmbedResult& result : results) {
    EXPECT_EQ(result.fingerprint(), models_[1]->Fingerprint({.pooling = Pooling::kMax}));
  }
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, AnotherModelOrOtherOptionsLaterEndTheStreamAfterWhatWasAccepted) {
  Start({}, {}, {"first", "second"});
  v1::EmbedRequest other_model = One(2);
  other_model.set_model("second");
  v1::EmbedRequest other_options = One(2);
  other_options.mutable_options()->set_normalize(true);
  for (const v1::EmbedRequest& later : {other_model, other_options}) {
    Open();
    v1::EmbedRequest first = One(1);
    first.set_model("first");
    ASSERT_TRUE(stream_->Write(first));
    ASSERT_TRUE(stream_->Write(later));
    EXPECT_THAT(Indices(ReadAll()), ElementsAre(0));
    const grpc::Status status = stream_->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonIn(status), "INVALID_OPTION");
  }
}

TEST_F(StreamTest, AnUnknownModelOrAWrongOptionEndsTheStreamWithAStatus) {
  Start();
  Open();
  v1::EmbedRequest request = One(1);
  request.set_model("other");
  ASSERT_TRUE(stream_->Write(request));
  EXPECT_THAT(ReadAll(), SizeIs(0));
  EXPECT_EQ(ReasonIn(stream_->Finish()), "UNKNOWN_MODEL");
  Open();
  request = One(1);
  request.mutable_options()->set_pooling(v1::POOLING_CLS);
  ASSERT_TRUE(stream_->Write(request));
  EXPECT_THAT(ReadAll(), SizeIs(0));
  EXPECT_EQ(ReasonIn(stream_->Finish()), "INVALID_OPTION");
}

TEST_F(StreamTest, AFirstRequestWithoutImagesOnlySetsTheOptions) {
  Start();
  Open();
  v1::EmbedRequest request;
  request.mutable_options()->set_pooling(v1::POOLING_MAX);
  ASSERT_TRUE(stream_->Write(request));
  ASSERT_TRUE(stream_->Write(One(1)));
  stream_->WritesDone();
  const std::vector<v1::EmbedResult> results = ReadAll();
  ASSERT_THAT(results, SizeIs(1));
  EXPECT_EQ(results[0].fingerprint(), models_[0]->Fingerprint({.pooling = Pooling::kMax}));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, HalfClosingAtOnceEndsWithOk) {
  Start();
  Open();
  stream_->WritesDone();
  EXPECT_THAT(ReadAll(), SizeIs(0));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, HalfClosingFinishesEverythingThatWasSent) {
  Start();
  models_[0]->Hold();
  Open();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(stream_->Write(One(i)));
  stream_->WritesDone();
  engine_->AwaitSubmitted(5);
  models_[0]->LetGo();
  EXPECT_THAT(Indices(ReadAll()), UnorderedElementsAre(0, 1, 2, 3, 4));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, AnImageThatIsTooBigFailsAlone) {
  EngineOptions engine_options;
  engine_options.limits.max_encoded_bytes = 1000;
  Start({}, engine_options);
  Open();
  ASSERT_TRUE(stream_->Write(Request({SolidImage(1), std::string(1001, 'x'), SolidImage(3)})));
  stream_->WritesDone();
  std::vector<v1::EmbedResult> results = ReadAll();
  EXPECT_TRUE(stream_->Finish().ok());
  ASSERT_THAT(results, SizeIs(3));
  for (const v1::EmbedResult& result : results) EXPECT_EQ(result.has_error(), result.index() == 1);
}

TEST_F(StreamTest, AMessageThatIsTooBigFailsItsImagesAndTheStreamGoesOn) {
  ServerOptions options;
  options.limits.max_message_bytes = 10'000;
  Start(options);
  Open();
  ASSERT_TRUE(stream_->Write(One(1)));
  ASSERT_TRUE(stream_->Write(Request({std::string(20'000, 'x')})));
  ASSERT_TRUE(stream_->Write(One(3)));
  stream_->WritesDone();
  const std::vector<v1::EmbedResult> results = ReadAll();
  EXPECT_TRUE(stream_->Finish().ok());
  ASSERT_THAT(Indices(results), UnorderedElementsAre(0, 1, 2));
  for (const v1::EmbedResult& result : results) {
    EXPECT_EQ(result.has_error(), result.index() == 1);
    if (!result.has_error()) continue;
    EXPECT_EQ(ReasonIn(result.error()), "MESSAGE_TOO_LARGE");
    EXPECT_EQ(result.id(), "image 0");
    EXPECT_THAT(result.error().message(), HasSubstr("more than the 10000 of --max_message_bytes"));
  }
}

TEST_F(StreamTest, CancellingAStreamTakesItsImagesOutOfTheEngine) {
  Start();
  models_[0]->Hold();
  Open();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(stream_->Write(One(i)));
  engine_->AwaitSubmitted(20);
  models_[0]->AwaitHeld(1);
  const std::stop_token stop = engine_->last().stop;
  context_->TryCancel();
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  AwaitStop(stop);
  models_[0]->LetGo();
  ASSERT_TRUE(engine_->Drain(std::chrono::steady_clock::now() + kPatience).ok());
  const EngineStats stats = engine_->stats();
  EXPECT_EQ(stats.admitted, 20U);
  EXPECT_LE(stats.completed, 1U);
}

TEST_F(StreamTest, CancellingAStreamThatWaitsForRoomEndsIt) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 1;
  Start({}, engine_options);
  models_[0]->Hold();
  Open();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream_->Write(One(i)));
  engine_->AwaitSubmitted(2);
  const std::stop_token stop = engine_->last().stop;
  context_->TryCancel();
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  AwaitStop(stop);
  models_[0]->LetGo();
}

TEST_F(StreamTest, ManyStreamsAtOnceGetTheirOwnResults) {
  ServerOptions options;
  options.threads = 2;
  options.stream_window = 5;
  EngineOptions engine_options;
  engine_options.cores = 2;
  engine_options.max_batch_size = 4;
  engine_options.max_queued_images = 12;
  Start(options, engine_options);
  constexpr int kClients = 6;
  std::vector<std::jthread> clients;
  clients.reserve(kClients);
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([this, client] {
      const auto stub = v1::EmbeddingService::NewStub(Connect(address_));
      const auto context = Context();
      const auto stream = stub->EmbedStream(context.get());
      std::jthread writer([&] {
        for (int i = 0; i < 100; ++i) ASSERT_TRUE(stream->Write(One(client)));
        stream->WritesDone();
      });
      int results = 0;
      for (v1::EmbedResult result; stream->Read(&result); ++results) {
        EXPECT_THAT(result.embedding().values(), ElementsAre(client, 0, 0));
      }
      EXPECT_EQ(results, 100);
      const grpc::Status status = stream->Finish();
      EXPECT_TRUE(status.ok()) << status.error_code() << " " << status.error_message();
    });
  }
}

}  // namespace
}  // namespace pixembed
