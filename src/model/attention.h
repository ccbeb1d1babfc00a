// Attention over all heads of a batch. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_ATTENTION_H_
#define PIXEMBED_SRC_MODEL_ATTENTION_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace pixembed {

// softmax(scale * query key^T + added) value, head by head.
//
// query [N, heads, Q, head_dim], key and value [N, heads, T, head_dim] -> [N, Q, heads * head_dim],
// all of one type on one device, float32 or bfloat16; on a CPU float32 views of any strides whose
// last is 1 are read where they lie. `added`: undefined, or [A, heads or 1, Q or 1, T] with N a
// multiple of A: image n of the batch gets added[n % A]. Deterministic: what an image gets depends
// neither on its neighbours nor on the number of threads, where AttendsByOwnKernel.
//
// `rounds`: what is multiplied may be rounded to bfloat16, as what it is made of has been; a CPU
// with tiles does so.
at::Tensor ScaledDotProductAttention(const at::Tensor& query, const at::Tensor& key,
                                     const at::Tensor& value, const at::Tensor& added, double scale,
                                     bool rounds = false);

// Whether so many keys on this CPU are left to a kernel of our own, not to LibTorch's.
bool AttendsByOwnKernel(std::int64_t tokens);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ATTENTION_H_
