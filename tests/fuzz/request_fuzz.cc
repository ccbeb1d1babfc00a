// Any bytes as the messages of a call, to every method of a real server with a fake model. What
// must hold: the server answers, never with INTERNAL or UNKNOWN, neither for the call nor for an
// image; a failure carries a reason; nothing that was admitted is left behind.
//
// The first byte of an input chooses the method, the second how many messages the rest is.
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "inference/grpc_service.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/inference_tensors.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/model/fake_model.h"
#include "tests/server/generic_call.h"

namespace {

using pixembed::Engine;
using pixembed::EngineOptions;
using pixembed::FakeModel;
using pixembed::GenericCall;
using pixembed::Server;
using pixembed::ServerOptions;

void Require(bool holds, const char* what, const std::string& detail = "") {
  if (holds) return;
  std::fprintf(stderr, "%s: %s\n", what, detail.c_str());
  std::abort();
}

enum class Answers { kEmbedResponse, kEmbedResults, kTensors, kTensorStream, kOther, kEndless };

struct Method {
  const char* name;
  Answers answers;
};
constexpr Method kMethods[] = {
    {"/pixembed.v1.EmbeddingService/Embed", Answers::kEmbedResponse},
    {"/pixembed.v1.EmbeddingService/EmbedBatch", Answers::kEmbedResults},
    {"/pixembed.v1.EmbeddingService/EmbedStream", Answers::kEmbedResults},
    {"/pixembed.v1.EmbeddingService/ListModels", Answers::kOther},
    {"/pixembed.v1.EmbeddingService/GetModel", Answers::kOther},
    {"/grpc.health.v1.Health/Check", Answers::kOther},
    {"/grpc.health.v1.Health/Watch", Answers::kEndless},
    {"/pixembed.v1.EmbeddingService/NoSuchMethod", Answers::kOther},
    {"/inference.GRPCInferenceService/ModelInfer", Answers::kTensors},
    {"/inference.GRPCInferenceService/ModelStreamInfer", Answers::kTensorStream},
    {"/inference.GRPCInferenceService/ServerLive", Answers::kOther},
    {"/inference.GRPCInferenceService/ServerReady", Answers::kOther},
    {"/inference.GRPCInferenceService/ModelReady", Answers::kOther},
    {"/inference.GRPCInferenceService/ServerMetadata", Answers::kOther},
    {"/inference.GRPCInferenceService/ModelMetadata", Answers::kOther},
    {"/inference.GRPCInferenceService/ModelConfig", Answers::kOther},
    {"/inference.GRPCInferenceService/ModelStatistics", Answers::kOther},
    {"/inference.GRPCInferenceService/RepositoryIndex", Answers::kOther},
    {"/inference.GRPCInferenceService/RepositoryModelLoad", Answers::kOther},
    {"/inference.GRPCInferenceService/RepositoryModelUnload", Answers::kOther},
};
constexpr int kMaxMessages = 4;

// One server for the life of the process: starting one takes longer than a thousand calls.
class Service {
 public:
  Service() {
    EngineOptions engine_options;
    engine_options.cores = 1;
    engine_options.limits = {
        .max_encoded_bytes = 1 << 16, .max_pixels = 1 << 14, .max_side = 1 << 10};
    auto engine = Engine::Start({std::make_shared<FakeModel>()}, engine_options);
    Require(engine.ok(), "the engine starts", engine.status().ToString());
    engine_ = *std::move(engine);
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.threads = 1;
    options.stream_window = 3;
    options.limits.max_request_images = 5;
    auto server = Server::Start(*engine_, {"fake"}, options);
    Require(server.ok(), "the server starts", server.status().ToString());
    server_ = *std::move(server);
    channel_ =
        grpc::CreateChannel(server_->addresses().front(), grpc::InsecureChannelCredentials());
    Require(channel_->WaitForConnected(std::chrono::system_clock::now() + std::chrono::minutes(1)),
            "the server accepts connections");
  }

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  const Engine& engine() const { return *engine_; }

