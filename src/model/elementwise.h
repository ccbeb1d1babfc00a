// What is done to tensors number by number, in place. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_ELEMENTWISE_H_
#define PIXEMBED_SRC_MODEL_ELEMENTWISE_H_

#include <ATen/core/Tensor.h>

#include "src/model/activation.h"

namespace pixembed {

void Activate(Activation activation, at::Tensor& x);

// x += scale * y, or x += y without a scale. `scale`: [last dimension], or undefined.
void AddScaled(at::Tensor& x, const at::Tensor& y, const at::Tensor& scale);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ELEMENTWISE_H_
