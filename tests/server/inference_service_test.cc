// KServe v2 as stock clients speak it: tensors in, tensors out, and for whatever is not right
// INVALID_ARGUMENT that says what would be.
#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "inference/grpc_service.grpc.pb.h"
#include "server/inference_tensors.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/model/model.h"
#include "tests/server/generic_call.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using ::inference::ModelInferRequest;
using ::inference::ModelInferResponse;
using ::inference::ModelStreamInferResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

// Raw contents of a BYTES tensor.
std::string Raw(const std::vector<std::string>& elements) {
  std::string raw;
  for (const std::string& element : elements) AppendBytesElement(element, raw);
  return raw;
}

std::vector<float> Floats(const std::string& raw) {
  std::vector<float> floats(raw.size() / sizeof(float));
  std::memcpy(floats.data(), raw.data(), floats.size() * sizeof(float));
  return floats;
}

std::vector<std::string> Elements(const std::string& raw, std::size_t count) {
  const auto elements = SplitBytesTensor(raw, count);
  EXPECT_TRUE(elements.ok()) << elements.status();
  return {elements->begin(), elements->end()};
}

class InferenceTest : public ServerTest {
 protected:
  using Stub = inference::GRPCInferenceService::Stub;

  void Serve(ServerOptions options = {}, const EngineOptions& engine_options = {},
             const std::vector<std::string>& names = {"fake"},
             const FakeModelOptions& model_options = {}) {
    Start(std::move(options), engine_options, names, model_options);
    inference_ = inference::GRPCInferenceService::NewStub(channel_);
  }

  // As tritonclient sends it: [N, 1], raw.
  static ModelInferRequest InferRequest(const std::vector<std::string>& images) {
    ModelInferRequest request;
    request.set_model_name("fake");
    auto& input = *request.add_inputs();
    input.set_name("images");
    input.set_datatype("BYTES");
    input.add_shape(static_cast<std::int64_t>(images.size()));
    input.add_shape(1);
    request.add_raw_input_contents(Raw(images));
    return request;
  }

  static void AskFor(const std::vector<std::string>& outputs, ModelInferRequest& request) {
    for (const std::string& output : outputs) request.add_outputs()->set_name(output);
  }

  grpc::Status Infer(const ModelInferRequest& request, ModelInferResponse* response) {
    response->Clear();
    return inference_->ModelInfer(Context().get(), request, response);
  }
  grpc::Status Infer(const ModelInferRequest& request) {
    ModelInferResponse response;
    return Infer(request, &response);
  }

  // One image with parameters.
  static ModelInferRequest RequestWith(
      const std::function<void(google::protobuf::Map<std::string, inference::InferParameter>&)>&
          set) {
    ModelInferRequest request = InferRequest({SolidImage(3, 4, 0)});
    set(*request.mutable_parameters());
    return request;
  }

  void ExpectRefused(const ModelInferRequest& request, const std::string& reason,
                     const std::vector<std::string>& texts) {
    const grpc::Status status = Infer(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << texts.front();
    EXPECT_EQ(ReasonIn(status), reason) << status.error_message();
    for (const std::string& text : texts) EXPECT_THAT(status.error_message(), HasSubstr(text));
  }

  inference::ModelStatistics Statistics(const std::string& model = "fake") {
    inference::ModelStatisticsRequest request;
    request.set_name(model);
    inference::ModelStatisticsResponse response;
    EXPECT_TRUE(inference_->ModelStatistics(Context().get(), request, &response).ok());
    EXPECT_THAT(response.model_stats(), SizeIs(1));
    return response.model_stats(0);
  }

  std::unique_ptr<Stub> inference_;
};

TEST_F(InferenceTest, VectorsComeRawInTheOrderOfTheImagesWithIdVersionAndFingerprint) {
  Serve();
  ModelInferRequest request = InferRequest({SolidImage(1), SolidImage(2, 20, 200)});
  request.set_id("seven");
  ModelInferResponse response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.id(), "seven");
  EXPECT_EQ(response.model_name(), "fake");
  EXPECT_EQ(response.model_version(), "1");
  EXPECT_EQ(response.parameters().at("fingerprint").string_param(), models_[0]->Fingerprint({}));
  ASSERT_THAT(response.outputs(), SizeIs(1));
  EXPECT_EQ(response.outputs(0).name(), "embeddings");
  EXPECT_EQ(response.outputs(0).datatype(), "FP32");
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(2, 3));
  EXPECT_FALSE(response.outputs(0).has_contents());
  ASSERT_THAT(response.raw_output_contents(), SizeIs(1));
  EXPECT_THAT(Floats(response.raw_output_contents(0)), ElementsAre(1, 0, 0, 2, 20, 200));
}

TEST_F(InferenceTest, TheVectorsAreThoseOfTheNativeApi) {
  Serve();
  const std::vector<std::string> images = {SolidImage(5, 6, 7), SolidImage(200, 1, 9)};
  v1::EmbedResponse native;
  ASSERT_TRUE(Embed(Request(images), &native).ok());
  ModelInferResponse response;
  ASSERT_TRUE(Infer(InferRequest(images), &response).ok());
  std::vector<float> expected;
  for (const auto& result : native.results()) {
    expected.insert(expected.end(), result.embedding().values().begin(),
                    result.embedding().values().end());
  }
  EXPECT_EQ(Floats(response.raw_output_contents(0)), expected);
  EXPECT_EQ(response.parameters().at("fingerprint").string_param(), native.fingerprint());
}

