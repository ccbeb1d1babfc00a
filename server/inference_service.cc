#include "server/inference_service.h"

#include <grpcpp/support/byte_buffer.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/served_model.h"
#include "google/protobuf/message.h"
#include "inference/grpc_service.pb.h"
#include "server/call.h"
#include "server/completion_queue.h"
#include "server/inference_request.h"
#include "server/inference_stream.h"
#include "server/inference_tensors.h"
#include "server/message.h"
#include "server/model_repository.h"
#include "server/outbox.h"
#include "server/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr char kName[] = "pixembed";
// What of Triton's extensions is there, by the names that its clients look for.
constexpr std::array kExtensions = {"model_configuration", "statistics", "parameters"};
constexpr char kControlExtension[] = "model_repository";
// The one parameter of a request to unload that is taken: no model here depends on another.
constexpr char kUnloadDependents[] = "unload_dependents";

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

// What the repository's thread leaves for a call; shared by both.
template <typename T>
class Delivery {
 public:
  explicit Delivery(CompletionQueue& queue) : event_(queue) {}

  void Put(T value) {
    {
      const std::lock_guard lock(mutex_);
      value_ = std::move(value);
    }
    event_.Set();
  }
  std::optional<T> Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(value_, std::nullopt);
  }

  void Wake() { event_.Set(); }
  // co_await: until Put or Wake was called since the last wait.
  auto Wait() { return event_.Wait(); }

 private:
  std::mutex mutex_;
  std::optional<T> value_;  // guarded by mutex_
  Event event_;
};

}  // namespace

InferenceService::InferenceService(Engine& engine, ModelRepository& models,
                                   const RequestLimits& limits, std::size_t stream_window,
                                   std::stop_token draining, std::function<bool()> ready)
    : engine_(engine),
      models_(models),
      limits_(limits),
      stream_window_(stream_window),
      draining_(std::move(draining)),
      ready_(std::move(ready)) {}

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
                                               mine(&InferenceService::ServerMetadata)),
      Lookup<inference::ModelMetadataRequest>("/inference.GRPCInferenceService/ModelMetadata",
                                              mine(&InferenceService::ModelMetadata)),
      {"/inference.GRPCInferenceService/ModelInfer", mine(&InferenceService::ModelInfer)},
      {"/inference.GRPCInferenceService/ModelStreamInfer",
       mine(&InferenceService::ModelStreamInfer)},
      Lookup<inference::ModelConfigRequest>("/inference.GRPCInferenceService/ModelConfig",
                                            mine(&InferenceService::ModelConfig)),
      Lookup<inference::ModelStatisticsRequest>("/inference.GRPCInferenceService/ModelStatistics",
                                                mine(&InferenceService::ModelStatistics)),
      {.name = "/inference.GRPCInferenceService/RepositoryIndex",
       .handler = mine(&InferenceService::RepositoryIndex),
       .brief = true},
      Control<inference::RepositoryModelLoadRequest, inference::RepositoryModelLoadResponse>(
          "/inference.GRPCInferenceService/RepositoryModelLoad", &ModelRepository::Load),
      Control<inference::RepositoryModelUnloadRequest, inference::RepositoryModelUnloadResponse>(
          "/inference.GRPCInferenceService/RepositoryModelUnload", &ModelRepository::Unload),
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

template <typename Request>
absl::Status InferenceService::CheckControl(const Request& request) const {
  if (!models_.controlled()) {
    return MakeError(Reason::kUnsupportedMethod,
                     "models are neither loaded nor unloaded while the server runs; "
                     "--model_control=explicit lets them be");
  }
  if (!request.repository_name().empty()) {
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("repository_name is \"", request.repository_name(),
                                  "\"; there is one repository, and it has no name"));
  }
  for (const auto& [name, value] : request.parameters()) {
    const bool ignored = std::is_same_v<Request, inference::RepositoryModelUnloadRequest> &&
                         name == kUnloadDependents && value.has_bool_param();
    if (ignored) continue;
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("parameter \"", name,
                                  "\" is not taken: a model's configuration and files are those of "
                                  "its directory, and nothing of them comes by a request"));
  }
  if (request.model_name().empty()) {
    return MakeError(Reason::kInvalidOption, "model_name is empty");
  }
  return absl::OkStatus();
}

