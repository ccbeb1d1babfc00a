// Embed, EmbedBatch, ListModels and GetModel: what is asked for comes back, in the form asked for.
#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "pixembed/v1/embedding.pb.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/model/model.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class UnaryTest : public ServerTest {
 protected:
  // The results of EmbedBatch in the order of their arrival.
  grpc::Status EmbedBatch(const v1::EmbedRequest& request, std::vector<v1::EmbedResult>* results) {
    const auto context = Context();
    const auto reader = stub_->EmbedBatch(context.get(), request);
    v1::EmbedResult result;
    while (reader->Read(&result)) results->push_back(result);
    return reader->Finish();
  }

  grpc::Status EmbedWith(const v1::EmbedOptions& options, v1::EmbedResponse* response) {
    v1::EmbedRequest request = Request({SolidImage(3, 4, 0)});
    *request.mutable_options() = options;
    return Embed(request, response);
  }

  // The status that these options end a call with.
  grpc::Status Refusal(const v1::EmbedOptions& options) {
    v1::EmbedResponse response;
    return EmbedWith(options, &response);
  }
};

TEST_F(UnaryTest, EmbedReturnsAVectorPerImageInTheOrderOfTheImages) {
  Start();
  v1::EmbedResponse response;
  ASSERT_TRUE(
      Embed(Request({SolidImage(1), SolidImage(2, 20, 200), SolidImage(3)}), &response).ok());
  ASSERT_THAT(response.results(), SizeIs(3));
  EXPECT_EQ(response.model(), "fake");
  EXPECT_EQ(response.fingerprint(), models_[0]->Fingerprint({.pooling = Pooling::kMean}));
  for (int i = 0; i < 3; ++i) {
    const v1::EmbedResult& result = response.results(i);
    EXPECT_EQ(result.index(), i);
    EXPECT_EQ(result.id(), "image " + std::to_string(i));
    EXPECT_EQ(result.embedding().dimensions(), 3);
    EXPECT_EQ(result.embedding().data_type(), v1::DATA_TYPE_FLOAT32);
    EXPECT_TRUE(result.fingerprint().empty());  // the response states it once
  }
  EXPECT_THAT(response.results(0).embedding().values(), ElementsAre(1, 0, 0));
  EXPECT_THAT(response.results(1).embedding().values(), ElementsAre(2, 20, 200));
  EXPECT_THAT(response.results(2).embedding().values(), ElementsAre(3, 0, 0));
}

TEST_F(UnaryTest, EveryVectorComesWithItsTimings) {
  Start();
  v1::EmbedResponse response;
  ASSERT_TRUE(Embed(Request({SolidImage(1)}), &response).ok());
  const v1::Timings& timings = response.results(0).timings();
  EXPECT_GT(timings.decode().nanos() + timings.decode().seconds(), 0);
  EXPECT_GT(timings.compute().nanos() + timings.compute().seconds(), 0);
  EXPECT_EQ(timings.batch_size(), 1);
}

TEST_F(UnaryTest, EmbedBatchSendsEachResultWithItsIndexIdAndFingerprint) {
  Start();
  std::vector<v1::EmbedResult> results;
  ASSERT_TRUE(EmbedBatch(Request({SolidImage(10), SolidImage(11), SolidImage(12)}), &results).ok());
  ASSERT_THAT(results, SizeIs(3));
  std::map<std::size_t, v1::EmbedResult> by_index;
  for (const v1::EmbedResult& result : results) by_index[result.index()] = result;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(by_index[i].id(), "image " + std::to_string(i));
    EXPECT_THAT(by_index[i].embedding().values(), ElementsAre(10 + i, 0, 0));
    EXPECT_EQ(by_index[i].fingerprint(), models_[0]->Fingerprint({.pooling = Pooling::kMean}));
  }
}

