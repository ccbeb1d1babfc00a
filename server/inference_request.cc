#include "server/inference_request.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "api/embed_options.h"
#include "api/status.h"
#include "inference/grpc_service.pb.h"
#include "server/inference_parameters.h"
#include "server/inference_tensors.h"
#include "server/outbox.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;
using InputTensor = ModelInferRequest::InferInputTensor;

absl::Status Malformed(const std::string& text) {
  return MakeError(Reason::kMalformedRequest, text);
}

// Parameters of tensors that only concern other transports. The rest (shared memory,
// classification) would ask for another answer than the one that is given.
absl::Status CheckTensorParameters(const std::string& tensor, const InferParameters& parameters) {
  for (const auto& [name, value] : parameters) {
    if (name == "binary_data" || name == "binary_data_size") continue;
    return MakeError(
        Reason::kInvalidOption,
        absl::StrCat("tensor \"", tensor, "\" has the parameter \"", name,
                     "\", which this server does not support: shared memory and classification "
                     "are not to be had"));
  }
  return absl::OkStatus();
}

// The number of images that the shape announces. It is not yet known to be possible.
absl::StatusOr<std::int64_t> ReadShape(const InputTensor& input) {
  const auto& shape = input.shape();
  const bool vector = shape.size() == 1;
  const bool column = shape.size() == 2 && shape[1] == 1;
  if ((vector || column) && shape[0] >= 0) return shape[0];
  return Malformed(absl::StrCat("input \"", input.name(), "\" has the shape [",
                                absl::StrJoin(shape, ", "), "]; wanted is [N] or [N, 1]"));
}

absl::StatusOr<std::vector<std::string_view>> ReadTypedContents(const InputTensor& input,
                                                                std::size_t count) {
  const auto& contents = input.contents().bytes_contents();
  if (static_cast<std::size_t>(contents.size()) != count) {
    return Malformed(absl::StrCat("input \"", input.name(), "\" has ", contents.size(),
                                  " elements in contents.bytes_contents; its shape has ", count));
  }
  return std::vector<std::string_view>(contents.begin(), contents.end());
}

absl::Status CheckInput(const ModelInferRequest& request) {
  if (request.inputs_size() != 1) {
    return Malformed(absl::StrCat("the request has ", request.inputs_size(),
                                  " inputs; the model has 1: \"", kImagesTensor, "\""));
  }
  const InputTensor& input = request.inputs(0);
  if (input.name() != kImagesTensor) {
    return Malformed(absl::StrCat("the model has no input \"", input.name(), "\"; it has \"",
                                  kImagesTensor, "\""));
  }
  if (input.datatype() != kBytesDatatype) {
    return Malformed(absl::StrCat("input \"", kImagesTensor, "\" has the datatype \"",
                                  input.datatype(), "\"; wanted is ", kBytesDatatype));
  }
  const int raw = request.raw_input_contents_size();
  if (raw > 0 && input.has_contents()) {
    return Malformed("the request has both contents and raw_input_contents; one is possible");
  }
  if (raw > 1) {
    return Malformed(absl::StrCat("the request has ", raw, " raw_input_contents for 1 input"));
  }
  return CheckTensorParameters(input.name(), input.parameters());
}

void SetParameter(ModelInferResponse& response, const char* name, const std::string& value) {
  (*response.mutable_parameters())[name].set_string_param(value);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ServedModel>> FindVersion(const ServedModels& models,
                                                               const std::string& name,
                                                               const std::string& version) {
  absl::StatusOr<std::shared_ptr<const ServedModel>> model = models.Find(name);
  if (!model.ok() || version.empty() || version == kModelVersion) return model;
  return WithMetadata(MakeError(Reason::kUnknownModel,
                                absl::StrCat("model \"", (*model)->name(), "\" has no version \"",
                                             version, "\"; it has \"", kModelVersion, "\"")),
                      "model", (*model)->name());
}

InferRequest::InferRequest(const ServedModels& models, const RequestLimits& limits,
                           InferenceStatistics& statistics,
                           std::shared_ptr<const ModelInferRequest> request)
    : request_(std::move(request)),
      statistics_(statistics),
      begun_(std::chrono::steady_clock::now()) {
  status_ = Plan(models, limits);
}

void InferRequest::Fail(absl::Status failure) { status_.Update(std::move(failure)); }

absl::Status InferRequest::Plan(const ServedModels& models, const RequestLimits& limits) {
  const absl::StatusOr<std::shared_ptr<const ServedModel>> model =
      FindVersion(models, request_->model_name(), request_->model_version());
  if (!model.ok()) return model.status();
  counted_as_ = (*model)->name();
  absl::StatusOr<InferOptions> options = ReadInferParameters(request_->parameters());
  if (!options.ok()) return options.status();
  absl::StatusOr<EmbedPlan> plan =
      MakePlan(models, request_->model_name(), options->embed, Lane::kOnline);
  if (!plan.ok()) return plan.status();
  if (options->timeout.has_value()) {
    // Years would overflow the steady clock's nanoseconds; they mean the same as a day.
    deadline_ =
        begun_ + std::min<std::chrono::microseconds>(*options->timeout, std::chrono::hours(24));
  }
  if (absl::Status status = ReadOutputs(); !status.ok()) return status;
  if (absl::Status status = ReadImages(limits); !status.ok()) return status;
  plan_ = *std::move(plan);
  outcomes_.resize(images_.size());
  return absl::OkStatus();
}

absl::Status InferRequest::ReadImages(const RequestLimits& limits) {
  if (absl::Status status = CheckInput(*request_); !status.ok()) return status;
  const InputTensor& input = request_->inputs(0);
  const absl::StatusOr<std::int64_t> shape = ReadShape(input);
  if (!shape.ok()) return shape.status();
  const auto count = static_cast<std::size_t>(*shape);
  constexpr std::string_view kMore = "send them in several requests";
  if (absl::Status status = CheckImageCount(count, limits, kMore); !status.ok()) return status;
  absl::StatusOr<std::vector<std::string_view>> images =
      request_->raw_input_contents_size() > 0
          ? SplitBytesTensor(request_->raw_input_contents(0), count)
          : ReadTypedContents(input, count);
  if (!images.ok()) return images.status();
  images_ = *std::move(images);
  return absl::OkStatus();
}

absl::Status InferRequest::ReadOutputs() {
  constexpr std::array kOutputs = {kEmbeddingsTensor, kStatusTensor};
  for (const auto& output : request_->outputs()) {
    if (std::ranges::find(kOutputs, output.name()) == kOutputs.end()) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat("the model has no output \"", output.name(),
                                    "\"; there are: ", absl::StrJoin(kOutputs, ", ")));
    }
    if (AsksFor(output.name())) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat("output \"", output.name(), "\" is asked for twice"));
    }
    if (absl::Status status = CheckTensorParameters(output.name(), output.parameters());
        !status.ok()) {
      return status;
    }
    outputs_.push_back(output.name());
  }
  if (outputs_.empty()) outputs_ = {kEmbeddingsTensor};
  return absl::OkStatus();
}