 private:
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

bool HasReason(const google::rpc::Status& status) {
  google::rpc::ErrorInfo info;
  for (const auto& detail : status.details()) {
    if (detail.UnpackTo(&info)) return !info.reason().empty();
  }
  return false;
}

void CheckResult(const pixembed::v1::EmbedResult& result) {
  Require(result.has_embedding() || result.has_error(), "a result has an outcome");
  if (!result.has_error()) return;
  const int code = result.error().code();
  Require(code != grpc::StatusCode::INTERNAL && code != grpc::StatusCode::UNKNOWN,
          "no image is INTERNAL", result.error().message());
  Require(HasReason(result.error()), "an image's error has a reason", result.error().message());
}

// Every tensor is raw, and as long as its shape.
void CheckTensors(const inference::ModelInferResponse& response) {
  Require(response.outputs_size() > 0 && response.outputs_size() <= 2 &&
              response.raw_output_contents_size() == response.outputs_size(),
          "every output is raw");
  for (int i = 0; i < response.outputs_size(); ++i) {
    const auto& tensor = response.outputs(i);
    const std::string& raw = response.raw_output_contents(i);
    Require(tensor.shape_size() == 2 && tensor.shape(0) > 0, "an output is a matrix");
    const auto count = static_cast<std::size_t>(tensor.shape(0) * tensor.shape(1));
    const bool bytes = tensor.datatype() == "BYTES";
    Require(bytes ? pixembed::SplitBytesTensor(raw, count).ok()
                  : raw.size() == count * (tensor.datatype() == "FP32" ? 4 : 2),
            "an output is as long as its shape");
  }
}

void CheckAnswer(Answers answers, const std::string& message) {
  if (answers == Answers::kEmbedResponse) {
    pixembed::v1::EmbedResponse response;
    Require(response.ParseFromString(message), "the answer is an EmbedResponse");
    for (const auto& result : response.results()) CheckResult(result);
  } else if (answers == Answers::kEmbedResults) {
    pixembed::v1::EmbedResult result;
    Require(result.ParseFromString(message), "the answer is an EmbedResult");
    CheckResult(result);
  } else if (answers == Answers::kTensors) {
    inference::ModelInferResponse response;
    Require(response.ParseFromString(message), "the answer is a ModelInferResponse");
    CheckTensors(response);
  } else if (answers == Answers::kTensorStream) {
    inference::ModelStreamInferResponse response;
    Require(response.ParseFromString(message), "the answer is a ModelStreamInferResponse");
    const std::string& error = response.error_message();
    Require(error.rfind("INTERNAL", 0) != 0 && error.rfind("UNKNOWN:", 0) != 0,
            "no request is INTERNAL", error);
    if (error.empty()) CheckTensors(response.infer_response());
  }
}

void CheckEnd(const grpc::Status& status) {
  const grpc::StatusCode code = status.error_code();
  Require(code != grpc::StatusCode::INTERNAL && code != grpc::StatusCode::UNKNOWN,
          "no call is INTERNAL", status.error_message());
  if (status.ok() || code == grpc::StatusCode::UNIMPLEMENTED || status.error_details().empty()) {
    return;
  }
  google::rpc::Status details;
  Require(details.ParseFromString(status.error_details()) && HasReason(details),
          "a call's error has a reason", status.error_message());
}

std::vector<std::string> Messages(std::string_view bytes, int count) {
  std::vector<std::string> messages;
  const std::size_t step = bytes.size() / static_cast<std::size_t>(count) + 1;
  do {
    messages.emplace_back(bytes.substr(0, step));
    bytes.remove_prefix(std::min(step, bytes.size()));
  } while (!bytes.empty());
  return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Service service;
  if (size < 2) return 0;
  const Method& method = kMethods[data[0] % std::size(kMethods)];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  GenericCall call(service.channel(), method.name);
  for (const std::string& message : Messages(bytes, 1 + data[1] % kMaxMessages)) {
    if (!call.Write(message)) break;
  }
  call.HalfClose();
  std::optional<std::string> answer = call.Read();
  if (method.answers == Answers::kEndless) call.context().TryCancel();
  for (; answer.has_value(); answer = call.Read()) CheckAnswer(method.answers, *answer);
  CheckEnd(call.Finish());
  const pixembed::EngineStats stats = service.engine().stats();
  Require(stats.admitted == stats.completed + stats.failed && stats.queued_bytes == 0,
          "nothing that was admitted is left behind");
  return 0;
}
