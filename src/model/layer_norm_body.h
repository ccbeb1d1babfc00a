// The normalization of float_kernel.h over a vector type, for the files that name one and the
// instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here, first.
#ifndef PIXEMBED_SRC_MODEL_LAYER_NORM_BODY_H_
#define PIXEMBED_SRC_MODEL_LAYER_NORM_BODY_H_

#include <cmath>
#include <cstddef>

#include "src/model/float_kernel.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// V: a type with Floats, a register; kLanes: floats in one; Zero, Load, Store, Broadcast, Add,
//   Subtract, Multiply, MultiplyAdd(a, b, c) = a b + c, ReduceAdd.
template <typename V>
class LayerNormBody {
 public:
  PIXEMBED_VECTOR_CODE static void Run(const FloatNorm& norm) {
    const auto width = static_cast<float>(norm.width);
    for (std::size_t row = 0; row < norm.rows; ++row) {
      const float* const x = norm.x + row * norm.width;
      float* const out = norm.out + row * norm.width;
      const float mean = Sum<Itself>(x, norm.width, 0.0F) / width;
      const float variance = Sum<Square>(x, norm.width, mean) / width;
      const float factor = 1.0F / std::sqrt(variance + norm.epsilon);
      const Floats all_mean = V::Broadcast(mean);
      const Floats all_factor = V::Broadcast(factor);
      std::size_t i = 0;
      for (; i + kLanes <= norm.width; i += kLanes) {
        const Floats own = V::Multiply(V::Subtract(V::Load(x + i), all_mean), all_factor);
        V::Store(out + i, V::MultiplyAdd(own, V::Load(norm.weight + i), V::Load(norm.bias + i)));
      }
      for (; i < norm.width; ++i) {
        out[i] = (x[i] - mean) * factor * norm.weight[i] + norm.bias[i];
      }
    }
  }

 private:
  using Floats = typename V::Floats;
  static constexpr std::size_t kLanes = V::kLanes;

  struct Itself {
    PIXEMBED_VECTOR_CODE static Floats Add(Floats x, Floats sum) { return V::Add(sum, x); }
    static float Of(float x) { return x; }
  };
  struct Square {
    PIXEMBED_VECTOR_CODE static Floats Add(Floats x, Floats sum) {
      return V::MultiplyAdd(x, x, sum);
    }
    static float Of(float x) { return x * x; }
  };

  // Of Term(x - shift).
  template <typename Term>
  PIXEMBED_VECTOR_CODE static float Sum(const float* x, std::size_t count, float shift) {
    const Floats all_shift = V::Broadcast(shift);
    // Several, so that none waits for the one before.
    Floats sum0 = V::Zero();
    Floats sum1 = V::Zero();
    Floats sum2 = V::Zero();
    Floats sum3 = V::Zero();
    std::size_t i = 0;
    for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
      sum0 = Term::Add(V::Subtract(V::Load(x + i), all_shift), sum0);
      sum1 = Term::Add(V::Subtract(V::Load(x + i + kLanes), all_shift), sum1);
      sum2 = Term::Add(V::Subtract(V::Load(x + i + 2 * kLanes), all_shift), sum2);
      sum3 = Term::Add(V::Subtract(V::Load(x + i + 3 * kLanes), all_shift), sum3);
    }
    for (; i + kLanes <= count; i += kLanes) {
      sum0 = Term::Add(V::Subtract(V::Load(x + i), all_shift), sum0);
    }
    float sum = V::ReduceAdd(V::Add(V::Add(sum0, sum1), V::Add(sum2, sum3)));
    for (; i < count; ++i) sum += Term::Of(x[i] - shift);
    return sum;
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_LAYER_NORM_BODY_H_
