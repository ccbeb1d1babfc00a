// What follows a product of float_kernel.h while its numbers are at hand, over a vector type, for
// the files that name one and the instruction set: they define PIXEMBED_VECTOR_CODE, the attribute
// of every function here, first.
#ifndef PIXEMBED_SRC_MODEL_PRODUCT_END_BODY_H_
#define PIXEMBED_SRC_MODEL_PRODUCT_END_BODY_H_

#include <cstddef>

#include "src/model/activation.h"
#include "src/model/gelu_body.h"

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

// Of some rows and kColumns columns of y, whole registers: out = f(y), or out += scale f(y). Those
// of y lie kRowStride and kVectorStride floats apart.
//
// V: a type with what Gelu names, and
//   kLanes: floats in a register; Zero, Load, Store, Subtract, Magnitude, Exponential of numbers
//   <= 0, SelectNegative(sign, a, b): a where sign < 0.
template <typename V, std::size_t kColumns, std::size_t kRowStride, std::size_t kVectorStride>
struct ProductEnd {
  using Floats = typename V::Floats;
  static constexpr std::size_t kLanes = V::kLanes;

  Activation activation = Activation::kNone;  // f; one that FusesActivation says
  bool add = false;
  const float* scale = nullptr;  // [columns]; null: 1. Only with `add`
  float* out = nullptr;
  std::ptrdiff_t out_stride = 0;
  std::size_t columns = 0;  // that `out` has; at most kColumns

  PIXEMBED_VECTOR_CODE __attribute__((noinline)) void Take(const float* y, std::size_t rows) const {
    switch (activation) {
      case Activation::kGelu:
        return TakeBy<Gelu<V>>(y, rows);
      case Activation::kGeluTanh:
        return TakeBy<GeluTanh>(y, rows);
      case Activation::kQuickGelu:
        return TakeBy<QuickGelu>(y, rows);
      default:
        return TakeBy<Identity>(y, rows);
    }
  }

  // before + scale * own; null: 1.
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static Floats Added(const float* scale,
                                                                          Floats before,
                                                                          Floats own) {
    return scale == nullptr ? V::Add(before, own) : V::MultiplyAdd(V::Load(scale), own, before);
  }

 private:
  template <Floats (*f)(Floats)>
  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) void TakeBy(const float* y,
                                                                  std::size_t rows) const {
    float* to = out;
    if (columns == kColumns && !add) {
      for (; rows > 0; --rows, y += kRowStride, to += out_stride) {
        for (std::size_t i = 0; i < kColumns; i += kLanes) V::Store(to + i, f(At(y, i)));
      }
      return;
    }
    for (; rows > 0; --rows, y += kRowStride, to += out_stride) {
      std::size_t column = 0;
      for (; column + kLanes <= columns; column += kLanes) {
        const Floats own = f(At(y, column));
        V::Store(to + column,
                 add ? Added(scale == nullptr ? nullptr : scale + column, V::Load(to + column), own)
                     : own);
      }
      if (column == columns) continue;
      alignas(64) float last[kLanes];
      V::Store(last, f(At(y, column)));
      for (const float* own = last; column < columns; ++column, ++own) {
        const float scaled = scale == nullptr ? *own : scale[column] * *own;
        to[column] = add ? to[column] + scaled : scaled;
      }
    }
  }

  PIXEMBED_VECTOR_CODE __attribute__((always_inline)) static Floats At(const float* row,
                                                                       std::size_t column) {
    return V::Load(row + column / kLanes * kVectorStride);
  }

  PIXEMBED_VECTOR_CODE static Floats Identity(Floats x) { return x; }

  // 1 / (1 + exp(-x)).
  PIXEMBED_VECTOR_CODE static Floats Sigmoid(Floats x) {
    const Floats one = V::Broadcast(1.0F);
    const Floats power = V::Exponential(V::Subtract(V::Zero(), V::Magnitude(x)));
    return V::Divide(V::SelectNegative(x, power, one), V::Add(one, power));
  }

  // x (1 + tanh(u)) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
  PIXEMBED_VECTOR_CODE static Floats GeluTanh(Floats x) {
    const Floats inner =
        V::MultiplyAdd(V::Multiply(V::Multiply(x, x), x), V::Broadcast(0.044715F), x);
    return V::Multiply(x, Sigmoid(V::Multiply(V::Broadcast(1.59576912F), inner)));
  }

  PIXEMBED_VECTOR_CODE static Floats QuickGelu(Floats x) {
    return V::Multiply(x, Sigmoid(V::Multiply(V::Broadcast(1.702F), x)));
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PRODUCT_END_BODY_H_
