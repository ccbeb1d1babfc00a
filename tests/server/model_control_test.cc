// Models that are loaded, reloaded and unloaded while the server runs, as Triton's clients do it:
// whatever tells of models tells the same, and nothing that was accepted is lost.
#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "inference/grpc_service.grpc.pb.h"
#include "pixembed/v1/embedding.grpc.pb.h"
#include "server/inference_tensors.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/model/fake_model.h"
#include "tests/server/fake_shelf.h"
#include "tests/server/raw_connection.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

class ModelControlTest : public ServerTest {
 protected:
  ~ModelControlTest() override { shelf_.LetGo(); }

  // Serves "fake"; "other" lies on the shelf.
  void Serve(const EngineOptions& engine_options = {}, ServerOptions options = {}) {
    options.model_control = shelf_.control();
    Start(std::move(options), engine_options);
    inference_ = inference::GRPCInferenceService::NewStub(channel_);
    health_ = grpc::health::v1::Health::NewStub(channel_);
  }

  grpc::Status Load(const std::string& name) const {
    inference::RepositoryModelLoadRequest request;
    request.set_model_name(name);
    inference::RepositoryModelLoadResponse response;
    return inference_->RepositoryModelLoad(Context().get(), request, &response);
  }
  grpc::Status Unload(const std::string& name) const {
    inference::RepositoryModelUnloadRequest request;
    request.set_model_name(name);
    (*request.mutable_parameters())["unload_dependents"].set_bool_param(false);  // as tritonclient
    inference::RepositoryModelUnloadResponse response;
    return inference_->RepositoryModelUnload(Context().get(), request, &response);
  }
  std::future<grpc::Status> LoadAsync(const std::string& name) const {
    return std::async(std::launch::async, [this, name] { return Load(name); });
  }
  std::future<grpc::Status> UnloadAsync(const std::string& name) const {
    return std::async(std::launch::async, [this, name] { return Unload(name); });
  }
  std::future<grpc::Status> InferAsync(const std::string& name) const {
    return std::async(std::launch::async, [this, name] { return InferBy(name); });
  }

  // "name STATE reason" of each model.
  std::vector<std::string> Index(bool ready_only = false) const {
    inference::RepositoryIndexRequest request;
    request.set_ready(ready_only);
    inference::RepositoryIndexResponse response;
    EXPECT_TRUE(inference_->RepositoryIndex(Context().get(), request, &response).ok());
    std::vector<std::string> lines;
    for (const auto& model : response.models()) {
      lines.push_back(model.name() + " " + model.state() + " " + model.reason());
    }
    return lines;
  }
  void AwaitInIndex(const std::string& line) const {
    for (;;) {
      const std::vector<std::string> lines = Index();
      if (std::find(lines.begin(), lines.end(), line) != lines.end()) return;
    }
  }