TEST_F(InferenceTest, BothShapesAndBothEncodingsOfBytesAreTaken) {
  Serve();
  for (const bool column : {false, true}) {
    for (const bool typed : {false, true}) {
      ModelInferRequest request = InferRequest({SolidImage(1), SolidImage(2)});
      auto& input = *request.mutable_inputs(0);
      if (!column) input.mutable_shape()->RemoveLast();
      if (typed) {
        request.clear_raw_input_contents();
        input.mutable_contents()->add_bytes_contents(SolidImage(1));
        input.mutable_contents()->add_bytes_contents(SolidImage(2));
      }
      ModelInferResponse response;
      ASSERT_TRUE(Infer(request, &response).ok());
      EXPECT_THAT(Floats(response.raw_output_contents(0)), ElementsAre(1, 0, 0, 2, 0, 0));
    }
  }
}

TEST_F(InferenceTest, AModelIsFoundByNameAndVersion) {
  Serve({}, {}, {"fake", "second"});
  ModelInferRequest request = InferRequest({SolidImage(1)});
  request.set_model_name("second");
  request.set_model_version("1");
  ModelInferResponse response;
  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_EQ(response.model_name(), "second");
  EXPECT_EQ(response.parameters().at("fingerprint").string_param(), models_[1]->Fingerprint({}));
  request.set_model_version("2");
  grpc::Status status = Infer(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ReasonIn(status), "UNKNOWN_MODEL");
  EXPECT_THAT(status.error_message(), HasSubstr("no version \"2\"; it has \"1\""));
  request.set_model_name("third");
  status = Infer(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("fake, second"));
}

// Contents that do not fit the shape, or themselves: both numbers in the text.
TEST_F(InferenceTest, HostileRawContentsAreMalformedAndSayWhy) {
  Serve();
  struct Case {
    std::string raw;
    std::int64_t shape;
    std::vector<std::string> texts;
  };
  const std::string image = SolidImage(1);
  const std::string one = Raw({image});
  const std::string huge("\xFF\xFF\xFF\xFF", 4);
  const std::vector<Case> cases = {
      {"", 1, {"have 0 bytes", "shape 1 elements", "4 bytes, there are 0"}},
      {"abc", 1, {"have 3 bytes", "there are 3"}},
      {huge, 1, {"element 0 announces 4294967295", "there are 0 left"}},
      {huge + image, 1, {"announces 4294967295", std::to_string(image.size())}},
      {one.substr(0, one.size() - 1), 1, {"announces 246", "there are 245 left"}},
      {one, 2, {"have 250 bytes", "shape 2 elements", "element 1", "there are 0"}},
      {one + "x", 1, {"have 251 bytes", "the 1 elements of its shape end after 250"}},
      {one + one, 1, {"have 500 bytes", "end after 250"}},
      {one + std::string(2, '\0'), 2, {"element 1", "there are 2"}},
  };
  for (const Case& wrong : cases) {
    ModelInferRequest request = InferRequest({image});
    request.mutable_inputs(0)->set_shape(0, wrong.shape);
    request.set_raw_input_contents(0, wrong.raw);
    ExpectRefused(request, "MALFORMED_REQUEST", wrong.texts);
  }
  EXPECT_EQ(engine_->submitted(), 0U);
}

TEST_F(InferenceTest, HostileShapesAndTensorsAreRefusedAndSayWhy) {
  ServerOptions options;
  options.limits.max_request_images = 2;
  Serve(options);
  struct Case {
    void (*set)(ModelInferRequest& request);
    std::string reason;
    std::vector<std::string> texts;
  };
  const std::vector<Case> cases = {
      {[](auto& r) { r.mutable_inputs(0)->clear_shape(); }, "MALFORMED_REQUEST", {"shape []"}},
      {[](auto& r) { r.mutable_inputs(0)->set_shape(0, -1); }, "MALFORMED_REQUEST", {"[-1, 1]"}},
      {[](auto& r) { r.mutable_inputs(0)->set_shape(1, 2); }, "MALFORMED_REQUEST", {"[1, 2]"}},
      {[](auto& r) { r.mutable_inputs(0)->add_shape(1); }, "MALFORMED_REQUEST", {"[1, 1, 1]"}},
      {[](auto& r) { r.mutable_inputs(0)->set_shape(0, 0); }, "EMPTY_REQUEST", {"no images"}},
      {[](auto& r) { r.mutable_inputs(0)->set_shape(0, 3); },
       "TOO_MANY_IMAGES",
       {"3", "2", "send them in several requests"}},
      {[](auto& r) { r.mutable_inputs(0)->set_shape(0, std::numeric_limits<std::int64_t>::max()); },
       "TOO_MANY_IMAGES",
       {"9223372036854775807", "--max_request_images"}},
      {[](auto& r) { r.clear_inputs(); }, "MALFORMED_REQUEST", {"has 0 inputs", "has 1"}},
      {[](auto& r) { *r.add_inputs() = r.inputs(0); }, "MALFORMED_REQUEST", {"has 2 inputs"}},
      {[](auto& r) { r.mutable_inputs(0)->set_name("INPUT"); },
       "MALFORMED_REQUEST",
       {"\"INPUT\"", "\"images\""}},
      {[](auto& r) { r.mutable_inputs(0)->set_datatype("UINT8"); },
       "MALFORMED_REQUEST",
       {"\"UINT8\"", "BYTES"}},
      {[](auto& r) { r.clear_raw_input_contents(); },
       "MALFORMED_REQUEST",
       {"0 elements in contents.bytes_contents", "its shape has 1"}},
      {[](auto& r) { r.add_raw_input_contents("x"); }, "MALFORMED_REQUEST", {"2 raw", "1 input"}},
      {[](auto& r) { r.mutable_inputs(0)->mutable_contents(); }, "MALFORMED_REQUEST", {"both"}},
      {[](auto& r) { (*r.mutable_inputs(0)->mutable_parameters())["shared_memory_region"]; },
       "INVALID_OPTION",
       {"\"images\"", "\"shared_memory_region\""}},
      {[](auto& r) { AskFor({"classes"}, r); },
       "INVALID_OPTION",
       {"\"classes\"", "embeddings, status"}},
      {[](auto& r) {
         AskFor({"status", "status"}, r);
       },
       "INVALID_OPTION",
       {"\"status\"", "twice"}},
      {[](auto& r) {
         AskFor({"embeddings"}, r);
         (*r.mutable_outputs(0)->mutable_parameters())["classification"];
       },
       "INVALID_OPTION",
       {"\"classification\""}},
  };
  for (const Case& wrong : cases) {
    ModelInferRequest request = InferRequest({SolidImage(1)});
    wrong.set(request);
    ExpectRefused(request, wrong.reason, wrong.texts);
  }
  EXPECT_EQ(engine_->submitted(), 0U);
}

