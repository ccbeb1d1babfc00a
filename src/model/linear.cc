#include "src/model/linear.h"

#include <ATen/Context.h>
#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Scalar.h>
#include <c10/core/ScalarType.h>
#include <c10/core/SymInt.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/image/image.h"
#include "src/model/activation.h"
#include "src/model/device_kernels.h"
#include "src/model/elementwise.h"
#include "src/model/float_kernel.h"
#include "src/model/integer_kernel.h"
#include "src/model/model.h"
#include "src/model/precision_plan.h"
#include "src/model/thread_team.h"
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

// With the bias, from a contiguous weight.
at::Tensor PackFloat(const FloatKernel& kernel, const at::Tensor& weight, const at::Tensor& bias) {
  const auto out = static_cast<std::size_t>(weight.size(0));
  const auto in = static_cast<std::size_t>(weight.size(1));
  at::Tensor packed =
      at::empty({static_cast<std::int64_t>(kernel.packed_floats(in, out))}, at::kFloat);
  kernel.pack(weight.const_data_ptr<float>(),
              bias.defined() ? bias.const_data_ptr<float>() : nullptr, in, out,
              packed.mutable_data_ptr<float>());
  return packed;
}

// How a product is cut for the threads: a part is some rows and some panels.
struct Cut {
  std::int64_t rows;    // of a part, but for the last ones
  std::int64_t panels;  // of a part, but for the last ones
};

std::int64_t CeilDivide(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// One part for each thread, as alike as blocks of `block` rows and panels allow. Where several are
// alike, the one that reads the weight least often.
Cut CutFor(std::int64_t threads, std::int64_t rows, std::int64_t block, std::int64_t panels) {
  const std::int64_t blocks = std::max<std::int64_t>(CeilDivide(rows, block), 1);
  Cut best = {blocks, panels};
  for (std::int64_t row_parts = 1; row_parts <= std::min(threads, blocks); ++row_parts) {
    const Cut cut = {CeilDivide(blocks, row_parts), CeilDivide(panels, threads / row_parts)};
    if (cut.rows * cut.panels < best.rows * best.panels) best = cut;
  }
  best.rows *= block;
  return best;
}

constexpr std::int64_t kMostRows = 272;  // that one call of an integer kernel multiplies

std::int64_t AlignedBytes(std::int64_t bytes) {
  constexpr std::int64_t kAlignment = 64;
  return CeilDivide(bytes, kAlignment) * kAlignment;
}

// Scratch of so many bytes for each thread: [threads, bytes or a few more], each row aligned.
at::Tensor ScratchFor(std::int64_t threads, std::int64_t bytes) {
  return at::empty({threads, AlignedBytes(bytes)}, at::kByte);
}

// [..., columns] of x's other dimensions.
at::Tensor EmptyLike(const at::Tensor& x, std::int64_t columns) {
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = columns;
  return at::empty(sizes, at::kFloat);
}

// Bytes, from a contiguous weight.
at::Tensor PackInteger(const IntegerKernel& kernel, const at::Tensor& weight) {
  const auto out = static_cast<std::size_t>(weight.size(0));
  const auto in = static_cast<std::size_t>(weight.size(1));
  at::Tensor packed =
      at::empty({static_cast<std::int64_t>(kernel.packed_bytes(in, out))}, at::kByte);
  kernel.pack(weight.const_data_ptr<float>(), in, out,
              static_cast<std::byte*>(packed.mutable_data_ptr()));
  return packed;
}

struct TwoBFloat16 {
  at::Tensor rounded;
  at::Tensor rest;  // what that leaves, rounded
};

TwoBFloat16 SplitInTwo(const at::Tensor& x) {
  const at::Tensor rounded = x.to(at::kBFloat16);
  return {rounded, at::sub(x, rounded).to(at::kBFloat16)};
}

// The three, one after the other, and zeros: [..., SplitWidth(the width of each)].
at::Tensor SplitRows(const at::Tensor& first, const at::Tensor& second, const at::Tensor& third) {
  const std::int64_t width = first.size(-1);
  at::Tensor rows = at::cat({first, second, third}, -1);
  const std::int64_t missing = SplitWidth(width) - 3 * width;
  return missing == 0 ? rows : at::constant_pad_nd(rows, {0, missing});
}

// As DeviceKernels::SplitPatches.
at::Tensor SplitOperand(const at::Tensor& x) {
  const auto [rounded, rest] = SplitInTwo(x);
  return SplitRows(rounded, rest, rounded);
}

// As PlaceLinear, in what the reader's plan says of `path`.
Linear PlacePlanned(const WeightReader& reader, const at::Tensor& weight, const at::Tensor& bias,
                    const std::string& path) {
  Linear linear = PlaceLinear(reader, weight, bias, reader.plan().At(path));
  SwitchedProducts* const switches = reader.switches();
  if (linear.defined() && switches != nullptr) {
    switches->push_back({path});
    linear.SwitchTo(PlaceLinear(reader, weight, bias, Precision::kInt8), &switches->back().int8);
  }
  return linear;
}

}  // namespace