  bool ModelReady(const std::string& name) const {
    inference::ModelReadyRequest request;
    request.set_name(name);
    inference::ModelReadyResponse response;
    EXPECT_TRUE(inference_->ModelReady(Context().get(), request, &response).ok());
    return response.ready();
  }
  HealthCheckResponse::ServingStatus Health(const std::string& name) const {
    HealthCheckRequest request;
    request.set_service(name);
    HealthCheckResponse response;
    EXPECT_TRUE(health_->Check(Context().get(), request, &response).ok());
    return response.status();
  }
  std::vector<std::string> Listed() const {
    v1::ListModelsResponse response;
    EXPECT_TRUE(stub_->ListModels(Context().get(), {}, &response).ok());
    std::vector<std::string> names;
    for (const v1::Model& model : response.models()) names.push_back(model.name());
    return names;
  }
  std::string HttpModels() const {
    const RawConnection http(server_->http_address());
    EXPECT_TRUE(http.Send("GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    return http.ReceiveAll();
  }

  // Embeds an image by the native API; the fingerprint of the answer.
  grpc::Status EmbedBy(const std::string& model, std::string* fingerprint = nullptr) const {
    v1::EmbedRequest request = Request({SolidImage(9)});
    request.set_model(model);
    v1::EmbedResponse response;
    grpc::Status status = stub_->Embed(Context().get(), request, &response);
    if (status.ok()) {
      EXPECT_EQ(response.model(), model.empty() ? "fake" : model);
      EXPECT_THAT(response.results(0).embedding().values(), ElementsAre(9, 0, 0));
    }
    if (fingerprint != nullptr) *fingerprint = response.fingerprint();
    return status;
  }

  static inference::ModelInferRequest InferRequest(const std::string& model) {
    inference::ModelInferRequest request;
    request.set_model_name(model);
    auto& input = *request.add_inputs();
    input.set_name("images");
    input.set_datatype("BYTES");
    input.add_shape(1);
    std::string raw;
    AppendBytesElement(SolidImage(9), raw);
    request.add_raw_input_contents(raw);
    return request;
  }
  grpc::Status InferBy(const std::string& model) const {
    inference::ModelInferResponse response;
    return inference_->ModelInfer(Context().get(), InferRequest(model), &response);
  }

  static std::string SeedFingerprint(const std::string& seed) {
    return FakeModel({.fingerprint_seed = seed}).Fingerprint({});
  }

  static void ExpectUnknown(const grpc::Status& status, const std::string& text) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(ReasonIn(status), "UNKNOWN_MODEL");
    EXPECT_THAT(status.error_message(), HasSubstr(text));
  }

  FakeShelf shelf_{{"fake", "other"}};
  std::unique_ptr<inference::GRPCInferenceService::Stub> inference_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

TEST_F(ModelControlTest, AModelThatIsLoadedIsServedByEveryProtocol) {
  ServerOptions options;
  options.http_listen = "127.0.0.1:0";
  Serve({}, options);
  EXPECT_THAT(Index(), ElementsAre("fake READY ", "other UNAVAILABLE not loaded"));
  EXPECT_THAT(Index(/*ready_only=*/true), ElementsAre("fake READY "));
  EXPECT_FALSE(ModelReady("other"));
  EXPECT_EQ(Health("other"), HealthCheckResponse::NOT_SERVING);
  EXPECT_THAT(HttpModels(), Not(HasSubstr("other")));
  ExpectUnknown(EmbedBy("other"), "\"other\" is not served: not loaded; there are: fake");
  ExpectUnknown(InferBy("other"), "\"other\" is not served: not loaded");

  ASSERT_TRUE(Load("other").ok());
  EXPECT_THAT(Index(), ElementsAre("fake READY ", "other READY "));
  EXPECT_TRUE(ModelReady("other"));
  EXPECT_EQ(Health("other"), HealthCheckResponse::SERVING);
  EXPECT_THAT(Listed(), ElementsAre("fake", "other"));
  EXPECT_THAT(HttpModels(), HasSubstr("other"));
  std::string fingerprint;
  EXPECT_TRUE(EmbedBy("other", &fingerprint).ok());
  EXPECT_EQ(fingerprint, SeedFingerprint("other"));
  EXPECT_TRUE(InferBy("other").ok());
  inference::ModelStatisticsResponse statistics;
  ASSERT_TRUE(inference_->ModelStatistics(Context().get(), {}, &statistics).ok());
  ASSERT_THAT(statistics.model_stats(), SizeIs(2));
  EXPECT_EQ(statistics.model_stats(1).name(), "other");
  EXPECT_EQ(statistics.model_stats(1).inference_count(), 1U);
  inference::ServerMetadataResponse metadata;
  ASSERT_TRUE(inference_->ServerMetadata(Context().get(), {}, &metadata).ok());
  EXPECT_THAT(metadata.extensions(), ::testing::Contains("model_repository"));
}

TEST_F(ModelControlTest, AModelThatIsUnloadedIsGoneEverywhereAndItsMemoryGivenBack) {
  ServerOptions options;
  options.http_listen = "127.0.0.1:0";
  Serve({}, options);
  ASSERT_TRUE(Load("other").ok());
  ASSERT_TRUE(EmbedBy("other").ok());
  ASSERT_TRUE(Unload("other").ok());
  EXPECT_EQ(shelf_.last("other"), nullptr);

  EXPECT_EQ(models_[0]->runners_alive(), 1);
  ASSERT_TRUE(Unload("fake").ok());
  EXPECT_EQ(models_[0]->runners_alive(), 0);
  EXPECT_EQ(models_[0].use_count(), 1);

  EXPECT_THAT(Index(), ElementsAre("fake UNAVAILABLE unloaded", "other UNAVAILABLE unloaded"));
  EXPECT_THAT(Index(/*ready_only=*/true), ::testing::IsEmpty());
  EXPECT_FALSE(ModelReady("fake"));
  EXPECT_EQ(Health("fake"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Health(""), HealthCheckResponse::SERVING);
  EXPECT_THAT(Listed(), ::testing::IsEmpty());
  EXPECT_THAT(HttpModels(), Not(HasSubstr("fake")));
  ExpectUnknown(EmbedBy("fake"), "model \"fake\" is not served: unloaded; there is none");
  ExpectUnknown(EmbedBy(""), "the default model \"fake\" is not served: unloaded");
  ExpectUnknown(InferBy("fake"), "model \"fake\" is not served: unloaded");
  inference::ModelMetadataRequest request;
  request.set_name("fake");
  inference::ModelMetadataResponse metadata;
  ExpectUnknown(inference_->ModelMetadata(Context().get(), request, &metadata), "unloaded");
  v1::GetModelRequest get;
  v1::Model model;
  ExpectUnknown(stub_->GetModel(Context().get(), get, &model), "unloaded");
  EXPECT_TRUE(Unload("fake").ok());  // it is

  ASSERT_TRUE(Load("fake").ok());
  EXPECT_TRUE(EmbedBy("").ok());
}

TEST_F(ModelControlTest, AWatchOfAModelHearsThatItComesAndGoes) {
  Serve();
  HealthCheckRequest request;
  request.set_service("fake");
  const auto context = Context();
  const auto watch = health_->Watch(context.get(), request);
  HealthCheckResponse status;
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.status(), HealthCheckResponse::SERVING);
  ASSERT_TRUE(Unload("fake").ok());
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.status(), HealthCheckResponse::NOT_SERVING);
  ASSERT_TRUE(Load("fake").ok());
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.status(), HealthCheckResponse::SERVING);
  server_->AnnounceDrain();
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.status(), HealthCheckResponse::NOT_SERVING);
  ASSERT_TRUE(Load("other").ok());  // in the grace everything is served on
  EXPECT_EQ(Health("other"), HealthCheckResponse::NOT_SERVING);
  context->TryCancel();
}