TEST_F(UnaryTest, EmbedBatchSendsAResultWhileLaterImagesAreStillBeingComputed) {
  Start();
  models_[0]->Hold();
  const auto context = Context();
  const auto reader = stub_->EmbedBatch(context.get(), Request({SolidImage(1), SolidImage(2)}));
  models_[0]->AwaitHeld(1);
  models_[0]->LetGoOne();
  models_[0]->AwaitHeld(1);  // the second image is in the model
  v1::EmbedResult result;
  ASSERT_TRUE(reader->Read(&result));
  models_[0]->LetGo();
  ASSERT_TRUE(reader->Read(&result));
  EXPECT_FALSE(reader->Read(&result));
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(UnaryTest, OptionsReachTheModelAndShapeTheAnswer) {
  Start();
  v1::EmbedOptions options;
  options.set_pooling(v1::POOLING_MAX);
  options.set_normalize(true);
  options.set_dimensions(2);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  const OutputSpec seen = engine_->last().output;
  EXPECT_EQ(seen, (OutputSpec{.pooling = Pooling::kMax,
                              .normalize = true,
                              .dimensions = 2,
                              .data_type = DataType::kFloat32}));
  EXPECT_THAT(response.results(0).embedding().values(), ElementsAre(0.6F, 0.8F));
  EXPECT_EQ(response.fingerprint(), models_[0]->Fingerprint({.pooling = Pooling::kMax}));
}

TEST_F(UnaryTest, OrientationAndBackgroundReachTheDecoderAndHaveAFingerprintOfTheirOwn) {
  Start();
  v1::EmbedOptions options;
  options.set_exif_orientation(v1::EXIF_ORIENTATION_APPLY);
  options.mutable_background()->set_green(200);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  const DecodePolicy policy = {.apply_exif_orientation = true, .background = Color{0, 200, 0}};
  EXPECT_EQ(engine_->last().policy, policy);
  EXPECT_EQ(response.fingerprint(), models_[0]->Fingerprint({.policy = policy}));
  EXPECT_NE(response.fingerprint(), models_[0]->Fingerprint({}));

  options.set_expected_fingerprint(models_[0]->Fingerprint({}));
  EXPECT_EQ(ReasonIn(Refusal(options)), "FINGERPRINT_MISMATCH");

  // What is said in so many words is the default, too.
  options.Clear();
  options.set_exif_orientation(v1::EXIF_ORIENTATION_IGNORE);
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  EXPECT_EQ(engine_->last().policy, DecodePolicy{});
  EXPECT_EQ(response.fingerprint(), models_[0]->Fingerprint({}));
}

TEST_F(UnaryTest, LayersAreCountedFromBothEndsAndHaveAFingerprintOfTheirOwn) {
  Start();
  v1::EmbedOptions options;
  options.add_layers(-1);
  options.add_layers(0);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  EXPECT_THAT(engine_->last().output.layers, ElementsAre(0, 2));
  const std::string fingerprint = models_[0]->Fingerprint({.layers = {0, 2}});
  EXPECT_EQ(response.fingerprint(), fingerprint);
  EXPECT_NE(fingerprint, models_[0]->Fingerprint({}));
  // The fake adds 1000 and 3000.
  v1::EmbedResponse last;
  ASSERT_TRUE(EmbedWith({}, &last).ok());
  EXPECT_FLOAT_EQ(response.results(0).embedding().values(0),
                  last.results(0).embedding().values(0) + 4000);
  options.set_expected_fingerprint(fingerprint);
  EXPECT_TRUE(Refusal(options).ok());
}

TEST_F(UnaryTest, PackedFloatsAreLittleEndianBytes) {
  Start();
  v1::EmbedOptions options;
  options.set_packed(true);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  const v1::Embedding& embedding = response.results(0).embedding();
  EXPECT_THAT(embedding.values(), SizeIs(0));
  const std::string expected("\0\0\x40\x40\0\0\x80\x40\0\0\0\0", 12);  // 3, 4, 0
  EXPECT_EQ(embedding.data(), expected);
  EXPECT_EQ(embedding.data_type(), v1::DATA_TYPE_FLOAT32);
}

TEST_F(UnaryTest, OtherDataTypesAreBytesAndInt8HasItsScale) {
  Start();
  v1::EmbedOptions options;
  options.set_data_type(v1::DATA_TYPE_INT8);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  const v1::Embedding& embedding = response.results(0).embedding();
  EXPECT_EQ(embedding.data_type(), v1::DATA_TYPE_INT8);
  EXPECT_EQ(embedding.data().size(), 3U);
  EXPECT_NEAR(embedding.scale() * embedding.data()[0], 3.0, embedding.scale());
  options.set_data_type(v1::DATA_TYPE_BFLOAT16);
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  EXPECT_EQ(response.results(0).embedding().data().size(), 6U);
}

TEST_F(UnaryTest, TheLaneIsOnlineUnlessBulkIsAskedFor) {
  Start();
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedWith({}, &response).ok());
  EXPECT_EQ(engine_->last().lane, Lane::kOnline);
  v1::EmbedOptions options;
  options.set_lane(v1::LANE_BULK);
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  EXPECT_EQ(engine_->last().lane, Lane::kBulk);
}