bool HasPackedProducts() { return NativeFloatKernel() != nullptr || at::hasMKLDNN(); }

std::string FloatProducts() {
  if (NativeFloatKernel() != nullptr) return std::string(NativeFloatKernel()->instructions);
  return at::hasMKLDNN() ? "oneDNN" : "LibTorch";
}

std::string BFloat16Products() {
  if (AmxBFloat16Kernel() != nullptr) return std::string(AmxBFloat16Kernel()->instructions);
  return at::hasMKLDNN() ? "oneDNN" : "LibTorch";
}

Linear::Linear(at::Tensor weight, at::Tensor bias, Precision precision, BranchType branch,
               const DeviceKernels* kernels)
    : weight_(std::move(weight)), bias_(std::move(bias)), precision_(precision) {
  if (!weight_.defined()) return;
  out_ = weight_.size(0);
  in_ = weight_.size(1);
  if (precision == Precision::kInt16 || precision == Precision::kInt8) {
    integer_ = precision == Precision::kInt16 ? NativeInt16Kernel() : NativeInt8Kernel();
    weight_ = PackInteger(*integer_, weight_.contiguous());
    return;
  }
  if (weight_.is_cpu() && kernels == nullptr && branch == BranchType::kByDevice) {
    if (precision == Precision::kFloat32) float_ = NativeFloatKernel();
    if (precision == Precision::kBFloat16) float_ = AmxBFloat16Kernel();
  }
  if (float_ != nullptr) {
    weight_ = PackFloat(*float_, weight_.contiguous(), bias_);
    bias_ = at::Tensor();
    return;
  }
  if (precision == Precision::kBFloat16) {
    type_ = at::kBFloat16;
    kernels_ = kernels;
  }
  product_type_ = type_;
  if (kernels_ != nullptr || weight_.is_cuda() || branch == BranchType::kAsProducts) {
    within_ = type_;
  }
  weight_ = weight_.to(type_);
  if (bias_.defined()) bias_ = bias_.to(type_);
  if (kernels_ != nullptr) {
    // On large batches an H200 multiplies up to 1.2 times as fast so where there are more outputs
    // than inputs, and the other way round where there are less.
    if (out_ > in_) weight_ = weight_.t().contiguous().t();
    return;
  }
  if (weight_.is_cpu() && at::hasMKLDNN()) weight_ = Pack(weight_);
}

Linear Linear::Split(const at::Tensor& weight, at::Tensor bias, const DeviceKernels& kernels) {
  Linear linear;
  linear.out_ = weight.size(0);
  linear.in_ = weight.size(1);
  const auto [rounded, rest] = SplitInTwo(weight);
  linear.weight_ = SplitRows(rounded, rounded, rest);
  linear.bias_ = std::move(bias);
  linear.type_ = at::kBFloat16;
  linear.kernels_ = &kernels;
  return linear;
}