TEST_F(ModelControlTest, WhatWasAcceptedIsFinishedBeforeAnUnloadIs) {
  Serve();
  models_[0]->Hold();
  auto accepted = InferAsync("fake");
  models_[0]->AwaitHeld(1);
  auto unload = UnloadAsync("fake");
  AwaitInIndex("fake UNLOADING ");
  ExpectUnknown(EmbedBy("fake"), "it is being unloaded");
  EXPECT_EQ(Health("fake"), HealthCheckResponse::NOT_SERVING);
  models_[0]->LetGo();
  EXPECT_TRUE(accepted.get().ok());
  EXPECT_TRUE(unload.get().ok());
}

TEST_F(ModelControlTest, WhileAModelIsReloadedTheOldOneServesThenTheNewOneAtOnce) {
  Serve();
  shelf_.SetSeed("fake", "fake, second edition");
  shelf_.Hold();
  auto reload = LoadAsync("fake");
  shelf_.AwaitHeld(1);
  std::string fingerprint;
  EXPECT_TRUE(EmbedBy("fake", &fingerprint).ok());
  EXPECT_EQ(fingerprint, SeedFingerprint("fake"));
  EXPECT_TRUE(ModelReady("fake"));
  EXPECT_THAT(Index()[0], "fake READY it is being reloaded");
  shelf_.LetGo();
  ASSERT_TRUE(reload.get().ok());
  EXPECT_TRUE(EmbedBy("fake", &fingerprint).ok());
  EXPECT_EQ(fingerprint, SeedFingerprint("fake, second edition"));
  EXPECT_EQ(models_[0]->runners_alive(), 0);
  EXPECT_EQ(models_[0].use_count(), 1);
}