bool InferRequest::AsksFor(std::string_view tensor) const {
  return std::ranges::find(outputs_, tensor) != outputs_.end();
}

std::vector<Item> InferRequest::MakeItems(const Call& call, const std::shared_ptr<Outbox>& outbox,
                                          std::uint64_t first_index) const {
  const TimePoint deadline = std::min(call.deadline(), deadline_);
  std::vector<Item> items;
  items.reserve(images_.size());
  for (const std::string_view image : images_) {
    items.push_back(MakeItem(call, deadline,
                             {.bytes = std::as_bytes(std::span(image)), .owner = request_}, *plan_,
                             outbox, first_index + items.size(), /*id=*/""));
  }
  return items;
}

void InferRequest::Put(std::size_t image, absl::StatusOr<Outcome> outcome) {
  if (outcome.ok()) last_ = image;
  outcomes_.at(image) = std::move(outcome);
  ++arrived_;
}

absl::Status InferRequest::FirstError() const {
  for (std::size_t i = 0; i < outcomes_.size(); ++i) {
    if (outcomes_[i].ok()) continue;
    return Annotate(outcomes_[i].status(), absl::StrCat("image ", i, " of ", outcomes_.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelInferResponse> InferRequest::Finish() {
  if (status_.ok() && !AsksFor(kStatusTensor)) status_ = FirstError();
  const auto total = std::chrono::steady_clock::now() - begun_;
  if (!status_.ok()) {
    if (counted_as_.has_value()) statistics_.RecordFailure(*counted_as_, total);
    return status_;
  }
  std::vector<Timings> timings;
  for (const absl::StatusOr<Outcome>& outcome : outcomes_) {
    if (outcome.ok()) timings.push_back(outcome->timings);
  }
  const absl::StatusOr<Outcome>& last = outcomes_.at(last_);
  statistics_.RecordSuccess(*counted_as_, total, timings, last.ok() ? last->timings : Timings());
  return MakeResponse();
}

ModelInferResponse InferRequest::MakeResponse() const {
  ModelInferResponse response;
  response.set_model_name(plan_->description->name());
  response.set_model_version(kModelVersion);
  response.set_id(request_->id());
  SetParameter(response, "fingerprint", plan_->fingerprint);
  for (const std::string& output : outputs_) {
    output == kStatusTensor ? AddStatus(response) : AddEmbeddings(response);
  }
  return response;
}

void InferRequest::AddEmbeddings(ModelInferResponse& response) const {
  const TensorType& type = TensorTypeOf(plan_->output.data_type);
  const int dimensions = plan_->output.dimensions > 0
                             ? plan_->output.dimensions
                             : static_cast<int>(plan_->description->dimension());
  ModelInferResponse::InferOutputTensor& tensor = *response.add_outputs();
  tensor.set_name(kEmbeddingsTensor);
  tensor.set_datatype(type.datatype);
  tensor.add_shape(static_cast<std::int64_t>(outcomes_.size()));
  tensor.add_shape(dimensions);
  std::string& raw = *response.add_raw_output_contents();
  raw.reserve(outcomes_.size() * static_cast<std::size_t>(dimensions) * type.nan.size());
  for (const absl::StatusOr<Outcome>& outcome : outcomes_) {
    if (outcome.ok()) {
      raw += outcome->embedding.values;
    } else {
      for (int i = 0; i < dimensions; ++i) raw += type.nan;
    }
  }
}

void InferRequest::AddStatus(ModelInferResponse& response) const {
  ModelInferResponse::InferOutputTensor& tensor = *response.add_outputs();
  tensor.set_name(kStatusTensor);
  tensor.set_datatype(kBytesDatatype);
  tensor.add_shape(static_cast<std::int64_t>(outcomes_.size()));
  tensor.add_shape(1);
  std::string& raw = *response.add_raw_output_contents();
  for (const absl::StatusOr<Outcome>& outcome : outcomes_) {
    AppendBytesElement(StatusText(outcome.status()), raw);
  }
}

}  // namespace pixembed