TEST_F(UnaryTest, AnUnknownModelIsNotFoundAndTheOnesThereAreAreNamed) {
  Start({}, {}, {"first", "second"});
  v1::EmbedRequest request = Request({SolidImage(1)});
  request.set_model("third");
  v1::EmbedResponse response;
  const grpc::Status status = Embed(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonIn(status), "UNKNOWN_MODEL");
  EXPECT_THAT(status.error_message(), HasSubstr("\"third\""));
  EXPECT_THAT(status.error_message(), HasSubstr("first, second"));
}

TEST_F(UnaryTest, EachModelAnswersUnderItsNameAndTheFirstWithoutOne) {
  Start({}, {}, {"first", "second"});
  v1::EmbedRequest request = Request({SolidImage(1)});
  v1::EmbedResponse response;
  ASSERT_TRUE(Embed(request, &response).ok());
  EXPECT_EQ(response.model(), "first");
  EXPECT_EQ(response.fingerprint(), models_[0]->Fingerprint({.pooling = Pooling::kMean}));
  request.set_model("second");
  ASSERT_TRUE(Embed(request, &response).ok());
  EXPECT_EQ(response.model(), "second");
  EXPECT_EQ(response.fingerprint(), models_[1]->Fingerprint({.pooling = Pooling::kMean}));
}

