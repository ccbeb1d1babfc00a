#include "api/embed_options.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/served_model.h"
#include "api/status.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/util/time_util.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

static_assert(std::endian::native == std::endian::little, "vectors are copied as they lie");

absl::Status UnknownValue(const char* field, int value, std::string_view known) {
  return WithMetadata(
      MakeError(Reason::kInvalidOption,
                absl::StrCat("options.", field, " is ", value, ", which does not exist; known are ",
                             std::string(known))),
      "field", absl::StrCat("options.", field));
}

absl::StatusOr<Pooling> ReadPooling(v1::Pooling pooling) {
  switch (pooling) {
    case v1::POOLING_UNSPECIFIED:
    case v1::POOLING_MEAN:
      return Pooling::kMean;
    case v1::POOLING_CLS:
      return Pooling::kCls;
    case v1::POOLING_MAX:
      return Pooling::kMax;
    case v1::POOLING_MASKED_MEAN:
      return Pooling::kMaskedMean;
    default:
      return UnknownValue("pooling", pooling, "MEAN (1), CLS (2), MAX (3), MASKED_MEAN (4)");
  }
}

absl::StatusOr<DataType> ReadDataType(v1::DataType type) {
  switch (type) {
    case v1::DATA_TYPE_UNSPECIFIED:
    case v1::DATA_TYPE_FLOAT32:
      return DataType::kFloat32;
    case v1::DATA_TYPE_FLOAT16:
      return DataType::kFloat16;
    case v1::DATA_TYPE_BFLOAT16:
      return DataType::kBFloat16;
    case v1::DATA_TYPE_INT8:
      return DataType::kInt8;
    case v1::DATA_TYPE_BINARY:
      return DataType::kBinary;
    default:
      return UnknownValue("data_type", type,
                          "FLOAT32 (1), FLOAT16 (2), BFLOAT16 (3), INT8 (4), BINARY (5)");
  }
}

v1::DataType WriteDataType(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return v1::DATA_TYPE_FLOAT32;
    case DataType::kFloat16:
      return v1::DATA_TYPE_FLOAT16;
    case DataType::kBFloat16:
      return v1::DATA_TYPE_BFLOAT16;
    case DataType::kInt8:
      return v1::DATA_TYPE_INT8;
    case DataType::kBinary:
      return v1::DATA_TYPE_BINARY;
  }
  return v1::DATA_TYPE_UNSPECIFIED;
}

absl::StatusOr<Lane> ReadLane(v1::Lane lane, Lane default_lane) {
  switch (lane) {
    case v1::LANE_UNSPECIFIED:
      return default_lane;
    case v1::LANE_ONLINE:
      return Lane::kOnline;
    case v1::LANE_BULK:
      return Lane::kBulk;
    default:
      return UnknownValue("lane", lane, "ONLINE (1), BULK (2)");
  }
}

// Indices from the end become indices from the beginning; ascending.
// Errors: INVALID_OPTION, for one out of range or named twice.
absl::StatusOr<std::vector<int>> ReadLayers(const v1::EmbedOptions& options,
                                            const ModelInfo& model) {
  const int count = model.hidden_states;
  std::vector<int> layers;
  for (const std::int32_t index : options.layers()) {
    if (count == 0) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat("options.layers has ", index,
                                    "; this model gives its last_hidden_state only"));
    }
    if (index < -count || index >= count) {
      return MakeError(
          Reason::kInvalidOption,
          absl::StrCat("options.layers has ", index, "; the model has ", count,
                       " hidden states: ", -count, " to ", count - 1, " are possible"));
    }
    layers.push_back(index < 0 ? index + count : index);
  }
  std::ranges::sort(layers);
  if (const auto twice = std::ranges::adjacent_find(layers); twice != layers.end()) {
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("options.layers names hidden state ", *twice, " twice"));
  }
  return layers;
}

absl::StatusOr<OutputSpec> ReadOutput(const v1::EmbedOptions& options, const ModelInfo& model) {
  const absl::StatusOr<Pooling> pooling = ReadPooling(options.pooling());
  if (!pooling.ok()) return pooling.status();
  absl::StatusOr<std::vector<int>> layers = ReadLayers(options, model);
  if (!layers.ok()) return layers.status();
  const absl::StatusOr<DataType> data_type = ReadDataType(options.data_type());
  if (!data_type.ok()) return data_type.status();
  constexpr std::uint32_t kMaxDimensions = std::numeric_limits<int>::max();
  if (options.dimensions() > kMaxDimensions) {
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("options.dimensions is ", options.dimensions(), "; at most ",
                                  kMaxDimensions, " can be asked for"));
  }
  return OutputSpec{.pooling = *pooling,
                    .layers = *std::move(layers),
                    .normalize = options.normalize(),
                    .dimensions = static_cast<int>(options.dimensions()),
                    .data_type = *data_type};
}

absl::StatusOr<bool> ReadExifOrientation(v1::ExifOrientation orientation) {
  switch (orientation) {
    case v1::EXIF_ORIENTATION_UNSPECIFIED:
    case v1::EXIF_ORIENTATION_IGNORE:
      return false;
    case v1::EXIF_ORIENTATION_APPLY:
      return true;
    default:
      return UnknownValue("exif_orientation", orientation, "IGNORE (1), APPLY (2)");
  }
}

