// Matrix products with weights. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_LINEAR_H_
#define PIXEMBED_SRC_MODEL_LINEAR_H_

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

#include "src/image/image.h"
#include "src/model/activation.h"
#include "src/model/device_kernels.h"
#include "src/model/float_kernel.h"
#include "src/model/integer_kernel.h"
#include "src/model/model.h"
#include "src/model/weights.h"

namespace pixembed {

// What the numbers inside a branch of a block are kept in, from its first product to its last:
// queries, keys and values, what attention mixes, the hidden layer of an MLP. The residual stream,
// norms and pooling are float32 always.
enum class BranchType {
  // bfloat16 on a CUDA device where the products are: attention there is faster by far, and half of
  // the bytes are moved. float32 elsewhere: a CPU gains nothing by rounding.
  kByDevice,
  kAsProducts,  // bfloat16 where the products are, on any device; for tests
};

// y = x W^T + b. Immutable, thread-safe.
//
// On a CPU the weight is packed once. float32, int16 and int8 are products of our own
// (float_kernel.h, integer_kernel.h): a row's result depends on neither the other rows nor the
// number of threads, to the bit. LibTorch's own product is MKL's, which takes the AVX2 path on
// every CPU that is not Intel's: with AVX-512 it does less than half of what the machine can, see
// tests/bench/README.md. So is bfloat16 where the CPU has AMX, with sums and results in float32;
// elsewhere it is oneDNN's, whose results are rounded.
class Linear {
 public:
  Linear() = default;  // undefined
  // `weight`: [out, in]; undefined: so is the Linear. `bias`: [out]; undefined: none. Both float32,
  // on one device. The weight is copied on a CPU or in another precision, else shared. REQUIRES:
  // CheckNative(precision, device).ok(). `kernels`: null, or what multiplies bfloat16 there.
  explicit Linear(at::Tensor weight, at::Tensor bias = {},
                  Precision precision = Precision::kFloat32,
                  BranchType branch = BranchType::kByDevice,
                  const DeviceKernels* kernels = nullptr);

  // As a Linear in float32, by products of bfloat16: with operands and weights split in two numbers
  // each, of whose four products the smallest is left out, within 2e-5 of what the sums consist of.
  // Takes float32, or what DeviceKernels::SplitPatches gives.
  static Linear Split(const at::Tensor& weight, at::Tensor bias, const DeviceKernels& kernels);

  bool defined() const { return weight_.defined(); }

  // What multiplies, where ForwardWithin takes and gives bfloat16 by it, or Split was given it;
  // null: another.
  const DeviceKernels* kernels() const { return kernels_; }

  // Whether it multiplies bfloat16.
  bool rounds_to_bfloat16() const {
    return IsAnother() ? other_->rounds_to_bfloat16() : precision_ == Precision::kBFloat16;
  }

  // f(y): [..., in], float32 or what ForwardWithin gave -> [..., out] float32. REQUIRES: defined().
  at::Tensor Forward(const at::Tensor& x, Activation f = Activation::kNone) const;

  // The same, in the type of what lies inside a branch: see BranchType.
  at::Tensor ForwardWithin(const at::Tensor& x, Activation f = Activation::kNone) const;

  // sum += scale * y. `x`: as Forward. `scale`: [out], or undefined: 1. `sum`: [..., out] float32,
  // not x.
  void AddTo(const at::Tensor& x, const at::Tensor& scale, at::Tensor& sum) const;

  // Whether ForwardGelu is there: it saves a pass over x.
  bool fuses_gelu() const { return integer_ != nullptr; }
  // Forward(exact GELU of x), within 1e-6 of it. REQUIRES: fuses_gelu().
  at::Tensor ForwardGelu(const at::Tensor& x) const { return ForwardInteger(x, /*gelu=*/true); }

  // From now on Forward is that of `other` while `*uses_other` is true, which outlives this.
  void SwitchTo(Linear other, const bool* uses_other);

 private:
  bool IsAnother() const { return uses_other_ != nullptr && *uses_other_; }
  // x W^T + b by LibTorch, oneDNN or a device's kernels, in product_type_.
  at::Tensor Product(const at::Tensor& x, bool gelu = false) const;
  at::Tensor ForwardInteger(const at::Tensor& x, bool gelu) const;
  // Whose `out` is set, and what is done with the sums.
  void RunFloat(const at::Tensor& x, FloatProduct product) const;

  // [out, in], packed by oneDNN where is_mkldnn(); what the pack of a kernel gave where there is
  // one, of a FloatKernel with the bias; of Split [out, SplitWidth(in)].
  at::Tensor weight_;
  at::Tensor bias_;  // in product_type_
  Precision precision_ = Precision::kFloat32;
  at::ScalarType type_ = at::kFloat;          // of the weight, and of what it is multiplied with
  at::ScalarType product_type_ = at::kFloat;  // what Product gives
  at::ScalarType within_ = at::kFloat;        // what ForwardWithin gives
  const IntegerKernel* integer_ = nullptr;    // null: another type
  const FloatKernel* float_ = nullptr;        // null: another type, device or CPU
  const DeviceKernels* kernels_ = nullptr;    // null: another type, or LibTorch
  std::int64_t in_ = 0;
  std::int64_t out_ = 0;
  std::shared_ptr<const Linear> other_;
  const bool* uses_other_ = nullptr;  // null: never
};

// Whether a CPU packs weights at all.
bool HasPackedProducts();

// What multiplies float32 on a CPU, for the log: "AVX-512".
std::string FloatProducts();
// What multiplies bfloat16 there: "AMX".
std::string BFloat16Products();

// The Linear of tensors on the CPU, which may lie in the file's mapping, on the reader's device.
// Undefined after an error of the reader.
Linear PlaceLinear(const WeightReader& reader, const at::Tensor& weight, const at::Tensor& bias,
                   Precision precision);

// The same for what is computed in float32 whatever the plan: split where the reader has kernels.
Linear PlaceProjection(const WeightReader& reader, const at::Tensor& weight,
                       const at::Tensor& bias);

// Reads scope.weight and, where `bias` is true, scope.bias. Computes in what the reader's plan
// says.
Linear ReadLinear(const WeightScope& scope, std::int64_t in, std::int64_t out, bool bias = true);

// One of several Linears of the same shape that are applied together.
struct LinearPart {
  std::string_view name;
  bool bias = true;
};

// Reads scope.NAME.weight and scope.NAME.bias of each part, one below the other: what comes out is
// [..., parts.size() * out]. A part without a bias gets zeros where another has one. Computes in
// what the reader's plan says of scope.NAME+NAME+NAME.
Linear ReadLinears(const WeightScope& scope, std::initializer_list<LinearPart> parts,
                   std::int64_t in, std::int64_t out);

// A convolution whose stride is its kernel, as a Linear over flattened patches: its weight
// [width, 3, patch, patch] is viewed as [width, 3 * patch * patch]. As PlaceProjection.
Linear ReadPatchProjection(const WeightScope& scope, std::int64_t width, Size patch, bool bias);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_LINEAR_H_