TEST_F(InferenceTest, BytesThatAreNoMessageAndMessagesOverTheLimitAreRefused) {
  ServerOptions options;
  options.limits.max_message_bytes = 1000;
  Serve(options);
  GenericCall call(channel_, "/inference.GRPCInferenceService/ModelInfer");
  EXPECT_TRUE(call.Write("\xFF\xFF"));
  const grpc::Status malformed = call.Finish();
  EXPECT_EQ(malformed.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(malformed.error_message(), HasSubstr("inference.ModelInferRequest"));
  const std::vector<std::string> images(10, SolidImage(1));
  ExpectRefused(InferRequest(images), "MESSAGE_TOO_LARGE", {"more than the 1000"});
}

TEST_F(InferenceTest, ParametersAreTheOptionsOfTheNativeApi) {
  Serve();
  const ModelInferRequest request = RequestWith([](auto& parameters) {
    parameters["pooling"].set_string_param("max");
    parameters["normalize"].set_bool_param(true);
    parameters["dimensions"].set_int64_param(2);
    parameters["layers"].set_string_param("-1,0");
    parameters["exif_orientation"].set_string_param("Apply");
    parameters["background"].set_string_param("00c8FF");
    parameters["lane"].set_string_param("BULK");
    parameters["data_type"].set_string_param("bfloat16");
  });
  ModelInferResponse response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const auto seen = engine_->last();
  EXPECT_EQ(seen.output, (OutputSpec{.pooling = Pooling::kMax,
                                     .layers = {0, 2},
                                     .normalize = true,
                                     .dimensions = 2,
                                     .data_type = DataType::kBFloat16}));
  const DecodePolicy policy = {.apply_exif_orientation = true, .background = Color{0, 200, 255}};
  EXPECT_EQ(seen.policy, policy);
  EXPECT_EQ(seen.lane, Lane::kBulk);
  const VectorSpace space = {.pooling = Pooling::kMax, .layers = {0, 2}, .policy = policy};
  EXPECT_EQ(response.parameters().at("fingerprint").string_param(), models_[0]->Fingerprint(space));
  EXPECT_EQ(response.outputs(0).datatype(), "BF16");
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(1, 2));
  EXPECT_THAT(response.raw_output_contents(0), SizeIs(4));
}

TEST_F(InferenceTest, ASingleLayerMayBeANumber) {
  Serve();
  ASSERT_TRUE(Infer(RequestWith([](auto& p) { p["layers"].set_int64_param(-3); })).ok());
  EXPECT_THAT(engine_->last().output.layers, ElementsAre(0));
}

TEST_F(InferenceTest, PriorityChoosesTheLaneUnlessTheLaneIsNamed) {
  Serve();
  const auto lane = [this](std::uint64_t priority, const char* named) {
    EXPECT_TRUE(Infer(RequestWith([&](auto& parameters) {
                  parameters["priority"].set_uint64_param(priority);
                  if (named != nullptr) parameters["lane"].set_string_param(named);
                })).ok());
    return engine_->last().lane;
  };
  EXPECT_EQ(lane(0, nullptr), Lane::kOnline);
  EXPECT_EQ(lane(1, nullptr), Lane::kOnline);
  EXPECT_EQ(lane(2, nullptr), Lane::kBulk);
  EXPECT_EQ(lane(std::numeric_limits<std::uint64_t>::max(), nullptr), Lane::kBulk);
  EXPECT_EQ(lane(2, "online"), Lane::kOnline);
  EXPECT_EQ(lane(1, "bulk"), Lane::kBulk);
}