TEST_F(UnaryTest, WrongOptionsAreInvalidArgumentWithFieldAndValue) {
  Start();
  struct Case {
    void (*set)(v1::EmbedOptions&);
    const char* text;
  };
  const std::vector<Case> cases = {
      {[](v1::EmbedOptions& o) { o.set_pooling(static_cast<v1::Pooling>(17)); },
       "options.pooling is 17"},
      {[](v1::EmbedOptions& o) { o.set_pooling(v1::POOLING_CLS); }, "cls"},
      {[](v1::EmbedOptions& o) { o.set_data_type(static_cast<v1::DataType>(-1)); },
       "options.data_type is -1"},
      {[](v1::EmbedOptions& o) { o.set_lane(static_cast<v1::Lane>(3)); }, "options.lane is 3"},
      {[](v1::EmbedOptions& o) { o.set_dimensions(4); }, "4"},
      {[](v1::EmbedOptions& o) { o.set_dimensions(4'000'000'000); }, "4000000000"},
      {[](v1::EmbedOptions& o) { o.set_data_type(v1::DATA_TYPE_BINARY); }, "data_type"},
      {[](v1::EmbedOptions& o) { o.add_layers(3); }, "options.layers has 3; the model has 3"},
      {[](v1::EmbedOptions& o) { o.add_layers(-4); }, "options.layers has -4"},
      {[](v1::EmbedOptions& o) { o.add_layers(1), o.add_layers(-2); },
       "names hidden state 1 twice"},
      {[](v1::EmbedOptions& o) { o.set_exif_orientation(static_cast<v1::ExifOrientation>(3)); },
       "options.exif_orientation is 3"},
      {[](v1::EmbedOptions& o) { o.mutable_background()->set_blue(256); },
       "options.background is (0, 0, 256); 0 to 255"},
  };
  for (const Case& wrong : cases) {
    v1::EmbedOptions options;
    wrong.set(options);
    const grpc::Status status = Refusal(options);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << wrong.text;
    EXPECT_EQ(ReasonIn(status), "INVALID_OPTION") << wrong.text;
    EXPECT_THAT(status.error_message(), HasSubstr(wrong.text));
  }
  EXPECT_EQ(engine_->submitted(), 0U);
}

TEST_F(UnaryTest, EmbedBatchRefusesOrderedWhichItDoesNotKeep) {
  Start();
  v1::EmbedRequest request = Request({SolidImage(1)});
  request.mutable_options()->set_ordered(true);
  std::vector<v1::EmbedResult> results;
  EXPECT_EQ(ReasonIn(EmbedBatch(request, &results)), "INVALID_OPTION");
}

TEST_F(UnaryTest, AnotherFingerprintIsFailedPreconditionWithBoth) {
  Start();
  v1::EmbedOptions options;
  options.set_expected_fingerprint("0123");
  const grpc::Status status = Refusal(options);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(status), "FINGERPRINT_MISMATCH");
  const std::string actual = models_[0]->Fingerprint({.pooling = Pooling::kMean});
  EXPECT_THAT(status.error_message(), HasSubstr("0123"));
  EXPECT_THAT(status.error_message(), HasSubstr(actual));
  const auto info = DetailOf<google::rpc::ErrorInfo>(DetailsOf(status));
  EXPECT_EQ(info->domain(), "pixembed");
  EXPECT_EQ(info->metadata().at("expected"), "0123");
  EXPECT_EQ(info->metadata().at("actual"), actual);
}

TEST_F(UnaryTest, TheExpectedFingerprintIsTheOneOfTheChosenPooling) {
  Start();
  v1::EmbedOptions options;
  options.set_pooling(v1::POOLING_MAX);
  options.set_expected_fingerprint(models_[0]->Fingerprint({.pooling = Pooling::kMax}));
  EXPECT_TRUE(Refusal(options).ok());
}

TEST_F(UnaryTest, AFailedBatchFailsItsImagesAndNotTheCall) {
  Start();
  models_[0]->FailNext(MakeError(Reason::kOutOfMemory, "no memory for 1 image"));
  v1::EmbedResponse response;
  ASSERT_TRUE(Embed(Request({SolidImage(1)}), &response).ok());
  const google::rpc::Status& error = response.results(0).error();
  EXPECT_EQ(error.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(error), "OUT_OF_MEMORY");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(error).has_value());
}

TEST_F(UnaryTest, ModelsAreDescribedWithPoolingsFingerprintsPreprocessingAndLimits) {
  ServerOptions options;
  options.limits.max_request_images = 7;
  options.limits.max_message_bytes = 1 << 20;
  EngineOptions engine_options;
  engine_options.limits.max_side = 1000;
  Start(options, engine_options, {"first", "second"});
  v1::ListModelsResponse response;
  ASSERT_TRUE(stub_->ListModels(Context().get(), {}, &response).ok());
  ASSERT_THAT(response.models(), SizeIs(2));
  EXPECT_EQ(response.models(0).name(), "first");
  const v1::Model& model = response.models(1);
  EXPECT_EQ(model.name(), "second");
  EXPECT_EQ(model.model_type(), "fake");
  EXPECT_EQ(model.dimension(), 3);
  EXPECT_EQ(model.tokens(), 1);
  EXPECT_THAT(model.poolings(), ElementsAre(v1::POOLING_MEAN, v1::POOLING_MAX));
  EXPECT_EQ(model.fingerprints().at("mean"), models_[1]->Fingerprint({.pooling = Pooling::kMean}));
  EXPECT_EQ(model.fingerprints().at("max"), models_[1]->Fingerprint({.pooling = Pooling::kMax}));
  EXPECT_EQ(model.preprocessing().processor_type(), "FakeImageProcessor");
  EXPECT_EQ(model.preprocessing().backend(), "torchvision");
  EXPECT_EQ(model.preprocessing().resize(), "8x8");
  EXPECT_EQ(model.preprocessing().crop(), "none");
  EXPECT_EQ(model.preprocessing().filter(), "bilinear");
  EXPECT_EQ(model.preprocessing().input_height(), 8);
  EXPECT_THAT(model.preprocessing().mean(), ElementsAre(0.5, 0.5, 0.5));
  EXPECT_EQ(model.limits().max_image_side(), 1000);
  EXPECT_EQ(model.limits().max_request_images(), 7);
  EXPECT_EQ(model.limits().max_message_bytes(), 1 << 20);
  EXPECT_EQ(model.precision(), "float32");
  EXPECT_THAT(model.devices(), ElementsAre("cpu"));
}

TEST_F(UnaryTest, AModelThatPadsSaysSoAndHasAMeanWithoutPadding) {
  Start({}, {}, {"padded"}, {.patches = PatchBudget{.patch = 4, .max_patches = 10}});
  v1::Model model;
  ASSERT_TRUE(stub_->GetModel(Context().get(), {}, &model).ok());
  EXPECT_THAT(model.poolings(),
              ElementsAre(v1::POOLING_MEAN, v1::POOLING_MAX, v1::POOLING_MASKED_MEAN));
  const std::string fingerprint = models_[0]->Fingerprint({.pooling = Pooling::kMaskedMean});
  EXPECT_EQ(model.fingerprints().at("masked_mean"), fingerprint);
  EXPECT_EQ(model.preprocessing().resize(), "at most 10 patches of 4x4");
  EXPECT_EQ(model.preprocessing().max_patches(), 10);
  EXPECT_EQ(model.preprocessing().input_width(), 12);
  v1::EmbedOptions options;
  options.set_pooling(v1::POOLING_MASKED_MEAN);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedWith(options, &response).ok());
  EXPECT_EQ(engine_->last().output.pooling, Pooling::kMaskedMean);
  EXPECT_EQ(response.fingerprint(), fingerprint);
}

