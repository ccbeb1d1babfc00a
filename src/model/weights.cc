#include "src/model/weights.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/model/device_kernels.h"
#include "src/model/precision_plan.h"

namespace pixembed {
namespace {

constexpr char kOfOneModel[] = "; the two must be of one model";

absl::string_view Text(std::string_view text) { return {text.data(), text.size()}; }

std::optional<at::ScalarType> FloatType(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return at::kFloat;
    case TensorType::kF16:
      return at::kHalf;
    case TensorType::kBF16:
      return at::kBFloat16;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::string ShapeText(std::span<const std::int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

WeightReader::WeightReader(Weights weights, c10::Device device, PrecisionPlan plan,
                           SwitchedProducts* switches, const DeviceKernels* kernels)
    : weights_(std::move(weights)),
      device_(device),
      plan_(std::move(plan)),
      switches_(switches),
      kernels_(kernels) {}

WeightScope WeightReader::Root(std::span<const std::string_view> prefixes, std::string_view probe) {
  const auto* const found = std::find_if(
      prefixes.data(), prefixes.data() + prefixes.size(), [&](std::string_view prefix) {
        return weights_.Find(absl::StrCat(Text(prefix), Text(probe))) != nullptr;
      });
  const bool none = found == prefixes.data() + prefixes.size();
  return {this, std::string(none ? prefixes.front() : *found), ""};
}

void WeightReader::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

const Tensor* WeightReader::Find(std::string_view key, std::string_view path,
                                 std::span<const std::int64_t> shape) {
  if (!ok()) return nullptr;
  const Tensor* tensor = weights_.Find(key);
  if (tensor == nullptr) {
    Fail(MakeError(Reason::kTensorMissing,
                   absl::StrCat(weights_.origin(), " lacks the tensor ", Text(key), " of shape ",
                                ShapeText(shape), ", which config.json asks for", kOfOneModel)));
    return nullptr;
  }
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    Fail(MakeError(Reason::kTensorShape,
                   absl::StrCat(weights_.origin(), ": the tensor ", Text(key), " has shape ",
                                ShapeText(tensor->shape), ", config.json asks for ",
                                ShapeText(shape), kOfOneModel)));
    return nullptr;
  }
  if (!FloatType(tensor->type).has_value()) {
    Fail(MakeError(
        Reason::kUnsupportedModel,
        absl::StrCat(weights_.origin(), ": the tensor ", Text(key), " has type ",
                     Text(TensorTypeName(tensor->type)), "; F32, F16 and BF16 are implemented")));
    return nullptr;
  }
  used_.emplace(path, tensor);
  return tensor;
}

at::Tensor WeightReader::OnCpu(const Tensor& tensor) const {
  const at::ScalarType type = *FloatType(tensor.type);
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.bytes.data());
  at::Tensor stored;
  if (address % TensorTypeSize(tensor.type) == 0) {
    // LibTorch has no tensors of constants; nobody writes to a weight, and the mapping is
    // read-only.
    stored = at::from_blob(
        const_cast<std::byte*>(tensor.bytes.data()), tensor.shape, [mapping = weights_](void*) {},
        at::TensorOptions().dtype(type));
  } else {
    stored = at::empty(tensor.shape, at::TensorOptions().dtype(type));
    std::memcpy(stored.mutable_data_ptr(), tensor.bytes.data(), tensor.bytes.size());
  }
  return stored.to(at::kFloat);
}

WeightScope WeightScope::At(std::string_view path) const {
  return {reader_, prefix_, absl::StrCat(path_, Text(path), ".")};
}

WeightScope WeightScope::At(std::string_view path, std::int64_t index) const {
  return At(absl::StrCat(Text(path), ".", index));
}

at::Tensor WeightReader::Place(const at::Tensor& tensor) const {
  return tensor.to(at::TensorOptions(device_), /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor WeightScope::GetOnCpu(std::string_view name,
                                 std::initializer_list<std::int64_t> shape) const {
  const std::string path = absl::StrCat(path_, Text(name));
  const Tensor* tensor =
      reader_->Find(absl::StrCat(prefix_, path), path, {shape.begin(), shape.size()});
  return tensor == nullptr ? at::Tensor() : reader_->OnCpu(*tensor);
}

at::Tensor WeightScope::Get(std::string_view name,
                            std::initializer_list<std::int64_t> shape) const {
  const at::Tensor tensor = GetOnCpu(name, shape);
  return tensor.defined() ? reader_->Place(tensor) : tensor;
}

}  // namespace pixembed
