// The kernel of attention_kernel.h over a vector type, for the files that name one and the
// instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here, first.
#ifndef PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_BODY_H_
#define PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_BODY_H_

#include <algorithm>
#include <cstddef>

#include "src/model/attention_kernel.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with
//   Floats, a register; kLanes: floats in one; kRows x kVectors: the block of sums that fits into
//   the registers beside its operands; Zero, Load, Store, Broadcast, Add, Subtract, Multiply,
//   MultiplyAdd(a, b, c) = a b + c, Max, ReduceMax, ReduceAdd, Exponential.
template <typename V>
class AttentionBody {
 public:
  static std::size_t ScratchFloats(std::size_t tokens, std::size_t head_dim) {
    const std::size_t padded = Padded(tokens);
    const std::size_t padded_dim = Padded(head_dim);
    return head_dim * padded + tokens * padded_dim + kRows * (padded + padded_dim + head_dim);
  }

  PIXEMBED_VECTOR_CODE static void Run(const HeadAttention& head, float* scratch) {
    const std::size_t padded = Padded(head.tokens);
    const std::size_t padded_dim = Padded(head.head_dim);
    // What the vectors run over comes first: its rows are whole registers.
    float* const keys = scratch;                              // [head_dim, padded]
    float* const values = keys + head.head_dim * padded;      // [tokens, padded_dim]
    float* const scores = values + head.tokens * padded_dim;  // [kRows, padded]
    float* const mixed = scores + kRows * padded;             // [kRows, padded_dim]
    float* const queries = mixed + kRows * padded_dim;        // [kRows, head_dim]
    PackKeys(head, padded, keys);
    PackValues(head, padded_dim, values);
    for (std::size_t row = head.first; row < head.last; row += kRows) {
      const std::size_t rows = std::min(kRows, head.last - row);
      for (std::size_t r = 0; r < kRows; ++r) {
        // Rows beyond the last repeat it, and are not written.
        const float* query = Row(head.queries, row + std::min(r, rows - 1));
        for (std::size_t d = 0; d < head.head_dim; ++d) {
          queries[r * head.head_dim + d] = query[d] * head.scale;
        }
      }
      Multiply(queries, head.head_dim, head.head_dim, keys, padded, scores);
      float scales[kRows];
      for (std::size_t r = 0; r < kRows; ++r) {
        const float* added =
            head.added.data == nullptr ? nullptr : Row(head.added, row + std::min(r, rows - 1));
        scales[r] = Softmax(head.tokens, added, scores + r * padded);
      }
      Multiply(scores, head.tokens, padded, values, padded_dim, mixed);
      for (std::size_t r = 0; r < rows; ++r) {
        float* const out = head.out + static_cast<std::ptrdiff_t>(row + r) * head.out_stride;
        for (std::size_t d = 0; d < head.head_dim; ++d) {
          out[d] = mixed[r * padded_dim + d] * scales[r];
        }
      }
    }
  }

 private:
  using Register = typename V::Floats;
  static constexpr std::size_t kLanes = V::kLanes;
  static constexpr std::size_t kRows = V::kRows;
  static constexpr std::size_t kVectors = V::kVectors;

  static std::size_t Padded(std::size_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

  static const float* Row(const HeadRows& rows, std::size_t index) {
    return rows.data + static_cast<std::ptrdiff_t>(index) * rows.stride;
  }

  // [tokens, head_dim] -> [head_dim, padded], zeros beyond the tokens.
  PIXEMBED_VECTOR_CODE static void PackKeys(const HeadAttention& head, std::size_t padded,
                                            float* keys) {
    // A register's worth of tokens at a time: what is written lies together.
    for (std::size_t first = 0; first < padded; first += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const std::size_t token = first + lane;
        if (token < head.tokens) {
          const float* key = Row(head.keys, token);
          for (std::size_t d = 0; d < head.head_dim; ++d) keys[d * padded + token] = key[d];
        } else {
          for (std::size_t d = 0; d < head.head_dim; ++d) keys[d * padded + token] = 0.0F;
        }
      }
    }
  }

  PIXEMBED_VECTOR_CODE static void PackValues(const HeadAttention& head, std::size_t padded_dim,
                                              float* values) {
    for (std::size_t token = 0; token < head.tokens; ++token) {
      const float* value = Row(head.values, token);
      float* const packed = values + token * padded_dim;
      std::copy_n(value, head.head_dim, packed);
      std::fill(packed + head.head_dim, packed + padded_dim, 0.0F);
    }
  }

  // out[r][0 .. vectors) = sum over k < depth of a[r][k] * b[k][0 .. vectors)
  template <std::size_t vectors>
  PIXEMBED_VECTOR_CODE static void MultiplyBlock(const float* a, std::size_t a_stride,
                                                 std::size_t depth, const float* b,
                                                 std::size_t columns, float* out) {
    Register sums[kRows][vectors];
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < vectors; ++v) sums[r][v] = V::Zero();
    }
    for (std::size_t k = 0; k < depth; ++k, b += columns) {
      Register row[vectors];
      for (std::size_t v = 0; v < vectors; ++v) row[v] = V::Load(b + v * kLanes);
      for (std::size_t r = 0; r < kRows; ++r) {
        const Register factor = V::Broadcast(a[r * a_stride + k]);
        for (std::size_t v = 0; v < vectors; ++v) {
          sums[r][v] = V::MultiplyAdd(factor, row[v], sums[r][v]);
        }
      }
    }
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < vectors; ++v) {
        V::Store(out + r * columns + v * kLanes, sums[r][v]);
      }
    }
  }

  // [kRows, depth], whose rows begin a_stride apart, x [depth, columns] -> [kRows, columns];
  // `columns` is whole registers.
  PIXEMBED_VECTOR_CODE static void Multiply(const float* a, std::size_t depth, std::size_t a_stride,
                                            const float* b, std::size_t columns, float* out) {
    std::size_t column = 0;
    for (; column + kVectors * kLanes <= columns; column += kVectors * kLanes) {
      MultiplyBlock<kVectors>(a, a_stride, depth, b + column, columns, out + column);
    }
    for (; column < columns; column += kLanes) {
      MultiplyBlock<1>(a, a_stride, depth, b + column, columns, out + column);
    }
  }

  // scores -> exp(scores + added - their maximum), 0 beyond `tokens`; returns 1 / the sum of them.
  PIXEMBED_VECTOR_CODE static float Softmax(std::size_t tokens, const float* added, float* scores) {
    if (added != nullptr) {
      for (std::size_t i = 0; i < tokens; ++i) scores[i] += added[i];
    }
    const std::size_t end = Padded(tokens);
    std::fill(scores + tokens, scores + end, kOut);
    Register maxima = V::Load(scores);
    for (std::size_t i = kLanes; i < end; i += kLanes) maxima = V::Max(maxima, V::Load(scores + i));
    const Register maximum = V::Broadcast(V::ReduceMax(maxima));
    Register sums = V::Zero();
    for (std::size_t i = 0; i < end; i += kLanes) {
      const Register weight = V::Exponential(V::Subtract(V::Load(scores + i), maximum));
      V::Store(scores + i, weight);
      sums = V::Add(sums, weight);
    }
    return 1.0F / V::ReduceAdd(sums);
  }

  // The weight of this score is 0 beside any other.
  static constexpr float kOut = -3.4028235e38F;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ATTENTION_KERNEL_BODY_H_
