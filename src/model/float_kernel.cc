#include "src/model/float_kernel.h"

#include "src/model/activation.h"

namespace pixembed {

bool FusesActivation(Activation activation) {
  switch (activation) {
    case Activation::kNone:
    case Activation::kGelu:
    case Activation::kGeluTanh:
    case Activation::kQuickGelu:
      return true;
    case Activation::kRelu:
    case Activation::kSilu:
      return false;
  }
  return false;
}

const FloatKernel* NativeFloatKernel() {
  static const FloatKernel* const kernel = [] {
    for (const FloatKernel* const own : {AmxFloatKernel(), Avx512FloatKernel()}) {
      if (own != nullptr) return own;
    }
    return Avx2FloatKernel();
  }();
  return kernel;
}

}  // namespace pixembed