TEST_F(InferenceTest, TimeoutIsADeadlineInMicroseconds) {
  Serve();
  const auto deadline_with = [this](std::int64_t timeout) {
    EXPECT_TRUE(Infer(RequestWith([&](auto& p) { p["timeout"].set_int64_param(timeout); })).ok());
    return engine_->last().deadline;
  };
  const auto before = std::chrono::steady_clock::now();
  const TimePoint deadline = deadline_with(50'000'000);
  const auto after = std::chrono::steady_clock::now();
  EXPECT_GE(deadline, before + std::chrono::seconds(50));
  EXPECT_LE(deadline, after + std::chrono::seconds(50));
  // None, and one that is longer than the call's own.
  for (const std::int64_t timeout : {std::int64_t{0}, std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_GT(deadline_with(timeout), after + std::chrono::seconds(60));
  }
}

TEST_F(InferenceTest, AnImageThatWaitsLongerThanTheTimeoutIsDeadlineExceeded) {
  Serve();
  models_[0]->Hold();
  auto first = std::async(std::launch::async, [&] { return Infer(InferRequest({SolidImage(1)})); });
  models_[0]->AwaitHeld(1);
  const ModelInferRequest late = RequestWith([](auto& p) { p["timeout"].set_int64_param(1000); });
  const grpc::Status status = Infer(late);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << status.error_message();
  models_[0]->LetGo();
  EXPECT_TRUE(first.get().ok());
}

TEST_F(InferenceTest, ReservedParametersOfOtherPurposeHaveNoEffect) {
  Serve();
  const grpc::Status status = Infer(RequestWith([](auto& parameters) {
    parameters["sequence_id"].set_int64_param(7);
    parameters["sequence_start"].set_bool_param(true);
    parameters["sequence_end"].set_bool_param(false);
    parameters["headers"].set_string_param("x");
    parameters["binary_data_output"].set_bool_param(true);
    parameters["triton_enable_empty_final_response"].set_bool_param(false);
    parameters["triton_something_new"].set_double_param(1);
  }));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(InferenceTest, WrongParametersAreRefusedWithTheirValueAndWhatIsPossible) {
  Serve();
  struct Case {
    const char* name;
    void (*set)(inference::InferParameter& parameter);
    std::vector<std::string> texts;
  };
  const std::vector<Case> cases = {
      {"normalise", [](auto& p) { p.set_bool_param(true); }, {"\"normalise\"", "normalize"}},
      {"packed", [](auto& p) { p.set_bool_param(true); }, {"\"packed\" is not known"}},
      {"pooling", [](auto& p) { p.set_string_param("sum"); }, {"\"sum\"", "mean, cls, max"}},
      {"pooling", [](auto& p) { p.set_int64_param(1); }, {"is \"1\";", "mean"}},
      {"pooling", [](auto& p) { p.set_string_param("unspecified"); }, {"\"unspecified\""}},
      {"pooling", [](auto& p) { p.set_string_param("cls"); }, {"the fake has mean and max"}},
      {"normalize", [](auto& p) { p.set_string_param("yes"); }, {"\"yes\"", "true and false"}},
      {"normalize", [](auto&) {}, {"without a value"}},
      {"dimensions",
       [](auto& p) { p.set_int64_param(-1); },
       {"is \"-1\";", "0 (all) to 4294967295"}},
      {"dimensions", [](auto& p) { p.set_uint64_param(1ULL << 32); }, {"4294967296"}},
      {"dimensions", [](auto& p) { p.set_int64_param(4); }, {"4", "3"}},
      {"dimensions", [](auto& p) { p.set_double_param(2); }, {"2 (a double)", "an integer"}},
      {"layers", [](auto& p) { p.set_string_param("0,"); }, {"\"0,\"", "\"-2,-1\""}},
      {"layers", [](auto& p) { p.set_string_param("3"); }, {"layers has 3"}},
      {"layers", [](auto& p) { p.set_bool_param(true); }, {"is \"true\""}},
      {"data_type", [](auto& p) { p.set_string_param("int8"); }, {"\"int8\"", "float32 (FP32)"}},
      {"exif_orientation", [](auto& p) { p.set_string_param("3"); }, {"ignore, apply"}},
      {"background", [](auto& p) { p.set_string_param("#fffff"); }, {"\"#fffff\"", "RRGGBB"}},
      {"background", [](auto& p) { p.set_int64_param(0); }, {"RRGGBB"}},
      {"lane", [](auto& p) { p.set_string_param("fast"); }, {"\"fast\"", "online, bulk"}},
      {"priority", [](auto& p) { p.set_int64_param(-1); }, {"priority", "-1"}},
      {"timeout", [](auto& p) { p.set_int64_param(-5); }, {"timeout", "-5"}},
  };
  for (const Case& wrong : cases) {
    ExpectRefused(RequestWith([&](auto& p) { wrong.set(p[wrong.name]); }), "INVALID_OPTION",
                  wrong.texts);
  }
  EXPECT_EQ(engine_->submitted(), 0U);
}

TEST_F(InferenceTest, AnotherFingerprintIsFailedPrecondition) {
  Serve();
  const grpc::Status status =
      Infer(RequestWith([](auto& p) { p["expected_fingerprint"].set_string_param("0123"); }));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ReasonIn(status), "FINGERPRINT_MISMATCH");
  EXPECT_TRUE(Infer(RequestWith([this](auto& p) {
                p["expected_fingerprint"].set_string_param(models_[0]->Fingerprint({}));
              })).ok());
}

TEST_F(InferenceTest, ABrokenImageFailsTheRequestWithItsReasonAndItsPlace) {
  Serve();
  std::vector<std::string> images = {SolidImage(1), SolidImage(2), ""};
  for (const BrokenImage& broken : BrokenImages(std::size_t{32} << 20)) {
    if (broken.reason == "TOO_MANY_BYTES") continue;  // as long as gRPC takes a message
    images[1] = broken.data;
    const grpc::Status status = Infer(InferRequest(images));
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonIn(status), broken.reason);
    EXPECT_THAT(status.error_message(), StartsWith("image 1 of 3: "));
    EXPECT_THAT(status.error_message(), HasSubstr(broken.text));
  }
}

TEST_F(InferenceTest, WhereStatusIsAskedForABrokenImageFailsAlone) {
  Serve();
  ModelInferRequest request = InferRequest({SolidImage(1), "Dear server", SolidImage(3), ""});
  AskFor({"status", "embeddings"}, request);
  ModelInferResponse response;
  const grpc::Status status = Infer(request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_THAT(response.outputs(), SizeIs(2));  // in the order that was asked for
  EXPECT_EQ(response.outputs(0).name(), "status");
  EXPECT_EQ(response.outputs(0).datatype(), "BYTES");
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(4, 1));
  const std::vector<std::string> statuses = Elements(response.raw_output_contents(0), 4);
  EXPECT_EQ(statuses[0], "");
  EXPECT_THAT(statuses[1], StartsWith("UNSUPPORTED_FORMAT: "));
  EXPECT_EQ(statuses[2], "");
  EXPECT_THAT(statuses[3], StartsWith("EMPTY_IMAGE: "));
  EXPECT_EQ(response.outputs(1).name(), "embeddings");
  EXPECT_THAT(response.outputs(1).shape(), ElementsAre(4, 3));
  const std::vector<float> floats = Floats(response.raw_output_contents(1));
  ASSERT_THAT(floats, SizeIs(12));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(floats[i], i == 0 ? 1 : 0);
    EXPECT_TRUE(std::isnan(floats[3 + i]));
    EXPECT_EQ(floats[6 + i], i == 0 ? 3 : 0);
    EXPECT_TRUE(std::isnan(floats[9 + i]));
  }
}

