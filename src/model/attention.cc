#include "src/model/attention.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "src/model/attention_kernel.h"
#include "src/model/thread_team.h"

namespace pixembed {
namespace {

// Beyond, the packed keys and values of a head leave the second cache, and LibTorch's kernel, which
// walks them in blocks, does better.
constexpr std::int64_t kMaxTokens = 4096;

const AttentionKernel* Kernel(bool rounds = false) {
  if (rounds && AmxBFloat16AttentionKernel() != nullptr) return AmxBFloat16AttentionKernel();
  static const AttentionKernel* const kernel =
      Avx512AttentionKernel() != nullptr ? Avx512AttentionKernel() : Avx2AttentionKernel();
  return kernel;
}

// A view of `tensor` whose rows are contiguous.
at::Tensor WithRows(const at::Tensor& tensor) {
  return tensor.stride(-1) == 1 || tensor.size(-1) == 1 ? tensor : tensor.contiguous();
}

HeadRows RowsOf(const at::Tensor& tensor, std::int64_t image, std::int64_t head) {
  return {tensor.const_data_ptr<float>() + image * tensor.stride(0) + head * tensor.stride(1),
          static_cast<std::ptrdiff_t>(tensor.stride(2))};
}

at::Tensor OnCpu(const AttentionKernel& kernel, const at::Tensor& query, const at::Tensor& key,
                 const at::Tensor& value, const at::Tensor& added, double scale) {
  const std::int64_t batch = query.size(0);
  const std::int64_t heads = query.size(1);
  const std::int64_t queries = query.size(2);
  const std::int64_t tokens = key.size(2);
  const std::int64_t head_dim = query.size(3);
  at::Tensor out = at::empty({batch, queries, heads * head_dim}, query.options());
  at::Tensor spread;
  if (added.defined()) spread = WithRows(added.expand({added.size(0), heads, queries, tokens}));

  // More parts than heads where these do not fill the threads evenly; each packs the keys anew.
  const std::int64_t threads = TeamThreads();
  const std::int64_t all_heads = batch * heads;
  const std::int64_t parts =
      threads == 1 || all_heads % threads == 0 || all_heads >= 8 * threads ? 1 : threads;
  const std::int64_t part_queries = (queries + parts - 1) / parts;
  const auto scratch_floats = static_cast<std::int64_t>(
      kernel.scratch_floats(static_cast<std::size_t>(tokens), static_cast<std::size_t>(head_dim)));
  const at::Tensor scratch = at::empty({threads, scratch_floats}, query.options());
  auto* const first_scratch = scratch.mutable_data_ptr<float>();
  auto* const first_out = out.mutable_data_ptr<float>();
  InParallel(all_heads * parts, [&](std::int64_t i, int thread) {
    const std::int64_t image = i / parts / heads;
    const std::int64_t head = i / parts % heads;
    const std::int64_t first = i % parts * part_queries;
    kernel.run(
        {.queries = RowsOf(query, image, head),
         .keys = RowsOf(key, image, head),
         .values = RowsOf(value, image, head),
         .added = spread.defined() ? RowsOf(spread, image % spread.size(0), head) : HeadRows{},
         .first = static_cast<std::size_t>(first),
         .last = static_cast<std::size_t>(std::min(first + part_queries, queries)),
         .tokens = static_cast<std::size_t>(tokens),
         .head_dim = static_cast<std::size_t>(head_dim),
         .scale = static_cast<float>(scale),
         .out = first_out + image * queries * heads * head_dim + head * head_dim,
         .out_stride = heads * head_dim},
        first_scratch + thread * scratch_floats);
  });
  return out;
}

at::Tensor ByLibTorch(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                      const at::Tensor& added, double scale) {
  const std::int64_t batch = query.size(0);
  const std::int64_t heads = query.size(1);
  const auto attend = [scale](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& mask) {
    return at::scaled_dot_product_attention(q, k, v,
                                            mask.defined() ? std::optional(mask) : std::nullopt,
                                            /*dropout_p=*/0.0, /*is_causal=*/false, scale);
  };
  at::Tensor mixed;
  if (!added.defined() || added.size(0) == 1 || added.size(0) == batch) {
    mixed = attend(query, key, value, added);
  } else {
    // What repeats within the batch becomes part of the heads.
    const std::int64_t period = added.size(0);
    const auto fold = [&](const at::Tensor& part) {
      return part.reshape({batch / period, period * heads, part.size(2), part.size(3)});
    };
    const at::Tensor mask = added.expand({period, heads, added.size(2), added.size(3)})
                                .reshape({1, period * heads, added.size(2), added.size(3)});
    mixed = attend(fold(query), fold(key), fold(value), mask)
                .reshape({batch, heads, query.size(2), query.size(3)});
  }
  return mixed.transpose(1, 2).reshape({batch, query.size(2), heads * query.size(3)});
}

}  // namespace

bool AttendsByOwnKernel(std::int64_t tokens) { return Kernel() != nullptr && tokens <= kMaxTokens; }

at::Tensor ScaledDotProductAttention(const at::Tensor& query, const at::Tensor& key,
                                     const at::Tensor& value, const at::Tensor& added, double scale,
                                     bool rounds) {
  const bool own = query.is_cpu() && query.scalar_type() == at::kFloat;
  if (!own || !AttendsByOwnKernel(key.size(2))) {
    return ByLibTorch(query, key, value, added, scale);
  }
  return OnCpu(*Kernel(rounds), WithRows(query), WithRows(key), WithRows(value), added, scale);
}

}  // namespace pixembed