TEST_F(ModelControlTest, AReloadThatFailsLeavesTheOldModelServing) {
  Serve();
  shelf_.FailNext(MakeError(Reason::kGoldenMismatch, "1 of 3 golden images disagree"));
  const grpc::Status status = Load("fake");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(status), "GOLDEN_MISMATCH");
  EXPECT_THAT(status.error_message(), HasSubstr("1 of 3 golden images disagree"));
  EXPECT_THAT(Index()[0], HasSubstr("fake READY the model loaded before is served: "));
  EXPECT_TRUE(EmbedBy("fake").ok());
  shelf_.FailNextWarmUp(MakeError(Reason::kOutOfMemory, "too large"));
  EXPECT_EQ(ReasonIn(Load("fake")), "OUT_OF_MEMORY");
  EXPECT_TRUE(EmbedBy("fake").ok());
  EXPECT_EQ(Health("fake"), HealthCheckResponse::SERVING);
}

TEST_F(ModelControlTest, WhileOneIsLoadedForTheFirstTimeOthersAreServed) {
  Serve();
  shelf_.Hold();
  auto load = LoadAsync("other");
  shelf_.AwaitHeld(1);
  EXPECT_EQ(Index()[1], "other LOADING ");
  EXPECT_FALSE(ModelReady("other"));
  ExpectUnknown(EmbedBy("other"), "it is being loaded");
  EXPECT_TRUE(EmbedBy("fake").ok());
  auto next = LoadAsync("fake");  // waits for its turn
  EXPECT_TRUE(InferBy("fake").ok());
  EXPECT_EQ(shelf_.loads(), 1U);
  shelf_.LetGo();
  EXPECT_TRUE(load.get().ok());
  EXPECT_TRUE(next.get().ok());
  EXPECT_TRUE(EmbedBy("other").ok());
}

TEST_F(ModelControlTest, ALoadThatFailsSaysWhyHereAndInTheIndex) {
  Serve();
  shelf_.FailNext(MakeError(Reason::kTensorMissing, "no tensor embeddings"));
  EXPECT_EQ(ReasonIn(Load("other")), "TENSOR_MISSING");
  EXPECT_EQ(Index()[1], "other UNAVAILABLE loading failed: no tensor embeddings");
  EXPECT_FALSE(ModelReady("other"));
}