TEST_F(InferenceTest, RowsOfFailedImagesAreNanInTheTypeAndWidthThatWasAskedFor) {
  Serve();
  ModelInferRequest request = InferRequest({"no picture"});
  AskFor({"embeddings", "status"}, request);
  (*request.mutable_parameters())["data_type"].set_string_param("BF16");
  (*request.mutable_parameters())["dimensions"].set_int64_param(2);
  ModelInferResponse response;
  ASSERT_TRUE(Infer(request, &response).ok());
  EXPECT_EQ(response.outputs(0).datatype(), "BF16");
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(1, 2));
  EXPECT_EQ(response.raw_output_contents(0), "\xC0\x7F\xC0\x7F");
}

TEST_F(InferenceTest, StatusAloneIsPossibleAndEmbeddingsAloneFailAsAWhole) {
  Serve();
  ModelInferRequest request = InferRequest({SolidImage(1), "no picture"});
  AskFor({"status"}, request);
  ModelInferResponse response;
  ASSERT_TRUE(Infer(request, &response).ok());
  ASSERT_THAT(response.outputs(), SizeIs(1));
  ASSERT_THAT(response.raw_output_contents(), SizeIs(1));
  request.clear_outputs();
  AskFor({"embeddings"}, request);
  EXPECT_EQ(ReasonIn(Infer(request)), "UNSUPPORTED_FORMAT");
}

TEST_F(InferenceTest, OverloadIsResourceExhaustedWithRetryInfo) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 2;
  Serve({}, engine_options);
  models_[0]->Hold();
  auto admitted = std::async(std::launch::async, [&] {
    return Infer(InferRequest({SolidImage(1), SolidImage(2)}));
  });
  engine_->AwaitSubmitted(2);
  const grpc::Status status = Infer(InferRequest({SolidImage(3)}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonIn(status), "OVERLOADED");
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(DetailsOf(status)).has_value());
  models_[0]->LetGo();
  EXPECT_TRUE(admitted.get().ok());
}

TEST_F(InferenceTest, ProbesAreAnsweredWhenCallsAreNot) {
  ServerOptions options;
  options.max_calls = 1;
  Serve(options);
  models_[0]->Hold();
  auto admitted =
      std::async(std::launch::async, [&] { return Infer(InferRequest({SolidImage(1)})); });
  engine_->AwaitSubmitted(1);
  EXPECT_EQ(ReasonIn(Infer(InferRequest({SolidImage(3)}))), "OVERLOADED");
  inference::ServerLiveResponse live;
  EXPECT_TRUE(inference_->ServerLive(Context().get(), {}, &live).ok());
  inference::ServerReadyResponse ready;
  EXPECT_TRUE(inference_->ServerReady(Context().get(), {}, &ready).ok());
  EXPECT_TRUE(ready.ready());
  models_[0]->LetGo();
  EXPECT_TRUE(admitted.get().ok());
}

TEST_F(InferenceTest, ADrainIsUnavailable) {
  Serve();
  models_[0]->Hold();
  auto accepted =
      std::async(std::launch::async, [&] { return Infer(InferRequest({SolidImage(1)})); });
  engine_->AwaitSubmitted(1);
  auto stopped = std::async(std::launch::async, [this] {
    return server_->Stop(std::chrono::steady_clock::now() + kPatience);
  });
  engine_->AwaitDrainBegun();
  const grpc::Status status = Infer(InferRequest({SolidImage(2)}));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "DRAINING");
  models_[0]->LetGo();
  EXPECT_TRUE(accepted.get().ok());
  EXPECT_TRUE(stopped.get().ok());
}

TEST_F(InferenceTest, ACallThatIsCancelledCancelsItsImages) {
  Serve();
  models_[0]->Hold();
  const auto context = Context();
  auto call = std::async(std::launch::async, [&] {
    ModelInferResponse response;
    return inference_->ModelInfer(context.get(), InferRequest({SolidImage(1)}), &response);
  });
  engine_->AwaitSubmitted(1);
  context->TryCancel();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::CANCELLED);
  AwaitStop(engine_->last().stop);
  models_[0]->LetGo();
}

TEST_F(InferenceTest, TheServerIsLiveAndReadyUntilItDrains) {
  Serve();
  inference::ServerLiveResponse live;
  ASSERT_TRUE(inference_->ServerLive(Context().get(), {}, &live).ok());
  EXPECT_TRUE(live.live());
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(inference_->ServerReady(Context().get(), {}, &ready).ok());
  EXPECT_TRUE(ready.ready());
  inference::RepositoryIndexResponse index;
  ASSERT_TRUE(inference_->RepositoryIndex(Context().get(), {}, &index).ok());
  ASSERT_THAT(index.models(), SizeIs(1));
  EXPECT_EQ(index.models(0).name(), "fake");
  EXPECT_EQ(index.models(0).version(), "1");
  EXPECT_EQ(index.models(0).state(), "READY");

  server_->AnnounceDrain();
  ASSERT_TRUE(inference_->ServerLive(Context().get(), {}, &live).ok());
  EXPECT_TRUE(live.live());
  ASSERT_TRUE(inference_->ServerReady(Context().get(), {}, &ready).ok());
  EXPECT_FALSE(ready.ready());
  inference::ModelReadyRequest request;
  request.set_name("fake");
  inference::ModelReadyResponse model_ready;
  ASSERT_TRUE(inference_->ModelReady(Context().get(), request, &model_ready).ok());
  EXPECT_FALSE(model_ready.ready());
  ASSERT_TRUE(inference_->RepositoryIndex(Context().get(), {}, &index).ok());
  EXPECT_EQ(index.models(0).state(), "UNAVAILABLE");
  inference::RepositoryIndexRequest only_ready;
  only_ready.set_ready(true);
  ASSERT_TRUE(inference_->RepositoryIndex(Context().get(), only_ready, &index).ok());
  EXPECT_THAT(index.models(), IsEmpty());
  EXPECT_TRUE(Infer(InferRequest({SolidImage(1)})).ok());  // served on
}

