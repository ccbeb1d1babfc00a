#include "api/served_model.h"

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "api/status.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

struct PoolingRow {
  Pooling pooling;
  v1::Pooling api;
};
constexpr std::array kPoolings = {PoolingRow{Pooling::kMean, v1::POOLING_MEAN},
                                  PoolingRow{Pooling::kCls, v1::POOLING_CLS},
                                  PoolingRow{Pooling::kMax, v1::POOLING_MAX},
                                  PoolingRow{Pooling::kMaskedMean, v1::POOLING_MASKED_MEAN}};

std::string DescribeSize(Size size) { return absl::StrCat(size.height, "x", size.width); }

std::string DescribeResize(const std::optional<ResizeTarget>& resize) {
  if (!resize.has_value()) return "none";
  if (resize->exact.has_value()) return DescribeSize(*resize->exact);
  if (resize->cover.has_value()) return absl::StrCat("cover ", DescribeSize(*resize->cover));
  if (resize->fit.has_value()) return absl::StrCat("fit ", DescribeSize(*resize->fit));
  if (resize->patches.has_value()) {
    const int side = resize->patches->patch;
    return absl::StrCat("at most ", resize->patches->max_patches, " patches of ",
                        DescribeSize({side, side}));
  }
  std::string text = absl::StrCat("shortest_edge ", resize->shortest_edge);
  if (resize->longest_edge > 0) absl::StrAppend(&text, ", longest_edge ", resize->longest_edge);
  return text;
}

v1::Preprocessing DescribePreprocessing(const ModelInfo& info) {
  const PreprocessSpec& spec = info.preprocess;
  v1::Preprocessing result;
  result.set_processor_type(info.processor_type);
  result.set_backend(std::string(BackendName(spec.backend)));
  result.set_convert_rgb(spec.convert_rgb);
  result.set_resize(DescribeResize(spec.resize));
  result.set_filter(
      absl::StrCat(std::string(FilterName(spec.filter)), spec.rescale_first ? " in float32" : ""));
  result.set_crop(spec.crop.has_value() ? DescribeSize(*spec.crop) : "none");
  result.set_input_height(static_cast<std::uint32_t>(info.input.height));
  result.set_input_width(static_cast<std::uint32_t>(info.input.width));
  result.set_max_patches(static_cast<std::uint32_t>(info.max_patches));
  if (spec.normalize) {
    result.mutable_mean()->Add(spec.mean.begin(), spec.mean.end());
    result.mutable_std()->Add(spec.std.begin(), spec.std.end());
  }
  result.set_rescale_factor(spec.rescale ? spec.rescale_factor : 1.0);
  return result;
}

v1::Limits DescribeLimits(const DecodeLimits& image, const RequestLimits& request) {
  v1::Limits result;
  result.set_max_image_bytes(image.max_encoded_bytes);
  result.set_max_image_pixels(static_cast<std::uint64_t>(image.max_pixels));
  result.set_max_image_side(static_cast<std::uint32_t>(image.max_side));
  result.set_max_request_images(static_cast<std::uint32_t>(request.max_request_images));
  result.set_max_message_bytes(request.max_message_bytes);
  return result;
}

}  // namespace

ServedModel::ServedModel(std::string name, std::size_t index, std::shared_ptr<const Model> model,
                         const DecodeLimits& image_limits, const RequestLimits& request_limits)
    : index_(index), model_(std::move(model)) {
  const ModelInfo& info = model_->info();
  v1::Model description;
  description.set_name(std::move(name));
  description.set_model_type(info.model_type);
  description.set_dimension(static_cast<std::uint32_t>(info.dimension));
  description.set_tokens(static_cast<std::uint32_t>(info.tokens));
  for (const PoolingRow& row : kPoolings) {
    if (!model_->CheckOutput({.pooling = row.pooling}).ok()) continue;
    const std::string& fingerprint =
        fingerprints_.emplace(row.pooling, model_->Fingerprint({.pooling = row.pooling}))
            .first->second;
    description.add_poolings(row.api);
    (*description.mutable_fingerprints())[std::string(PoolingName(row.pooling))] = fingerprint;
  }
  *description.mutable_preprocessing() = DescribePreprocessing(info);
  *description.mutable_limits() = DescribeLimits(image_limits, request_limits);
  description.set_precision(std::string(PrecisionName(info.precision)));
  for (const Device& device : model_->devices()) description.add_devices(DeviceName(device));
  description.set_parameters(info.parameters);
  description.set_hidden_states(static_cast<std::uint32_t>(info.hidden_states));
  description_ = std::make_shared<const v1::Model>(std::move(description));
}

std::string ServedModel::Fingerprint(const VectorSpace& space) const {
  const bool listed = space.layers.empty() && space.policy == DecodePolicy{};
  return listed ? fingerprints_.at(space.pooling) : model_->Fingerprint(space);
}

absl::StatusOr<std::shared_ptr<const ServedModel>> ServedModels::Find(std::string_view name) const {
  const std::string wanted(name.empty() ? std::string_view(default_) : name);
  for (const std::shared_ptr<const ServedModel>& model : models_) {
    if (!wanted.empty() && model->name() == wanted) return model;
  }
  const auto absent = absent_.find(wanted);
  std::string text;
  if (wanted.empty()) {
    text = "the request names no model, and the server has no default model";
  } else if (absent != absent_.end()) {
    text = absl::StrCat(name.empty() ? "the default model \"" : "model \"", wanted,
                        "\" is not served: ", absent->second);
  } else {
    text = absl::StrCat("no model named ", Quoted(wanted), " is served");
  }
  const auto append_name = [](std::string* out, const auto& model) { *out += model->name(); };
  return WithMetadata(
      MakeError(
          Reason::kUnknownModel,
          models_.empty()
              ? absl::StrCat(text, "; there is none")
              : absl::StrCat(text, "; there are: ", absl::StrJoin(models_, ", ", append_name))),
      "model", wanted);
}

}  // namespace pixembed
