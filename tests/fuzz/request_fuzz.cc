// Any bytes as the messages of a call, to every method of a real server with a fake model, with and
// without tokens. What must hold: the server answers, never with INTERNAL or UNKNOWN, neither for
// the call nor for an image; a failure carries a reason; nothing that was admitted is left behind;
// who shows no token gets nothing but health.
//
// The first byte of an input chooses the method, the second how many messages the rest is, and what
// is shown to which server; where that is any bytes, a length and they come before the messages.
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/status.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "inference/grpc_service.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/bearer_tokens.h"
#include "server/inference_tensors.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/model/fake_model.h"
#include "tests/server/generic_call.h"

namespace {

using grpc::reflection::v1alpha::ServerReflectionResponse;
using pixembed::BearerTokens;
using pixembed::Engine;
using pixembed::EngineOptions;
using pixembed::FakeModel;
using pixembed::GenericCall;
using pixembed::Server;
using pixembed::ServerOptions;
using pixembed::TemporaryDirectory;

void Require(bool holds, const char* what, const std::string& detail = "") {
  if (holds) return;
  std::fprintf(stderr, "%s: %s\n", what, detail.c_str());
  std::abort();
}

enum class Answers {
  kEmbedResponse,
  kEmbedResults,
  kTensors,
  kTensorStream,
  kReflection,
  kOther,
  kEndless
};

struct Method {
  const char* name;
  Answers answers;
  bool open = false;  // asks for no token
};
constexpr Method kMethods[] = {
    {"/pixembed.v1.EmbeddingService/Embed", Answers::kEmbedResponse},
    {"/pixembed.v1.EmbeddingService/EmbedBatch", Answers::kEmbedResults},
    {"/pixembed.v1.EmbeddingService/EmbedStream", Answers::kEmbedResults},
    {"/pixembed.v1.EmbeddingService/ListModels", Answers::kOther},
    {"/pixembed.v1.EmbeddingService/GetModel", Answers::kOther},
    {"/grpc.health.v1.Health/Check", Answers::kOther, true},
    {"/grpc.health.v1.Health/Watch", Answers::kEndless, true},
    {"/pixembed.v1.EmbeddingService/NoSuchMethod", Answers::kOther, true},
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
    {"/pixembed.v1.EmbeddingService/ExplainImage", Answers::kOther},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Answers::kReflection},
};
constexpr int kMaxMessages = 4;

// Which server is called, and with what in `authorization`.
enum class Caller { kOfOpenServer, kWithToken, kWithAnything, kWithNothing };
constexpr int kCallers = 4;

constexpr char kToken[] = "fuzz";

std::shared_ptr<BearerTokens> OpenTokens() {
  const TemporaryDirectory folder;
  const std::string path = (folder.path() / "tokens").string();
  std::ofstream(path) << kToken << '\n';
  // Once the file is gone, its tokens stay in force.
  auto tokens = BearerTokens::Open(path, nullptr);
  Require(tokens.ok(), "the tokens are read", tokens.status().ToString());
  return *std::move(tokens);
}

// A server for the life of the process: starting one takes longer than a thousand calls.
class Service {
 public:
  // `tokens`: null: it asks for none.
  explicit Service(std::shared_ptr<BearerTokens> tokens) {
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
    options.tokens = std::move(tokens);
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

void CheckReflection(const ServerReflectionResponse& response) {
  Require(response.message_response_case() != ServerReflectionResponse::MESSAGE_RESPONSE_NOT_SET,
          "a question has an answer", response.original_request().ShortDebugString());
  const int code = response.error_response().error_code();
  Require(code != grpc::StatusCode::INTERNAL && code != grpc::StatusCode::UNKNOWN,
          "no question is INTERNAL", response.error_response().error_message());
  for (const std::string& file : response.file_descriptor_response().file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto descriptor;
    Require(descriptor.ParseFromString(file), "a file is a FileDescriptorProto");
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
    Require(!error.starts_with("INTERNAL") && !error.starts_with("UNKNOWN:"),
            "no request is INTERNAL", error);
    if (error.empty()) CheckTensors(response.infer_response());
  } else if (answers == Answers::kReflection) {
    ServerReflectionResponse response;
    Require(response.ParseFromString(message), "the answer is a ServerReflectionResponse");
    CheckReflection(response);
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

// Takes a length and so many bytes from the front. What gRPC sends in metadata is printable.
std::string TakeAuthorization(std::string_view& bytes) {
  if (bytes.empty()) return "";
  const auto length = static_cast<unsigned char>(bytes.front());
  std::string value(bytes.substr(1, length));
  bytes.remove_prefix(std::min<std::size_t>(1 + length, bytes.size()));
  std::erase_if(value, [](char c) { return c < ' ' || c > '~'; });
  return value;
}

std::string Authorization(Caller caller, std::string_view& bytes) {
  switch (caller) {
    case Caller::kWithToken:
      return std::string("Bearer ") + kToken;
    case Caller::kWithAnything:
      return TakeAuthorization(bytes);
    case Caller::kOfOpenServer:
    case Caller::kWithNothing:
      break;
  }
  return "";
}

void CheckAdmission(const Method& method, Caller caller, const std::string& authorization,
                    bool admitted) {
  if (method.open || caller == Caller::kOfOpenServer || caller == Caller::kWithToken) {
    Require(admitted, "who needs no token, or has it, is served", method.name);
  } else if (admitted) {
    Require(authorization.find(kToken) != std::string::npos, "who has no token is refused",
            authorization);
  }
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
  static const Service open(nullptr);
  static const Service guarded(OpenTokens());
  if (size < 2) return 0;
  const Method& method = kMethods[data[0] % std::size(kMethods)];
  const auto caller = static_cast<Caller>(data[1] / kMaxMessages % kCallers);
  const Service& service = caller == Caller::kOfOpenServer ? open : guarded;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string authorization = Authorization(caller, bytes);
  const std::size_t admitted_before = service.engine().stats().admitted;
  GenericCall call(service.channel(), method.name, authorization);
  for (const std::string& message : Messages(bytes, 1 + data[1] % kMaxMessages)) {
    if (!call.Write(message)) break;
  }
  call.HalfClose();
  std::optional<std::string> answer = call.Read();
  if (method.answers == Answers::kEndless) call.context().TryCancel();
  bool answered = false;
  for (; answer.has_value(); answer = call.Read()) {
    answered = true;
    CheckAnswer(method.answers, *answer);
  }
  const grpc::Status status = call.Finish();
  CheckEnd(status);
  const bool served = status.error_code() != grpc::StatusCode::UNAUTHENTICATED;
  CheckAdmission(method, caller, authorization, served);
  const pixembed::EngineStats stats = service.engine().stats();
  Require(served || (!answered && stats.admitted == admitted_before), "who is refused gets nothing",
          method.name);
  Require(stats.admitted == stats.completed + stats.failed && stats.queued_bytes == 0,
          "nothing that was admitted is left behind");
  return 0;
}
