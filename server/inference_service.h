// inference.GRPCInferenceService: KServe v2, and what stock Triton clients need of Triton's
// superset. Translates between the protocol and the engine, and computes nothing.
#ifndef PIXEMBED_SERVER_INFERENCE_SERVICE_H_
#define PIXEMBED_SERVER_INFERENCE_SERVICE_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "inference/grpc_service.pb.h"
#include "server/call.h"
#include "server/inference_statistics.h"
#include "server/model_repository.h"
#include "src/engine/engine.h"

namespace pixembed {

// What it does per method: inference/grpc_service.proto. Outlives its calls.
class InferenceService {
 public:
  // `stream_window` and `draining`: as of EmbeddingService. `ready` says whether the server takes
  // work; thread-safe. The engine and the models outlive the service.
  InferenceService(Engine& engine, ModelRepository& models, const RequestLimits& limits,
                   std::size_t stream_window, std::stop_token draining,
                   std::function<bool()> ready);

  // One for each method of the service.
  std::vector<Method> Methods();

 private:
  // A brief method of one request and one response: `answer` makes an absl::StatusOr of this from
  // that.
  template <typename Request, typename Answer>
  Method Lookup(const char* name, Answer answer);
  // A method that loads or unloads: `Begin` is the repository's.
  template <typename Request, typename Response>
  Method Control(const char* name,
                 void (ModelRepository::*begin)(std::string, ModelRepository::Done));
  template <typename Request>
  absl::Status CheckControl(const Request& request) const;
  Task RepositoryIndex(Call& call);
  Task ModelInfer(Call& call);
  Task ModelStreamInfer(Call& call);

  absl::StatusOr<inference::ServerMetadataResponse> ServerMetadata(
      const inference::ServerMetadataRequest& request) const;
  absl::StatusOr<inference::ServerReadyResponse> ServerReady(
      const inference::ServerReadyRequest& request) const;
  absl::StatusOr<inference::ModelReadyResponse> ModelReady(
      const inference::ModelReadyRequest& request) const;
  absl::StatusOr<inference::ModelMetadataResponse> ModelMetadata(
      const inference::ModelMetadataRequest& request) const;
  absl::StatusOr<inference::ModelConfigResponse> ModelConfig(
      const inference::ModelConfigRequest& request) const;
  absl::StatusOr<inference::ModelStatisticsResponse> ModelStatistics(
      const inference::ModelStatisticsRequest& request) const;
  inference::RepositoryIndexResponse DescribeIndex(const inference::RepositoryIndexRequest& request,
                                                   std::vector<ModelRepository::Row> rows) const;

  Task Reply(Call& call, absl::Status status, const google::protobuf::Message& response);

  Engine& engine_;
  ModelRepository& models_;
  const RequestLimits limits_;
  const std::size_t stream_window_;
  const std::stop_token draining_;
  const std::function<bool()> ready_;
  InferenceStatistics statistics_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_INFERENCE_SERVICE_H_