at::Tensor Linear::Forward(const at::Tensor& x, Activation f) const {
  if (IsAnother()) return other_->Forward(x, f);
  if (float_ != nullptr) {
    at::Tensor y = EmptyLike(x, out_);
    const bool fuses = FusesActivation(f);
    RunFloat(x, {.activation = fuses ? f : Activation::kNone, .out = y.mutable_data_ptr<float>()});
    if (!fuses) Activate(f, y);
    return y;
  }
  at::Tensor y;
  if (integer_ != nullptr) {
    y = ForwardInteger(x, /*gelu=*/false);
  } else {
    y = Product(x).to(at::kFloat);
  }
  Activate(f, y);
  return y;
}

at::Tensor Linear::Product(const at::Tensor& x, bool gelu) const {
  if (kernels_ != nullptr) {
    const bool splits = weight_.size(1) != in_ && x.scalar_type() == at::kFloat;
    const at::Tensor operand = (splits ? SplitOperand(x) : x.to(type_)).contiguous();
    return kernels_->Multiply(
        {.x = operand, .weight = weight_, .bias = bias_, .gelu = gelu, .out = product_type_});
  }
  const at::Tensor operand = x.to(type_);
  if (weight_.is_mkldnn()) return PackedProduct(operand.contiguous(), weight_, bias_);
  return at::linear(operand, weight_, bias_.defined() ? std::optional(bias_) : std::nullopt);
}

at::Tensor Linear::ForwardWithin(const at::Tensor& x, Activation f) const {
  if (IsAnother() || within_ == at::kFloat) return Forward(x, f);
  if (kernels_ != nullptr && (f == Activation::kGelu || f == Activation::kGeluTanh)) {
    return Product(x, /*gelu=*/true);
  }
  at::Tensor y = Product(x);
  Activate(f, y);
  return y;
}

void Linear::AddTo(const at::Tensor& x, const at::Tensor& scale, at::Tensor& sum) const {
  if (IsAnother() || float_ == nullptr || !sum.is_contiguous()) {
    AddScaled(sum, Forward(x), scale);
    return;
  }
  RunFloat(x, {.add = true,
               .scale = scale.defined() ? scale.const_data_ptr<float>() : nullptr,
               .out = sum.mutable_data_ptr<float>()});
}

void Linear::RunFloat(const at::Tensor& x, FloatProduct product) const {
  const at::Tensor operand = x.contiguous();
  const std::int64_t rows = operand.numel() / in_;
  const auto panel_columns = static_cast<std::int64_t>(float_->columns);
  const std::int64_t panels = CeilDivide(out_, panel_columns);
  const std::int64_t threads = TeamThreads();
  const Cut cut = CutFor(threads, rows, static_cast<std::int64_t>(float_->rows), panels);

  product.x = operand.const_data_ptr<float>();
  product.x_stride = in_;
  product.rows = static_cast<std::size_t>(std::min(cut.rows, rows));
  product.depth = static_cast<std::size_t>(in_);
  product.columns = static_cast<std::size_t>(out_);
  product.packed = weight_.const_data_ptr<float>();
  product.last_panel = static_cast<std::size_t>(cut.panels);
  product.out_stride = out_;
  const at::Tensor scratch = ScratchFor(
      threads, static_cast<std::int64_t>(float_->scratch_floats(product) * sizeof(float)));
  auto* const first_scratch = static_cast<std::byte*>(scratch.mutable_data_ptr());
  const std::int64_t panel_parts = CeilDivide(panels, cut.panels);
  InParallel(CeilDivide(rows, cut.rows) * panel_parts, [&](std::int64_t part, int thread) {
    const std::int64_t row = part / panel_parts * cut.rows;
    const std::int64_t panel = part % panel_parts * cut.panels;
    FloatProduct own = product;
    own.x += row * in_;
    own.rows = static_cast<std::size_t>(std::min(cut.rows, rows - row));
    own.first_panel = static_cast<std::size_t>(panel);
    own.last_panel = static_cast<std::size_t>(std::min(panel + cut.panels, panels));
    own.out += row * out_;
    float_->run(own, reinterpret_cast<float*>(first_scratch + thread * scratch.size(1)));
  });
}

