#include "server/inference_service.h"

#include <grpcpp/support/byte_buffer.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/message.h"
#include "inference/grpc_service.pb.h"
#include "server/call.h"
#include "server/inference_request.h"
#include "server/inference_stream.h"
#include "server/inference_tensors.h"
#include "server/message.h"
#include "server/outbox.h"
#include "server/served_model.h"
#include "server/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr char kName[] = "pixembed";
// What of Triton's extensions is there, by the names that its clients look for.
constexpr std::array kExtensions = {"model_configuration", "statistics", "parameters"};

// 1: the online lane, 2: the bulk lane.
constexpr std::uint64_t kPriorityLevels = 2;

using TensorMetadata = inference::ModelMetadataResponse::TensorMetadata;

// The batch's dimension comes first.
void Describe(const char* name, const char* datatype, std::int64_t columns,
              TensorMetadata& tensor) {
  tensor.set_name(name);
  tensor.set_datatype(datatype);
  tensor.add_shape(-1);
  tensor.add_shape(columns);
}

template <typename Tensor>
void Configure(const char* name, inference::DataType type, std::int64_t columns, Tensor& tensor) {
  tensor.set_name(name);
  tensor.set_data_type(type);
  tensor.add_dims(columns);
}

absl::StatusOr<inference::ServerLiveResponse> ServerLive(
    const inference::ServerLiveRequest& /*request*/) {
  inference::ServerLiveResponse response;
  response.set_live(true);
  return response;
}

absl::StatusOr<inference::ServerMetadataResponse> ServerMetadata(
    const inference::ServerMetadataRequest& /*request*/) {
  inference::ServerMetadataResponse response;
  response.set_name(kName);
  response.set_version(PIXEMBED_VERSION);
  for (const char* const extension : kExtensions) response.add_extensions(extension);
  return response;
}

// To load and to unload.
template <typename Response, typename Request>
absl::StatusOr<Response> RefuseModelControl(const Request& /*request*/) {
  return MakeError(Reason::kUnsupportedMethod,
                   "models are neither loaded nor unloaded while the server runs: it serves those "
                   "of --model");
}

}  // namespace

InferenceService::InferenceService(Engine& engine, ServedModels models, const RequestLimits& limits,
                                   std::size_t stream_window, std::stop_token draining,
                                   std::function<bool()> ready)
    : engine_(engine),
      models_(std::move(models)),
      limits_(limits),
      stream_window_(stream_window),
      draining_(std::move(draining)),
      ready_(std::move(ready)),
      statistics_(models_.all().size()) {}

std::vector<Method> InferenceService::Methods() {
  const auto mine = [this](auto member) { return std::bind_front(member, this); };
  return {
      Lookup<inference::ServerLiveRequest>("/inference.GRPCInferenceService/ServerLive",
                                           ServerLive),
      Lookup<inference::ServerReadyRequest>("/inference.GRPCInferenceService/ServerReady",
                                            mine(&InferenceService::ServerReady)),
      Lookup<inference::ModelReadyRequest>("/inference.GRPCInferenceService/ModelReady",
                                           mine(&InferenceService::ModelReady)),
      Lookup<inference::ServerMetadataRequest>("/inference.GRPCInferenceService/ServerMetadata",
                                               ServerMetadata),
      Lookup<inference::ModelMetadataRequest>("/inference.GRPCInferenceService/ModelMetadata",
                                              mine(&InferenceService::ModelMetadata)),
      {"/inference.GRPCInferenceService/ModelInfer", mine(&InferenceService::ModelInfer)},
      {"/inference.GRPCInferenceService/ModelStreamInfer",
       mine(&InferenceService::ModelStreamInfer)},
      Lookup<inference::ModelConfigRequest>("/inference.GRPCInferenceService/ModelConfig",
                                            mine(&InferenceService::ModelConfig)),
      Lookup<inference::ModelStatisticsRequest>("/inference.GRPCInferenceService/ModelStatistics",
                                                mine(&InferenceService::ModelStatistics)),
      Lookup<inference::RepositoryIndexRequest>("/inference.GRPCInferenceService/RepositoryIndex",
                                                mine(&InferenceService::RepositoryIndex)),
      Lookup<inference::RepositoryModelLoadRequest>(
          "/inference.GRPCInferenceService/RepositoryModelLoad",
          RefuseModelControl<inference::RepositoryModelLoadResponse,
                             inference::RepositoryModelLoadRequest>),
      Lookup<inference::RepositoryModelUnloadRequest>(
          "/inference.GRPCInferenceService/RepositoryModelUnload",
          RefuseModelControl<inference::RepositoryModelUnloadResponse,
                             inference::RepositoryModelUnloadRequest>),
  };
}

template <typename Request, typename Answer>
Method InferenceService::Lookup(const char* name, Answer answer) {
  // A coroutine of its arguments alone: the closure that begins it does not last.
  const auto serve = [](InferenceService& service, Answer make, Call& call) -> Task {
    grpc::ByteBuffer bytes;
    const bool received = co_await call.Read(&bytes);
    Request request;
    absl::Status status =
        received ? ParseMessage(bytes, service.limits_.max_message_bytes, request) : NoMessage();
    typename std::invoke_result_t<Answer, const Request&>::value_type response;
    if (status.ok()) {
      auto answered = make(request);
      status = answered.status();
      if (answered.ok()) response = *std::move(answered);
    }
    co_await service.Reply(call, status, response);
  };
  return {.name = name,
          .handler = [this, serve, answer](Call& call) { return serve(*this, answer, call); },
          .brief = true};
}