TEST_F(InferenceTest, AModelIsReadyIfItIsServedInThatVersion) {
  Serve();
  const auto ready = [this](const char* name, const char* version) {
    inference::ModelReadyRequest request;
    request.set_name(name);
    request.set_version(version);
    inference::ModelReadyResponse response;
    EXPECT_TRUE(inference_->ModelReady(Context().get(), request, &response).ok());
    return response.ready();
  };
  EXPECT_TRUE(ready("fake", ""));
  EXPECT_TRUE(ready("fake", "1"));
  EXPECT_FALSE(ready("fake", "2"));
  EXPECT_FALSE(ready("other", ""));
}

TEST_F(InferenceTest, ServerAndModelAreDescribed) {
  ServerOptions options;
  options.limits.max_request_images = 7;
  Serve(options);
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(inference_->ServerMetadata(Context().get(), {}, &server).ok());
  EXPECT_EQ(server.name(), "pixembed");
  EXPECT_THAT(server.version(), HasSubstr("."));
  EXPECT_THAT(server.extensions(), ::testing::Contains("statistics"));

  inference::ModelMetadataRequest request;
  request.set_name("fake");
  inference::ModelMetadataResponse metadata;
  ASSERT_TRUE(inference_->ModelMetadata(Context().get(), request, &metadata).ok());
  EXPECT_EQ(metadata.name(), "fake");
  EXPECT_THAT(metadata.versions(), ElementsAre("1"));
  ASSERT_THAT(metadata.inputs(), SizeIs(1));
  EXPECT_EQ(metadata.inputs(0).name(), "images");
  EXPECT_EQ(metadata.inputs(0).datatype(), "BYTES");
  EXPECT_THAT(metadata.inputs(0).shape(), ElementsAre(-1, 1));
  ASSERT_THAT(metadata.outputs(), SizeIs(2));
  EXPECT_EQ(metadata.outputs(0).name(), "embeddings");
  EXPECT_EQ(metadata.outputs(0).datatype(), "FP32");
  EXPECT_THAT(metadata.outputs(0).shape(), ElementsAre(-1, 3));
  EXPECT_EQ(metadata.outputs(1).name(), "status");
  EXPECT_EQ(metadata.outputs(1).datatype(), "BYTES");
  EXPECT_THAT(metadata.outputs(1).shape(), ElementsAre(-1, 1));

  inference::ModelConfigRequest config_request;
  config_request.set_name("fake");
  inference::ModelConfigResponse response;
  ASSERT_TRUE(inference_->ModelConfig(Context().get(), config_request, &response).ok());
  const inference::ModelConfig& config = response.config();
  EXPECT_EQ(config.name(), "fake");
  EXPECT_EQ(config.max_batch_size(), 7);
  ASSERT_THAT(config.input(), SizeIs(1));
  EXPECT_EQ(config.input(0).name(), "images");
  EXPECT_EQ(config.input(0).data_type(), inference::TYPE_STRING);
  EXPECT_THAT(config.input(0).dims(), ElementsAre(1));
  ASSERT_THAT(config.output(), SizeIs(2));
  EXPECT_EQ(config.output(0).name(), "embeddings");
  EXPECT_EQ(config.output(0).data_type(), inference::TYPE_FP32);
  EXPECT_THAT(config.output(0).dims(), ElementsAre(3));
  EXPECT_FALSE(config.model_transaction_policy().decoupled());
  EXPECT_EQ(config.dynamic_batching().max_queue_delay_microseconds(), 2000U);
  EXPECT_EQ(config.parameters().at("fingerprint").string_value(), models_[0]->Fingerprint({}));

  for (const char* const name : {"other", "fake"}) {
    request.set_name(name);
    request.set_version("9");
    const grpc::Status status = inference_->ModelMetadata(Context().get(), request, &metadata);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(ReasonIn(status), "UNKNOWN_MODEL");
  }
}

TEST_F(InferenceTest, ModelsAreNotLoadedOrUnloaded) {
  Serve();
  inference::RepositoryModelLoadResponse loaded;
  inference::RepositoryModelUnloadResponse unloaded;
  for (const grpc::Status& status :
       {inference_->RepositoryModelLoad(Context().get(), {}, &loaded),
        inference_->RepositoryModelUnload(Context().get(), {}, &unloaded)}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_EQ(ReasonIn(status), "UNSUPPORTED_METHOD");
    EXPECT_THAT(status.error_message(), HasSubstr("--model_control=explicit"));
  }
}

