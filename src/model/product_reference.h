// What LibTorch says of a product that another kernel computed. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_PRODUCT_REFERENCE_H_
#define PIXEMBED_SRC_MODEL_PRODUCT_REFERENCE_H_

#include <ATen/core/Tensor.h>

#include "src/model/device_kernels.h"

namespace pixembed {

// The product by LibTorch in float32, bias and GELU included.
at::Tensor MultiplyInFloat32(const ProductOperands& operands);

// The product by LibTorch's kernels: sums in float32, rounded before GELU as well.
at::Tensor MultiplyByLibTorch(const ProductOperands& operands);

// Whether `y` is the product: its first and last row and others between them, 256 at most, within
// what bfloat16 rounds. A part of the depth or of the rows that is left out, or is summed in
// bfloat16, is found; so is what is no number. Waits for the device.
bool IsProduct(const ProductOperands& operands, const at::Tensor& y);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PRODUCT_REFERENCE_H_
