// A pooled vector -> the answer that was asked for. Torch-free, thread-safe.
#ifndef PIXEMBED_SRC_MODEL_OUTPUT_H_
#define PIXEMBED_SRC_MODEL_OUTPUT_H_

#include <cstdint>
#include <span>

#include "src/model/model.h"

namespace pixembed {

// Truncates, normalizes and converts as `spec` asks (its pooling is done already).
// What is not finite says so: Embedding::finite. Normalizing divides by max(L2 norm, 1e-12), as
// torch.nn.functional.normalize does. REQUIRES: 0 <= spec.dimensions <= pooled.size().
Embedding MakeEmbedding(std::span<const float> pooled, const OutputSpec& spec);

// IEEE binary16 bits, round to nearest even; too large becomes infinity, NaN stays NaN.
std::uint16_t ToFloat16(float value);

// The upper half of binary32, round to nearest even; NaN stays NaN.
std::uint16_t ToBFloat16(float value);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_OUTPUT_H_