TEST_F(InferenceTest, StatisticsCountRequestsImagesBatchesAndFailures) {
  EngineOptions engine_options;
  engine_options.max_batch_size = 2;
  Serve({}, engine_options, {"fake", "second"});
  inference::ModelStatistics none = Statistics();
  EXPECT_EQ(none.inference_count(), 0U);
  EXPECT_EQ(none.inference_stats().success().count(), 0U);
  EXPECT_EQ(none.last_inference(), 0U);

  // A batch of one while the other three wait: batches of 1, 2 and 1.
  models_[0]->Hold();
  auto first = std::async(std::launch::async, [&] { return Infer(InferRequest({SolidImage(1)})); });
  models_[0]->AwaitHeld(1);
  auto second = std::async(std::launch::async, [&] {
    return Infer(InferRequest({SolidImage(2), SolidImage(3), SolidImage(4)}));
  });
  engine_->AwaitSubmitted(4);
  models_[0]->LetGo();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
  ModelInferRequest partly = InferRequest({SolidImage(5), "no picture"});
  AskFor({"status"}, partly);
  EXPECT_TRUE(Infer(partly).ok());
  EXPECT_FALSE(Infer(InferRequest({"no picture"})).ok());
  EXPECT_FALSE(Infer(RequestWith([](auto& p) { p["lane"].set_int64_param(1); })).ok());

  const inference::ModelStatistics statistics = Statistics();
  EXPECT_EQ(statistics.name(), "fake");
  EXPECT_EQ(statistics.version(), "1");
  EXPECT_GT(statistics.last_inference(), 1'600'000'000'000U);
  EXPECT_EQ(statistics.inference_count(), 5U);
  const inference::InferStatistics& infer = statistics.inference_stats();
  EXPECT_EQ(infer.success().count(), 3U);
  EXPECT_GT(infer.success().ns(), 0U);
  EXPECT_EQ(infer.fail().count(), 2U);
  EXPECT_GT(infer.fail().ns(), 0U);
  for (const auto* part :
       {&infer.queue(), &infer.compute_input(), &infer.compute_infer(), &infer.compute_output()}) {
    EXPECT_EQ(part->count(), 3U);
  }
  EXPECT_GT(infer.compute_input().ns(), 0U);
  EXPECT_GT(infer.compute_infer().ns(), 0U);
  EXPECT_LE(infer.queue().ns() + infer.compute_input().ns() + infer.compute_infer().ns(),
            infer.success().ns());
  std::uint64_t executions = 0;
  std::uint64_t images = 0;
  for (const inference::InferBatchStatistics& batch : statistics.batch_stats()) {
    executions += batch.compute_infer().count();
    images += batch.compute_infer().count() * batch.batch_size();
  }
  EXPECT_EQ(executions, statistics.execution_count());
  EXPECT_EQ(images, statistics.inference_count());
  EXPECT_LE(statistics.execution_count(), 5U);
  EXPECT_GE(statistics.execution_count(), 4U);

  EXPECT_EQ(Statistics("second").inference_count(), 0U);
  inference::ModelStatisticsResponse all;
  ASSERT_TRUE(inference_->ModelStatistics(Context().get(), {}, &all).ok());
  EXPECT_THAT(all.model_stats(), SizeIs(2));
  inference::ModelStatisticsRequest other;
  other.set_name("other");
  EXPECT_EQ(ReasonIn(inference_->ModelStatistics(Context().get(), other, &all)), "UNKNOWN_MODEL");
}

TEST_F(InferenceTest, ManyCallersAndStreamsAtOnceAllGetTheirOwnVectorsAndAreCounted) {
  ServerOptions options;
  options.threads = 2;
  EngineOptions engine_options;
  engine_options.cores = 2;
  engine_options.max_batch_size = 4;
  Serve(options, engine_options);
  constexpr int kCallers = 4;
  constexpr int kCalls = 25;
  const auto red_of = [](const ModelInferResponse& response) {
    return Floats(response.raw_output_contents(0)).at(0);
  };
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < kCallers; ++caller) {
    callers.emplace_back([&, caller] {
      const auto stub = inference::GRPCInferenceService::NewStub(Connect(address_));
      for (int call = 0; call < kCalls; ++call) {
        ModelInferResponse response;
        const auto status =
            stub->ModelInfer(Context().get(), InferRequest({SolidImage(caller)}), &response);
        ASSERT_TRUE(status.ok()) << status.error_message();
        EXPECT_EQ(red_of(response), caller);
      }
    });
    callers.emplace_back([&, caller] {
      const auto stub = inference::GRPCInferenceService::NewStub(Connect(address_));
      const auto context = Context();
      const auto stream = stub->ModelStreamInfer(context.get());
      for (int call = 0; call < kCalls; ++call) {
        ASSERT_TRUE(stream->Write(InferRequest({SolidImage(caller + call)})));
      }
      stream->WritesDone();
      ModelStreamInferResponse response;
      for (int call = 0; call < kCalls; ++call) {
        ASSERT_TRUE(stream->Read(&response));
        EXPECT_EQ(red_of(response.infer_response()), caller + call);
      }
      EXPECT_TRUE(stream->Finish().ok());
    });
  }
  callers.clear();
  const inference::ModelStatistics statistics = Statistics();
  EXPECT_EQ(statistics.inference_stats().success().count(), 2U * kCallers * kCalls);
  EXPECT_EQ(statistics.inference_count(), 2U * kCallers * kCalls);
}

class InferStreamTest : public InferenceTest {
 protected:
  static ModelInferRequest Numbered(int number, const std::vector<std::string>& images) {
    ModelInferRequest request = InferRequest(images);
    request.set_id(std::to_string(number));
    return request;
  }
};

