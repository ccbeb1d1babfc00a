// The exact GELU of a register, for the kernels of the room. For the files that name a vector type
// and its instruction set: they define PIXEMBED_VECTOR_CODE, the attribute of every function here,
// first.
#ifndef PIXEMBED_SRC_MODEL_GELU_BODY_H_
#define PIXEMBED_SRC_MODEL_GELU_BODY_H_

#include <cstddef>

#ifndef PIXEMBED_VECTOR_CODE
#error "define PIXEMBED_VECTOR_CODE before this header"
#endif

namespace pixembed {

template <typename V, std::size_t count>
PIXEMBED_VECTOR_CODE __attribute__((always_inline)) inline typename V::Floats Polynomial(
    const float (&terms)[count], typename V::Floats x) {
  typename V::Floats sum = V::Broadcast(terms[0]);
  for (std::size_t i = 1; i < count; ++i) sum = V::MultiplyAdd(sum, x, V::Broadcast(terms[i]));
  return sum;
}

// Within 4 units in the last place. Source: Eigen 3.4 SpecialFunctionsImpl.h
// generic_fast_erf_float.
template <typename V>
PIXEMBED_VECTOR_CODE __attribute__((always_inline)) inline typename V::Floats Erf(
    typename V::Floats x) {
  constexpr float kOver[] = {-2.72614225801306e-10F, 2.77068142495902e-08F,  -2.10102402082508e-06F,
                             -5.69250639462346e-05F, -7.34990630326855e-04F, -2.95459980854025e-03F,
                             -1.60960333262415e-02F};
  constexpr float kUnder[] = {-1.45660718464996e-05F, -2.13374055278905e-04F,
                              -1.68282697438203e-03F, -7.37332916720468e-03F,
                              -1.42647390514189e-02F};
  // Min and Max give their second operand where one is NaN.
  const auto clamped = V::Max(V::Broadcast(-4.0F), V::Min(V::Broadcast(4.0F), x));
  const auto square = V::Multiply(clamped, clamped);
  return V::Divide(V::Multiply(clamped, Polynomial<V>(kOver, square)),
                   Polynomial<V>(kUnder, square));
}

// x (1 + erf(x / sqrt(2))) / 2; NaN of NaN. V: a type with Floats, a register, and of it Broadcast,
// Add, Multiply, MultiplyAdd(a, b, c) = a b + c, Divide, Min, Max.
template <typename V>
PIXEMBED_VECTOR_CODE __attribute__((always_inline)) inline typename V::Floats Gelu(
    typename V::Floats x) {
  const auto erf = Erf<V>(V::Multiply(x, V::Broadcast(0.70710678F)));
  return V::Multiply(V::Multiply(V::Broadcast(0.5F), x), V::Add(V::Broadcast(1.0F), erf));
}

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_GELU_BODY_H_
