// One ModelInferRequest, from its plan to its response.
#ifndef PIXEMBED_SERVER_INFERENCE_REQUEST_H_
#define PIXEMBED_SERVER_INFERENCE_REQUEST_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "api/served_model.h"
#include "inference/grpc_service.pb.h"
#include "server/call.h"
#include "server/inference_statistics.h"
#include "server/outbox.h"
#include "src/engine/engine.h"

namespace pixembed {

// The one version that every model has.
inline constexpr char kModelVersion[] = "1";

// As ServedModels::Find, of a version; empty is the one there is. Errors: UNKNOWN_MODEL.
absl::StatusOr<std::shared_ptr<const ServedModel>> FindVersion(const ServedModels& models,
                                                               const std::string& name,
                                                               const std::string& version);

// Begins as a plan or a failure; the caller hands its items to the engine, and back what arrives of
// them; when it is complete, it gives its response, once. On one thread.
class InferRequest {
 public:
  // Plans what `request` asks for. `limits` and `statistics` outlive it.
  InferRequest(const ServedModels& models, const RequestLimits& limits,
               InferenceStatistics& statistics,
               std::shared_ptr<const inference::ModelInferRequest> request);

  // Not ok: why it fails as a whole: UNKNOWN_MODEL; MALFORMED_REQUEST (tensors that are not what
  // inference_tensors.h says, raw contents that are not their shape); INVALID_OPTION (parameters,
  // names of outputs) and FINGERPRINT_MISMATCH; EMPTY_REQUEST; TOO_MANY_IMAGES.
  const absl::Status& status() const { return status_; }
  // It fails with this instead of what it was; OK changes nothing.
  void Fail(absl::Status failure);

  const std::string& id() const { return request_->id(); }

  // REQUIRES, both: status() is ok.
  // Once: the model that the items are for, to be let go of when they are submitted.
  std::shared_ptr<const ServedModel> TakeModel() { return std::move(plan_->model); }
  std::size_t images() const { return images_.size(); }

  // An item for each image; their results go to `outbox`, with indices from `first_index`. They
  // share the request's bytes.
  std::vector<Item> MakeItems(const Call& call, const std::shared_ptr<Outbox>& outbox,
                              std::uint64_t first_index) const;

  // The outcome of one image.
  void Put(std::size_t image, absl::StatusOr<Outcome> outcome);

  // Whether nothing more will come.
  bool complete() const { return !status_.ok() || arrived_ == images_.size(); }

  // The response, or why there is none: the failure, or the error of the first image that has one,
  // unless the request named the output "status". Counts the request. REQUIRES: complete().
  absl::StatusOr<inference::ModelInferResponse> Finish();

 private:
  absl::Status Plan(const ServedModels& models, const RequestLimits& limits);
  absl::Status ReadImages(const RequestLimits& limits);
  absl::Status ReadOutputs();
  bool AsksFor(std::string_view tensor) const;
  absl::Status FirstError() const;
  inference::ModelInferResponse MakeResponse() const;
  void AddEmbeddings(inference::ModelInferResponse& response) const;
  void AddStatus(inference::ModelInferResponse& response) const;

  const std::shared_ptr<const inference::ModelInferRequest> request_;
  InferenceStatistics& statistics_;
  const TimePoint begun_;
  std::optional<std::string> counted_as_;  // the model that the request is counted for
  absl::Status status_;
  std::optional<EmbedPlan> plan_;
  TimePoint deadline_ = TimePoint::max();  // its own; the call has one, too
  std::vector<std::string_view> images_;   // views of *request_
  std::vector<std::string> outputs_;       // in the order of the response
  std::vector<absl::StatusOr<Outcome>> outcomes_;
  std::size_t arrived_ = 0;
  std::size_t last_ = 0;  // the last one that became a vector
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_INFERENCE_REQUEST_H_
