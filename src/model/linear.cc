#include "src/model/linear.h"

#include <ATen/Context.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Scalar.h>
#include <c10/core/ScalarType.h>
#include <c10/core/SymInt.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "src/image/image.h"
#include "src/model/model.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

// What the packing is chosen for; any number of rows can be multiplied. An image's tokens.
constexpr std::int64_t kTypicalRows = 256;

// Operators that LibTorch registers but declares in no header; its own compiler calls them.
// Source: torch 2.11.0 aten/src/ATen/native/mkldnn/RegisterMkldnnOpContextClass.cpp.
at::Tensor Pack(const at::Tensor& weight) {
  using Reorder = at::Tensor(const at::Tensor&, std::optional<c10::SymInt>);
  static const auto reorder = c10::Dispatcher::singleton()
                                  .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                                  .typed<Reorder>();
  return reorder.call(weight, c10::SymInt(kTypicalRows));
}

at::Tensor PackedProduct(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  using LinearPointwise = at::Tensor(
      const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::string_view,
      c10::List<std::optional<at::Scalar>>, std::optional<c10::string_view>);
  static const auto product = c10::Dispatcher::singleton()
                                  .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                                  .typed<LinearPointwise>();
  return product.call(x, weight, bias.defined() ? std::optional(bias) : std::nullopt,
                      /*attr=*/"none", c10::List<std::optional<at::Scalar>>(),
                      /*algorithm=*/std::nullopt);
}

}  // namespace

bool HasPackedProducts() { return at::hasMKLDNN(); }

Linear::Linear(at::Tensor weight, at::Tensor bias, Precision precision)
    : weight_(std::move(weight)), bias_(std::move(bias)) {
  if (!weight_.defined()) return;
  if (precision == Precision::kBFloat16) type_ = at::kBFloat16;
  weight_ = weight_.to(type_);
  if (bias_.defined()) bias_ = bias_.to(type_);
  if (weight_.is_cpu() && HasPackedProducts()) weight_ = Pack(weight_);
}

at::Tensor Linear::Forward(const at::Tensor& x) const {
  const at::Tensor operand = x.to(type_);
  const at::Tensor product =
      weight_.is_mkldnn()
          ? PackedProduct(operand.contiguous(), weight_, bias_)
          : at::linear(operand, weight_, bias_.defined() ? std::optional(bias_) : std::nullopt);
  return product.to(at::kFloat);
}

Linear PlaceLinear(const WeightReader& reader, const at::Tensor& weight, const at::Tensor& bias,
                   Precision precision) {
  if (!reader.ok()) return {};
  // Packing copies.
  const bool packs = reader.device().is_cpu() && HasPackedProducts();
  return Linear(packs ? weight : reader.Place(weight),
                bias.defined() ? reader.Place(bias) : at::Tensor(), precision);
}

Linear ReadLinear(const WeightScope& scope, std::int64_t in, std::int64_t out, bool bias) {
  const at::Tensor weight = scope.GetOnCpu("weight", {out, in});
  return PlaceLinear(scope.reader(), weight, bias ? scope.GetOnCpu("bias", {out}) : at::Tensor(),
                     scope.reader().precision());
}

Linear ReadLinears(const WeightScope& scope, std::initializer_list<LinearPart> parts,
                   std::int64_t in, std::int64_t out) {
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> biases;
  bool any_bias = false;
  for (const LinearPart& part : parts) {
    const WeightScope linear = scope.At(part.name);
    weights.push_back(linear.GetOnCpu("weight", {out, in}));
    biases.push_back(part.bias ? linear.GetOnCpu("bias", {out}) : at::zeros({out}, at::kFloat));
    any_bias = any_bias || part.bias;
  }
  const WeightReader& reader = scope.reader();
  if (!reader.ok()) return {};
  return PlaceLinear(reader, at::cat(weights), any_bias ? at::cat(biases) : at::Tensor(),
                     reader.precision());
}

Linear ReadPatchProjection(const WeightScope& scope, std::int64_t width, Size patch, bool bias) {
  const at::Tensor weight = scope.GetOnCpu("weight", {width, 3, patch.height, patch.width});
  return PlaceLinear(scope.reader(), weight.defined() ? weight.view({width, -1}) : weight,
                     bias ? scope.GetOnCpu("bias", {width}) : at::Tensor(), Precision::kFloat32);
}

}  // namespace pixembed