Task InferenceService::Reply(Call& call, absl::Status status,
                             const google::protobuf::Message& response) {
  if (status.ok()) {
    const grpc::ByteBuffer message = SerializeMessage(response);
    co_await call.WriteAndFinish(message);
  } else {
    const grpc::Status failure = ToGrpcStatus(status, engine_.RetryDelay());
    co_await call.Finish(failure);
  }
}

Task InferenceService::ModelInfer(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  const auto message = std::make_shared<inference::ModelInferRequest>();
  const absl::Status parsed =
      received ? ParseMessage(bytes, limits_.max_message_bytes, *message) : NoMessage();
  if (!parsed.ok()) {
    co_await Reply(call, parsed, *message);
    co_return;
  }
  InferRequest request(models_, limits_, statistics_, message);
  const auto outbox = std::make_shared<Outbox>(call.queue());
  if (request.status().ok()) {
    request.Fail(engine_.Submit(request.model().index(), request.MakeItems(call, outbox, 0)));
  }
  while (!request.complete()) {
    co_await outbox->Wait();
    for (Arrival& arrival : outbox->Take()) request.Put(arrival.index, std::move(arrival.outcome));
  }
  const absl::StatusOr<inference::ModelInferResponse> response = request.Finish();
  if (response.ok()) {
    co_await Reply(call, absl::OkStatus(), *response);
  } else {
    co_await Reply(call, response.status(), *message);
  }
}

Task InferenceService::ModelStreamInfer(Call& call) {
  InferStream stream(call, engine_, models_, limits_, statistics_, stream_window_, draining_);
  co_await stream.Run();
}

absl::StatusOr<inference::ServerReadyResponse> InferenceService::ServerReady(
    const inference::ServerReadyRequest& /*request*/) const {
  inference::ServerReadyResponse response;
  response.set_ready(ready_());
  return response;
}

absl::StatusOr<inference::ModelReadyResponse> InferenceService::ModelReady(
    const inference::ModelReadyRequest& request) const {
  inference::ModelReadyResponse response;
  response.set_ready(ready_() && FindVersion(models_, request.name(), request.version()).ok());
  return response;
}

absl::StatusOr<inference::ModelMetadataResponse> InferenceService::ModelMetadata(
    const inference::ModelMetadataRequest& request) const {
  const auto model = FindVersion(models_, request.name(), request.version());
  if (!model.ok()) return model.status();
  inference::ModelMetadataResponse response;
  response.set_name((*model)->name());
  response.add_versions(kModelVersion);
  response.set_platform(kName);
  Describe(kImagesTensor, kBytesDatatype, 1, *response.add_inputs());
  Describe(kEmbeddingsTensor, TensorTypeOf(DataType::kFloat32).datatype,
           (*model)->model().info().dimension, *response.add_outputs());
  Describe(kStatusTensor, kBytesDatatype, 1, *response.add_outputs());
  return response;
}

absl::StatusOr<inference::ModelConfigResponse> InferenceService::ModelConfig(
    const inference::ModelConfigRequest& request) const {
  const auto model = FindVersion(models_, request.name(), request.version());
  if (!model.ok()) return model.status();
  inference::ModelConfigResponse response;
  inference::ModelConfig& config = *response.mutable_config();
  config.set_name((*model)->name());
  config.set_platform(kName);
  config.set_backend(kName);
  config.set_max_batch_size(static_cast<int>(limits_.max_request_images));
  Configure(kImagesTensor, inference::TYPE_STRING, 1, *config.add_input());
  Configure(kEmbeddingsTensor, inference::TYPE_FP32, (*model)->model().info().dimension,
            *config.add_output());
  Configure(kStatusTensor, inference::TYPE_STRING, 1, *config.add_output());
  inference::ModelDynamicBatching& batching = *config.mutable_dynamic_batching();
  batching.set_max_queue_delay_microseconds(static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(engine_.options().max_queue_delay)
          .count()));
  batching.set_priority_levels(kPriorityLevels);
  batching.set_default_priority_level(1);
  config.mutable_model_transaction_policy()->set_decoupled(false);
  (*config.mutable_parameters())["fingerprint"].set_string_value((*model)->Fingerprint({}));
  return response;
}

absl::StatusOr<inference::ModelStatisticsResponse> InferenceService::ModelStatistics(
    const inference::ModelStatisticsRequest& request) const {
  const auto wanted = FindVersion(models_, request.name(), request.version());
  if (!wanted.ok()) return wanted.status();
  inference::ModelStatisticsResponse response;
  for (const ServedModel& model : models_.all()) {
    if (!request.name().empty() && &model != *wanted) continue;
    inference::ModelStatistics& statistics = *response.add_model_stats();
    statistics.set_name(model.name());
    statistics.set_version(kModelVersion);
    statistics_.Describe(model.index(), statistics);
  }
  return response;
}

absl::StatusOr<inference::RepositoryIndexResponse> InferenceService::RepositoryIndex(
    const inference::RepositoryIndexRequest& request) const {
  const bool ready = ready_();
  inference::RepositoryIndexResponse response;
  if (request.ready() && !ready) return response;
  for (const ServedModel& model : models_.all()) {
    inference::RepositoryIndexResponse::ModelIndex& entry = *response.add_models();
    entry.set_name(model.name());
    entry.set_version(kModelVersion);
    entry.set_state(ready ? "READY" : "UNAVAILABLE");
    if (!ready) entry.set_reason("the server is shutting down");
  }
  return response;
}

}  // namespace pixembed