template <typename Request, typename Response>
Method InferenceService::Control(const char* name,
                                 void (ModelRepository::*begin)(std::string,
                                                                ModelRepository::Done)) {
  const auto serve = [](InferenceService& service, auto start, Call& call) -> Task {
    grpc::ByteBuffer bytes;
    const bool received = co_await call.Read(&bytes);
    Request request;
    absl::Status status =
        received ? ParseMessage(bytes, service.limits_.max_message_bytes, request) : NoMessage();
    if (status.ok()) status = service.CheckControl(request);
    if (status.ok()) {
      const auto reply = std::make_shared<Delivery<absl::Status>>(call.queue());
      (service.models_.*start)(request.model_name(),
                               [reply](absl::Status outcome) { reply->Put(std::move(outcome)); });
      // Of a caller that went away the model is loaded all the same.
      const std::stop_callback on_end(call.stop_token(), [&reply] { reply->Wake(); });
      std::optional<absl::Status> outcome = reply->Take();
      while (!outcome.has_value() && !call.stop_token().stop_requested()) {
        co_await reply->Wait();
        outcome = reply->Take();
      }
      status = std::move(outcome).value_or(MakeError(Reason::kCancelled, "the caller went away"));
    }
    const Response response;
    co_await service.Reply(call, status, response);
  };
  return {.name = name,
          .handler = [this, serve, begin](Call& call) { return serve(*this, begin, call); },
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
  InferRequest request(*models_.served(), limits_, statistics_, message);
  const auto outbox = std::make_shared<Outbox>(call.queue());
  if (request.status().ok()) {
    const std::shared_ptr<const ServedModel> model = request.TakeModel();
    request.Fail(engine_.Submit(model->index(), request.MakeItems(call, outbox, 0)));
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

absl::StatusOr<inference::ServerMetadataResponse> InferenceService::ServerMetadata(
    const inference::ServerMetadataRequest& /*request*/) const {
  inference::ServerMetadataResponse response;
  response.set_name(kName);
  response.set_version(PIXEMBED_VERSION);
  for (const char* const extension : kExtensions) response.add_extensions(extension);
  if (models_.controlled()) response.add_extensions(kControlExtension);
  return response;
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
  response.set_ready(ready_() &&
                     FindVersion(*models_.served(), request.name(), request.version()).ok());
  return response;
}

absl::StatusOr<inference::ModelMetadataResponse> InferenceService::ModelMetadata(
    const inference::ModelMetadataRequest& request) const {
  const auto model = FindVersion(*models_.served(), request.name(), request.version());
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
  const auto model = FindVersion(*models_.served(), request.name(), request.version());
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
  const std::shared_ptr<const ServedModels> served = models_.served();
  if (!request.name().empty() || !request.version().empty()) {
    const auto wanted = FindVersion(*served, request.name(), request.version());
    if (!wanted.ok()) return wanted.status();
  }
  inference::ModelStatisticsResponse response;
  for (const auto& model : served->all()) {
    if (!request.name().empty() && model->name() != request.name()) continue;
    inference::ModelStatistics& statistics = *response.add_model_stats();
    statistics.set_name(model->name());
    statistics.set_version(kModelVersion);
    statistics_.Describe(model->name(), statistics);
  }
  return response;
}

Task InferenceService::RepositoryIndex(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  inference::RepositoryIndexRequest request;
  const absl::Status status =
      received ? ParseMessage(bytes, limits_.max_message_bytes, request) : NoMessage();
  inference::RepositoryIndexResponse response;
  if (status.ok()) {
    const auto reply = std::make_shared<Delivery<std::vector<ModelRepository::Row>>>(call.queue());
    models_.Index([reply](std::vector<ModelRepository::Row> rows) { reply->Put(std::move(rows)); });
    std::optional<std::vector<ModelRepository::Row>> rows = reply->Take();
    while (!rows.has_value()) {
      co_await reply->Wait();
      rows = reply->Take();
    }
    response = DescribeIndex(request, *std::move(rows));
  }
  co_await Reply(call, status, response);
}

inference::RepositoryIndexResponse InferenceService::DescribeIndex(
    const inference::RepositoryIndexRequest& request,
    std::vector<ModelRepository::Row> rows) const {
  const bool serving = ready_();
  inference::RepositoryIndexResponse response;
  for (ModelRepository::Row& row : rows) {
    if (!serving && row.state == ModelRepository::State::kReady) {
      row.state = ModelRepository::State::kUnavailable;
      row.reason = "the server is shutting down";
    }
    if (request.ready() && row.state != ModelRepository::State::kReady) continue;
    inference::RepositoryIndexResponse::ModelIndex& entry = *response.add_models();
    entry.set_name(row.name);
    entry.set_version(kModelVersion);
    entry.set_state(StateName(row.state));
    entry.set_reason(row.reason);
  }
  return response;
}

}  // namespace pixembed