at::Tensor Linear::ForwardInteger(const at::Tensor& x, bool gelu) const {
  const at::Tensor operand = x.contiguous();
  const std::int64_t rows = operand.numel() / in_;
  at::Tensor out = EmptyLike(operand, out_);
  if (rows == 0) return out;
  // As many rows for each thread, whose bytes stay in the second cache while the weight passes.
  const std::int64_t threads = TeamThreads();
  const std::int64_t parts = threads * CeilDivide(rows, threads * kMostRows);
  const std::int64_t part_rows = CeilDivide(rows, parts);
  const at::Tensor scratch =
      ScratchFor(threads, static_cast<std::int64_t>(integer_->scratch_bytes(
                              static_cast<std::size_t>(part_rows), static_cast<std::size_t>(in_))));
  auto* const first_scratch = static_cast<std::byte*>(scratch.mutable_data_ptr());
  const auto* const first = operand.const_data_ptr<float>();
  auto* const first_out = out.mutable_data_ptr<float>();
  InParallel(CeilDivide(rows, part_rows), [&](std::int64_t part, int thread) {
    const std::int64_t row = part * part_rows;
    integer_->run({.x = first + row * in_,
                   .x_stride = in_,
                   .rows = static_cast<std::size_t>(std::min(part_rows, rows - row)),
                   .depth = static_cast<std::size_t>(in_),
                   .columns = static_cast<std::size_t>(out_),
                   .weight = static_cast<const std::byte*>(weight_.const_data_ptr()),
                   .bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr,
                   .gelu = gelu,
                   .out = first_out + row * out_,
                   .out_stride = out_},
                  first_scratch + thread * scratch.size(1));
  });
  return out;
}

void Linear::SwitchTo(Linear other, const bool* uses_other) {
  other_ = std::make_shared<const Linear>(std::move(other));
  uses_other_ = uses_other;
}

Linear PlaceLinear(const WeightReader& reader, const at::Tensor& weight, const at::Tensor& bias,
                   Precision precision) {
  if (!reader.ok()) return {};
  // Packing copies.
  const bool packs = reader.device().is_cpu() && HasPackedProducts();
  return Linear(packs ? weight : reader.Place(weight),
                bias.defined() ? reader.Place(bias) : at::Tensor(), precision,
                BranchType::kByDevice, reader.kernels());
}

Linear PlaceProjection(const WeightReader& reader, const at::Tensor& weight,
                       const at::Tensor& bias) {
  if (!reader.ok()) return {};
  if (reader.kernels() == nullptr) return PlaceLinear(reader, weight, bias, Precision::kFloat32);
  return Linear::Split(reader.Place(weight), bias.defined() ? reader.Place(bias) : at::Tensor(),
                       *reader.kernels());
}

Linear ReadLinear(const WeightScope& scope, std::int64_t in, std::int64_t out, bool bias) {
  const at::Tensor weight = scope.GetOnCpu("weight", {out, in});
  return PlacePlanned(scope.reader(), weight, bias ? scope.GetOnCpu("bias", {out}) : at::Tensor(),
                      scope.path());
}

Linear ReadLinears(const WeightScope& scope, std::initializer_list<LinearPart> parts,
                   std::int64_t in, std::int64_t out) {
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> biases;
  bool any_bias = false;
  std::string names;
  for (const LinearPart& part : parts) {
    const WeightScope linear = scope.At(part.name);
    weights.push_back(linear.GetOnCpu("weight", {out, in}));
    biases.push_back(part.bias ? linear.GetOnCpu("bias", {out}) : at::zeros({out}, at::kFloat));
    any_bias = any_bias || part.bias;
    absl::StrAppend(&names, names.empty() ? "" : "+", std::string(part.name));
  }
  const WeightReader& reader = scope.reader();
  if (!reader.ok()) return {};
  return PlacePlanned(reader, at::cat(weights), any_bias ? at::cat(biases) : at::Tensor(),
                      scope.At(names).path());
}

Linear ReadPatchProjection(const WeightScope& scope, std::int64_t width, Size patch, bool bias) {
  const at::Tensor weight = scope.GetOnCpu("weight", {width, 3, patch.height, patch.width});
  return PlaceProjection(scope.reader(), weight.defined() ? weight.view({width, -1}) : weight,
                         bias ? scope.GetOnCpu("bias", {width}) : at::Tensor());
}

}  // namespace pixembed