TEST_F(ModelControlTest, NamesThatAreNotConfiguredAreRefused) {
  Serve();
  for (const std::string& name :
       {std::string("third"), std::string("../fake"), std::string("/etc"), std::string("fake/"),
        std::string("."), std::string(".."), std::string("fake\0", 5), std::string("FAKE"),
        std::string(10'000, 'x')}) {
    ExpectUnknown(Load(name), "none is named");
    ExpectUnknown(Unload(name), "none is named");
  }
  EXPECT_EQ(ReasonIn(Load("")), "INVALID_OPTION");
  EXPECT_EQ(ReasonIn(Unload("")), "INVALID_OPTION");
  EXPECT_EQ(shelf_.loads(), 0U);
  EXPECT_THAT(Index(), SizeIs(2));
}

TEST_F(ModelControlTest, NothingOfAModelComesWithARequest) {
  Serve();
  inference::RepositoryModelLoadResponse loaded;
  for (const char* const parameter : {"config", "file:1/model.onnx", "unload_dependents"}) {
    inference::RepositoryModelLoadRequest request;
    request.set_model_name("other");
    (*request.mutable_parameters())[parameter].set_bytes_param("{}");
    const grpc::Status status = inference_->RepositoryModelLoad(Context().get(), request, &loaded);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonIn(status), "INVALID_OPTION");
    EXPECT_THAT(status.error_message(), HasSubstr(parameter));
  }
  inference::RepositoryModelLoadRequest elsewhere;
  elsewhere.set_model_name("other");
  elsewhere.set_repository_name("/models");
  EXPECT_EQ(ReasonIn(inference_->RepositoryModelLoad(Context().get(), elsewhere, &loaded)),
            "INVALID_OPTION");
  inference::RepositoryModelUnloadRequest unload;
  unload.set_model_name("fake");
  (*unload.mutable_parameters())["force"].set_bool_param(true);
  inference::RepositoryModelUnloadResponse unloaded;
  EXPECT_EQ(ReasonIn(inference_->RepositoryModelUnload(Context().get(), unload, &unloaded)),
            "INVALID_OPTION");
  EXPECT_EQ(shelf_.loads(), 0U);
  EXPECT_TRUE(ModelReady("fake"));
}

TEST_F(ModelControlTest, OfACallerThatGoesAwayTheModelIsLoadedAllTheSame) {
  Serve();
  shelf_.Hold();
  const auto context = Context();
  auto load = std::async(std::launch::async, [&] {
    inference::RepositoryModelLoadRequest request;
    request.set_model_name("other");
    inference::RepositoryModelLoadResponse response;
    return inference_->RepositoryModelLoad(context.get(), request, &response);
  });
  shelf_.AwaitHeld(1);
  context->TryCancel();
  EXPECT_EQ(load.get().error_code(), grpc::StatusCode::CANCELLED);
  shelf_.LetGo();
  AwaitInIndex("other READY ");
  EXPECT_TRUE(EmbedBy("other").ok());
}

TEST_F(ModelControlTest, ADrainAnswersWhoWaitsForALoadAndEnds) {
  Serve();
  shelf_.Hold();
  auto load = LoadAsync("other");
  shelf_.AwaitHeld(1);
  auto waiting = UnloadAsync("fake");
  auto also_waiting = LoadAsync("fake");
  while (server_->calls() < 3) std::this_thread::yield();
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
  for (auto* const call : {&load, &waiting, &also_waiting}) {
    EXPECT_EQ(call->get().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  shelf_.LetGo();
  server_.reset();
  EXPECT_EQ(shelf_.loads(), 1U);
}

TEST_F(ModelControlTest, ADrainFinishesWhatAnUnloadWaitsFor) {
  Serve();
  models_[0]->Hold();
  auto accepted = InferAsync("fake");
  models_[0]->AwaitHeld(1);
  auto unload = UnloadAsync("fake");
  AwaitInIndex("fake UNLOADING ");
  auto stop = std::async(std::launch::async, [this] {
    return server_->Stop(std::chrono::steady_clock::now() + kPatience);
  });
  engine_->AwaitDrainBegun();
  models_[0]->LetGo();
  EXPECT_TRUE(accepted.get().ok());
  EXPECT_EQ(unload.get().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(stop.get().ok());
}

class StreamControlTest : public ModelControlTest {
 protected:
  // Sends an image and reads its result.
  bool Exchange(v1::EmbedResult* result) {
    return stream_->Write(Request({SolidImage(9)})) && stream_->Read(result);
  }
  // What a stream ends with after one more image.
  grpc::Status EndOfStream() {
    EXPECT_TRUE(stream_->Write(Request({SolidImage(9)})));
    v1::EmbedResult result;
    EXPECT_FALSE(stream_->Read(&result));
    return stream_->Finish();
  }
  void Open() { stream_ = stub_->EmbedStream(context_.get()); }

  std::unique_ptr<grpc::ClientContext> context_ = Context();
  std::unique_ptr<grpc::ClientReaderWriter<v1::EmbedRequest, v1::EmbedResult>> stream_;
};

TEST_F(StreamControlTest, AStreamGoesOnOverAReloadOfTheSameModel) {
  Serve();
  Open();
  v1::EmbedResult result;
  ASSERT_TRUE(Exchange(&result));
  ASSERT_TRUE(Load("fake").ok());
  EXPECT_EQ(models_[0].use_count(), 1);  // the idle stream does not hold it
  ASSERT_TRUE(Exchange(&result));
  EXPECT_EQ(result.index(), 1U);
  EXPECT_EQ(result.fingerprint(), SeedFingerprint("fake"));
  stream_->WritesDone();
  EXPECT_FALSE(stream_->Read(&result));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamControlTest, AStreamEndsWhereTheReloadedModelIsAnother) {
  Serve();
  Open();
  v1::EmbedResult result;
  ASSERT_TRUE(Exchange(&result));
  shelf_.SetSeed("fake", "another");
  ASSERT_TRUE(Load("fake").ok());
  const grpc::Status status = EndOfStream();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(status), "FINGERPRINT_MISMATCH");
  EXPECT_THAT(status.error_message(), HasSubstr("was reloaded"));
}

TEST_F(StreamControlTest, AStreamEndsWhereItsModelIsUnloaded) {
  Serve();
  Open();
  v1::EmbedResult result;
  ASSERT_TRUE(Exchange(&result));
  ASSERT_TRUE(Unload("fake").ok());
  ExpectUnknown(EndOfStream(), "unloaded");
}

TEST_F(StreamControlTest, AStreamOfKServeGoesOnOverAnUnload) {
  Serve();
  const auto stream = inference_->ModelStreamInfer(context_.get());
  inference::ModelStreamInferResponse response;
  const auto exchange = [&] {
    response.Clear();
    return stream->Write(InferRequest("fake")) && stream->Read(&response);
  };
  ASSERT_TRUE(exchange());
  EXPECT_EQ(response.error_message(), "");
  ASSERT_TRUE(Unload("fake").ok());
  ASSERT_TRUE(exchange());
  EXPECT_THAT(response.error_message(), HasSubstr("unloaded"));
  ASSERT_TRUE(Load("fake").ok());
  ASSERT_TRUE(exchange());
  EXPECT_EQ(response.error_message(), "");
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

// Under calls of every kind models are reloaded, and one comes and goes: no call of a model that is
// there fails, and every answer is whole and from one edition.
TEST_F(ModelControlTest, UnderLoadNothingIsLostAndNothingFailsThatShouldNot) {
  constexpr int kRounds = 25;
  EngineOptions engine_options;
  engine_options.cores = 2;
  engine_options.max_batch_size = 4;
  ServerOptions options;
  options.threads = 2;
  Serve(engine_options, options);
  std::set<std::string> editions = {SeedFingerprint("fake")};
  for (int round = 0; round < kRounds; ++round) {
    editions.insert(SeedFingerprint("fake " + std::to_string(round % 3)));
  }
  std::atomic<bool> enough = false;
  std::atomic<int> answered = 0;
  const auto count = [&answered](const grpc::Status& status) {
    EXPECT_TRUE(status.ok()) << status.error_message();
    ++answered;
  };
  const auto embed = [&] {
    std::string fingerprint;
    count(EmbedBy("fake", &fingerprint));
    EXPECT_TRUE(editions.contains(fingerprint));
  };
  const auto infer = [&] { count(InferBy("fake")); };
  const auto embed_other = [&] {
    const grpc::Status status = EmbedBy("other");
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND)
        << status.error_message();
  };
  const auto stream = [&] {
    const auto context = Context();
    const auto call = inference_->ModelStreamInfer(context.get());
    inference::ModelStreamInferResponse response;
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(call->Write(InferRequest("fake")));
    call->WritesDone();
    int responses = 0;
    while (call->Read(&response)) {
      EXPECT_EQ(response.error_message(), "");
      ++responses;
    }
    EXPECT_EQ(responses, 5);
    count(call->Finish());
  };
  const auto describe = [&] {
    EXPECT_TRUE(ModelReady("fake"));
    EXPECT_THAT(Listed(), ::testing::Contains("fake"));
    EXPECT_EQ(Index().size(), 2U);
    EXPECT_EQ(Health("fake"), HealthCheckResponse::SERVING);
  };
  {
    std::vector<std::jthread> callers;
    const std::vector<std::function<void()>> kinds = {embed, infer, embed_other, stream, describe};
    callers.reserve(kinds.size());
    for (const std::function<void()>& call : kinds) {
      callers.emplace_back([&enough, call] {
        do call();
        while (!enough);
      });
    }
    for (int round = 0; round < kRounds; ++round) {
      shelf_.SetSeed("fake", "fake " + std::to_string(round % 3));
      if (round % 5 == 4) {
        shelf_.FailNext(MakeError(Reason::kCheckpointCorrupt, "cut short"));
        EXPECT_EQ(ReasonIn(Load("fake")), "CHECKPOINT_CORRUPT");
      }
      EXPECT_TRUE(Load("fake").ok());
      EXPECT_TRUE(Load("other").ok());
      EXPECT_TRUE(EmbedBy("other").ok());
      EXPECT_TRUE(Unload("other").ok());
      EXPECT_EQ(shelf_.last("other"), nullptr);
    }
    enough = true;
  }
  EXPECT_GT(answered, 0);
  EXPECT_EQ(models_[0].use_count(), 1);
  EXPECT_EQ(shelf_.last("fake")->runners_alive(), 2);
}

}  // namespace
}  // namespace pixembed