TEST_F(UnaryTest, AMeanWithoutPaddingIsRefusedWhereThereIsNone) {
  Start();
  v1::EmbedOptions options;
  options.set_pooling(v1::POOLING_MASKED_MEAN);
  EXPECT_EQ(ReasonIn(Refusal(options)), "INVALID_OPTION");
}

TEST_F(UnaryTest, OneModelIsDescribedByNameOrByDefault) {
  Start({}, {}, {"first", "second"});
  v1::GetModelRequest request;
  v1::Model model;
  ASSERT_TRUE(stub_->GetModel(Context().get(), request, &model).ok());
  EXPECT_EQ(model.name(), "first");
  request.set_name("second");
  ASSERT_TRUE(stub_->GetModel(Context().get(), request, &model).ok());
  EXPECT_EQ(model.name(), "second");
  request.set_name("third");
  EXPECT_EQ(ReasonIn(stub_->GetModel(Context().get(), request, &model)), "UNKNOWN_MODEL");
}

TEST_F(UnaryTest, ManyCallersAtOnceAllGetTheirOwnVectors) {
  ServerOptions options;
  options.threads = 2;
  EngineOptions engine_options;
  engine_options.cores = 2;
  engine_options.max_batch_size = 4;
  Start(options, engine_options);
  constexpr int kCallers = 8;
  constexpr int kCalls = 25;
  std::vector<std::jthread> callers;
  callers.reserve(kCallers);
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([this, caller] {
      const auto stub = v1::EmbeddingService::NewStub(Connect(address_));
      for (int call = 0; call < kCalls; ++call) {
        v1::EmbedResponse response;
        const auto status = stub->Embed(Context().get(),
                                        Request({SolidImage(caller), SolidImage(call)}), &response);
        ASSERT_TRUE(status.ok()) << status.error_message();
        EXPECT_THAT(response.results(0).embedding().values(), ElementsAre(caller, 0, 0));
        EXPECT_THAT(response.results(1).embedding().values(), ElementsAre(call, 0, 0));
      }
    });
  }
  callers.clear();
  EXPECT_EQ(engine_->stats().completed, kCallers * kCalls * 2U);
}

}  // namespace
}  // namespace pixembed
