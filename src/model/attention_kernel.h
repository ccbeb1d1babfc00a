// Attention of one head on one core, in plain memory. Internal to the room.
//
// LibTorch's own kernel multiplies blocks of queries by MKL's products, which take the AVX2 path on
// every CPU that is not Intel's, and are slow on blocks this small. Here keys and values of a head
// are packed once and stay in the nearest caches while its queries pass, a few rows at a time:
// products, softmax and products again, all in registers and L1.
#ifndef PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_H_
#define PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_H_

#include <cstddef>

namespace pixembed {

// Rows of head_dim floats; `stride` floats lie between the beginnings of two.
struct HeadRows {
  const float* data = nullptr;
  std::ptrdiff_t stride = 0;
};

// softmax(scale * queries keys^T + added) values, for the queries [first, last) of one head.
struct HeadAttention {
  HeadRows queries;
  HeadRows keys;    // `tokens` rows
  HeadRows values;  // `tokens` rows
  // `tokens` floats for each query; a stride of 0 gives all the same. Null: none. -infinity keeps a
  // token out; not all of a row may be kept out.
  HeadRows added;
  std::size_t first = 0;
  std::size_t last = 0;
  std::size_t tokens = 0;
  std::size_t head_dim = 0;
  float scale = 1.0F;
  float* out = nullptr;  // the row of query 0
  std::ptrdiff_t out_stride = 0;
};

// What a row's numbers are depends on its query, the keys and the values alone, not on the rows
// beside it. `scratch`: ScratchFloats() floats, aligned to 64 bytes.
struct AttentionKernel {
  void (*run)(const HeadAttention& head, float* scratch);
  std::size_t (*scratch_floats)(std::size_t tokens, std::size_t head_dim);
};

// Null where this CPU cannot run it.
const AttentionKernel* Avx2AttentionKernel();
const AttentionKernel* Avx512AttentionKernel();
// Of queries, keys, values and weights of values rounded to bfloat16.
const AttentionKernel* AmxBFloat16AttentionKernel();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_H_
