// Matrix products with weights. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_LINEAR_H_
#define PIXEMBED_SRC_MODEL_LINEAR_H_

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "src/image/image.h"
#include "src/model/model.h"
#include "src/model/weights.h"

namespace pixembed {

// y = x W^T + b. Immutable, thread-safe.
//
// On a CPU the weight is packed once, in the order in which oneDNN's product for this instruction
// set reads it. LibTorch's own product is MKL's, which takes the AVX2 path on every CPU that is not
// Intel's: with AVX-512 it does less than half of what the machine can, see tests/bench/README.md.
class Linear {
 public:
  Linear() = default;  // undefined
  // `weight`: [out, in]; undefined: so is the Linear. `bias`: [out]; undefined: none. Both float32,
  // on one device. The weight is copied on a CPU or in another precision, else shared. REQUIRES:
  // CheckNative(precision, device).ok().
  explicit Linear(at::Tensor weight, at::Tensor bias = {},
                  Precision precision = Precision::kFloat32);

  bool defined() const { return weight_.defined(); }

  // [..., in] -> [..., out], both float32. REQUIRES: defined().
  at::Tensor Forward(const at::Tensor& x) const;

 private:
  at::Tensor weight_;  // [out, in], packed on a CPU
  at::Tensor bias_;
  at::ScalarType type_ = at::kFloat;  // of both, and of what they are multiplied with
};

// Whether products on a CPU are oneDNN's.
bool HasPackedProducts();

// The Linear of tensors on the CPU, which may lie in the file's mapping, on the reader's device.
// Undefined after an error of the reader.
Linear PlaceLinear(const WeightReader& reader, const at::Tensor& weight, const at::Tensor& bias,
                   Precision precision);

// Reads scope.weight and, where `bias` is true, scope.bias. Computes in the reader's precision.
Linear ReadLinear(const WeightScope& scope, std::int64_t in, std::int64_t out, bool bias = true);

// One of several Linears of the same shape that are applied together.
struct LinearPart {
  std::string_view name;
  bool bias = true;
};

// Reads scope.NAME.weight and scope.NAME.bias of each part, one below the other: what comes out is
// [..., parts.size() * out]. A part without a bias gets zeros where another has one. Computes in
// the reader's precision.
Linear ReadLinears(const WeightScope& scope, std::initializer_list<LinearPart> parts,
                   std::int64_t in, std::int64_t out);

// A convolution whose stride is its kernel, as a Linear over flattened patches: its weight
// [width, 3, patch, patch] is viewed as [width, 3 * patch * patch]. Computes in float32.
Linear ReadPatchProjection(const WeightScope& scope, std::int64_t width, Size patch, bool bias);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_LINEAR_H_