TEST_F(InferStreamTest, EachRequestHasOneResponseInOrderMarkedFinal) {
  Serve();
  const auto context = Context();
  const auto stream = inference_->ModelStreamInfer(context.get());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(stream->Write(Numbered(i, {SolidImage(i), SolidImage(i + 100)})));
  }
  stream->WritesDone();
  ModelStreamInferResponse response;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.error_message(), "");
    const ModelInferResponse& body = response.infer_response();
    EXPECT_EQ(body.id(), std::to_string(i));
    EXPECT_TRUE(body.parameters().at("triton_final_response").bool_param());
    EXPECT_EQ(body.parameters().at("fingerprint").string_param(), models_[0]->Fingerprint({}));
    EXPECT_THAT(body.outputs(0).shape(), ElementsAre(2, 3));
    EXPECT_THAT(Floats(body.raw_output_contents(0)),
                ElementsAre(static_cast<float>(i), 0, 0, static_cast<float>(i + 100), 0, 0));
  }
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, AResponseIsSentWhileTheStreamIsOpenAndLaterOnesAreComputed) {
  Serve();
  models_[0]->Hold();
  const auto context = Context();
  const auto stream = inference_->ModelStreamInfer(context.get());
  ASSERT_TRUE(stream->Write(Numbered(0, {SolidImage(1)})));
  ASSERT_TRUE(stream->Write(Numbered(1, {SolidImage(2)})));
  models_[0]->AwaitHeld(1);
  models_[0]->LetGoOne();
  ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.infer_response().id(), "0");
  models_[0]->LetGo();
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.infer_response().id(), "1");
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, ARequestThatFailsHasItsErrorAndItsIdAndTheStreamGoesOn) {
  ServerOptions options;
  options.limits.max_message_bytes = 2000;
  Serve(options);
  const auto context = Context();
  const auto stream = inference_->ModelStreamInfer(context.get());
  ModelInferRequest unknown = Numbered(1, {SolidImage(1)});
  unknown.set_model_name("other");
  ModelInferRequest option = Numbered(3, {SolidImage(1)});
  (*option.mutable_parameters())["pooling"].set_string_param("sum");
  const std::vector<ModelInferRequest> requests = {
      Numbered(0, {SolidImage(7)}),
      unknown,
      Numbered(2, {SolidImage(1), "no picture"}),
      option,
      Numbered(4, std::vector<std::string>(20, SolidImage(1))),
      Numbered(5, {SolidImage(9)})};
  for (const ModelInferRequest& request : requests) ASSERT_TRUE(stream->Write(request));
  stream->WritesDone();
  const std::vector<std::string> expected = {"",
                                             "UNKNOWN_MODEL: ",
                                             "UNSUPPORTED_FORMAT: image 1 of 2: ",
                                             "INVALID_OPTION: ",
                                             "MESSAGE_TOO_LARGE: ",
                                             ""};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ModelStreamInferResponse response;
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.infer_response().id(), std::to_string(i));
    EXPECT_TRUE(response.infer_response().parameters().at("triton_final_response").bool_param());
    EXPECT_THAT(response.error_message(), StartsWith(expected[i]));
    EXPECT_EQ(response.error_message().empty(), expected[i].empty());
    EXPECT_EQ(response.infer_response().outputs_size(), expected[i].empty() ? 1 : 0);
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(Statistics().inference_stats().success().count(), 2U);
  EXPECT_EQ(Statistics().inference_stats().fail().count(), 3U);  // the unknown model has none
}

TEST_F(InferStreamTest, RequestsMayAskForDifferentThings) {
  Serve({}, {}, {"fake", "second"});
  const auto context = Context();
  const auto stream = inference_->ModelStreamInfer(context.get());
  ModelInferRequest request = Numbered(0, {SolidImage(1)});
  ASSERT_TRUE(stream->Write(request));
  request.set_model_name("second");
  (*request.mutable_parameters())["dimensions"].set_int64_param(2);
  ASSERT_TRUE(stream->Write(request));
  stream->WritesDone();
  ModelStreamInferResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.infer_response().model_name(), "fake");
  EXPECT_THAT(response.infer_response().outputs(0).shape(), ElementsAre(1, 3));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.infer_response().model_name(), "second");
  EXPECT_THAT(response.infer_response().outputs(0).shape(), ElementsAre(1, 2));
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, ItIsNeverRefusedForLoad) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 2;
  ServerOptions options;
  options.limits.max_request_images = 2;
  options.stream_window = 4;
  Serve(options, engine_options);
  const auto context = Context();
  const auto stream = inference_->ModelStreamInfer(context.get());
  auto writer = std::async(std::launch::async, [&] {
    for (int i = 0; i < 50; ++i) stream->Write(Numbered(i, {SolidImage(i), SolidImage(1)}));
    stream->WritesDone();
  });
  ModelStreamInferResponse response;
  int responses = 0;
  for (; stream->Read(&response); ++responses) {
    EXPECT_EQ(response.error_message(), "");
    EXPECT_EQ(response.infer_response().id(), std::to_string(responses));
  }
  writer.get();
  EXPECT_EQ(responses, 50);
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(InferStreamTest, AMessageThatIsNoneEndsItAfterWhatWasAccepted) {
  Serve();
  GenericCall call(channel_, "/inference.GRPCInferenceService/ModelStreamInfer");
  ASSERT_TRUE(call.Write(Numbered(0, {SolidImage(1)}).SerializeAsString()));
  ASSERT_TRUE(call.Write("\xFF\xFF"));
  ModelStreamInferResponse response;
  EXPECT_TRUE(response.ParseFromString(call.Read().value_or("")));
  EXPECT_EQ(response.infer_response().id(), "0");
  EXPECT_FALSE(call.Read().has_value());
  EXPECT_EQ(ReasonIn(call.Finish()), "MALFORMED_REQUEST");
}

TEST_F(InferStreamTest, ADrainAnswersWhatWasAcceptedAndEndsItWithUnavailable) {
  Serve();
  models_[0]->Hold();
  const auto context = Context();
  const auto stream = inference_->ModelStreamInfer(context.get());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream->Write(Numbered(i, {SolidImage(i)})));
  engine_->AwaitSubmitted(3);
  auto stopped = std::async(std::launch::async, [this] {
    return server_->Stop(std::chrono::steady_clock::now() + kPatience);
  });
  engine_->AwaitDrainBegun();
  models_[0]->LetGo();
  int responses = 0;
  for (ModelStreamInferResponse response; stream->Read(&response); ++responses) {
    EXPECT_EQ(response.error_message(), "");
  }
  EXPECT_EQ(responses, 3);
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonIn(status), "DRAINING");
  EXPECT_TRUE(stopped.get().ok());
}

TEST_F(InferStreamTest, OneThatIsCancelledStopsItsImages) {
  Serve();
  models_[0]->Hold();
  const auto context = Context();
  const auto stream = inference_->ModelStreamInfer(context.get());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream->Write(Numbered(i, {SolidImage(i)})));
  engine_->AwaitSubmitted(3);
  context->TryCancel();
  AwaitStop(engine_->last().stop);
  models_[0]->LetGo();
  ModelStreamInferResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

}  // namespace
}  // namespace pixembed