absl::StatusOr<Color> ReadColor(const char* field, const v1::Color& color) {
  constexpr std::uint32_t kMax = std::numeric_limits<std::uint8_t>::max();
  if (std::max({color.red(), color.green(), color.blue()}) > kMax) {
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("options.", field, " is (", color.red(), ", ", color.green(),
                                  ", ", color.blue(), "); 0 to ", kMax, " are possible"));
  }
  return Color{static_cast<std::uint8_t>(color.red()), static_cast<std::uint8_t>(color.green()),
               static_cast<std::uint8_t>(color.blue())};
}

absl::StatusOr<DecodePolicy> ReadPolicy(const v1::EmbedOptions& options) {
  DecodePolicy policy;
  const absl::StatusOr<bool> apply = ReadExifOrientation(options.exif_orientation());
  if (!apply.ok()) return apply.status();
  policy.apply_exif_orientation = *apply;
  if (options.has_background()) {
    const absl::StatusOr<Color> background = ReadColor("background", options.background());
    if (!background.ok()) return background.status();
    policy.background = *background;
  }
  return policy;
}

absl::Status CheckFingerprint(const std::string& expected, const EmbedPlan& plan) {
  const std::string& actual = plan.fingerprint;
  if (expected.empty() || expected == actual) return absl::OkStatus();
  absl::Status status =
      MakeError(Reason::kFingerprintMismatch,
                absl::StrCat("model \"", plan.description->name(), "\" has fingerprint ", actual,
                             " for these options; options.expected_fingerprint is ", expected));
  status = WithMetadata(std::move(status), "expected", expected);
  return WithMetadata(std::move(status), "actual", actual);
}

google::protobuf::Duration ToDuration(std::chrono::nanoseconds duration) {
  return google::protobuf::util::TimeUtil::NanosecondsToDuration(duration.count());
}

void SetEmbedding(const Embedding& embedding, bool packed, v1::Embedding& result) {
  result.set_data_type(WriteDataType(embedding.data_type));
  result.set_dimensions(static_cast<std::uint32_t>(embedding.dimensions));
  if (embedding.data_type == DataType::kInt8) result.set_scale(embedding.scale);
  if (packed || embedding.data_type != DataType::kFloat32) {
    result.set_data(embedding.values);
    return;
  }
  auto& values = *result.mutable_values();
  values.Resize(static_cast<int>(embedding.values.size() / sizeof(float)), 0.0F);
  std::memcpy(values.mutable_data(), embedding.values.data(), values.size() * sizeof(float));
}

}  // namespace

absl::StatusOr<EmbedPlan> MakePlan(const ServedModels& models, const std::string& model,
                                   const v1::EmbedOptions& options, Lane default_lane) {
  const absl::StatusOr<std::shared_ptr<const ServedModel>> served = models.Find(model);
  if (!served.ok()) return served.status();
  const absl::StatusOr<OutputSpec> output = ReadOutput(options, (*served)->model().info());
  if (!output.ok()) return output.status();
  const absl::StatusOr<DecodePolicy> policy = ReadPolicy(options);
  if (!policy.ok()) return policy.status();
  const absl::StatusOr<Lane> lane = ReadLane(options.lane(), default_lane);
  if (!lane.ok()) return lane.status();
  if (absl::Status status = (*served)->model().CheckOutput(*output); !status.ok()) return status;
  EmbedPlan plan{.model = *served,
                 .description = (*served)->description(),
                 .policy = *policy,
                 .output = *output,
                 .lane = *lane,
                 .packed = options.packed(),
                 .ordered = options.ordered(),
                 .fingerprint = (*served)->Fingerprint({output->pooling, output->layers, *policy})};
  if (absl::Status status = CheckFingerprint(options.expected_fingerprint(), plan); !status.ok()) {
    return status;
  }
  return plan;
}

absl::Status SubmitPlan(Engine& engine, EmbedPlan& plan, std::vector<Item> items) {
  const std::shared_ptr<const ServedModel> model = std::move(plan.model);
  return engine.Submit(model->index(), std::move(items));
}

absl::Status CheckImageCount(std::size_t images, const RequestLimits& limits,
                             std::string_view more) {
  if (images == 0) return MakeError(Reason::kEmptyRequest, "the request holds no images");
  if (images <= limits.max_request_images) return absl::OkStatus();
  return MakeError(
      Reason::kTooManyImages,
      absl::StrCat("the request holds ", images, " images, more than the ",
                   limits.max_request_images, " of --max_request_images; ", std::string(more)));
}

void SetOutcome(const absl::StatusOr<Outcome>& outcome, const EmbedPlan& plan,
                std::chrono::milliseconds retry_delay, v1::EmbedResult& result) {
  if (!outcome.ok()) {
    *result.mutable_error() = ToRpcStatus(outcome.status(), retry_delay);
    return;
  }
  SetEmbedding(outcome->embedding, plan.packed, *result.mutable_embedding());
  SetTimings(outcome->timings, *result.mutable_timings());
}

void SetTimings(const Timings& timings, v1::Timings& times) {
  *times.mutable_decode() = ToDuration(timings.decode);
  *times.mutable_queue() = ToDuration(timings.queue);
  *times.mutable_compute() = ToDuration(timings.compute);
  times.set_batch_size(static_cast<std::uint32_t>(timings.batch_size));
}

}  // namespace pixembed
