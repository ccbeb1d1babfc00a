// What the exponential functions of the room's kernels are made of. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_EXPONENTIAL_TERMS_H_
#define PIXEMBED_SRC_MODEL_EXPONENTIAL_TERMS_H_

namespace pixembed {

// exp(x) for x <= 0, within 2 units in the last place; 0 below the smallest normal number. Of a
// register's numbers: exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, and a polynomial.
// Source: the coefficients of Cephes 2.8 expf.c.
struct ExponentialTerms {
  static constexpr float kLowest = -87.33654F;
  static constexpr float kLog2E = 1.44269504F;     // NOLINT(modernize-use-std-numbers): as there
  static constexpr float kLn2High = 0.693359375F;  // NOLINT(modernize-use-std-numbers): not ln 2
  static constexpr float kLn2Low = -2.12194440e-4F;
  static constexpr float kPolynomial[] = {1.9875691500e-4F, 1.3981999507e-3F, 8.3334519073e-3F,
                                          4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F};
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_EXPONENTIAL_TERMS_H_
