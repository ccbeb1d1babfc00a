// [N, T, D] -> [N, D]. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_POOLING_H_
#define PIXEMBED_SRC_MODEL_POOLING_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "src/model/model.h"

namespace pixembed {

// `hidden`: [N, T, D] float32; `own_tokens`: see HiddenStates. Returns [N, D] on the same device.
at::Tensor Pool(Pooling pooling, const at::Tensor& hidden,
                std::span<const std::int64_t> own_tokens = {});

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_POOLING_H_
