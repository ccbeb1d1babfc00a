#include "src/model/integer_kernel.h"

#include "src/model/float_kernel.h"

namespace pixembed {

const IntegerKernel* NativeInt8Kernel() {
  static const IntegerKernel* const kernel =
      Avx512Int8Kernel() != nullptr ? Avx512Int8Kernel() : AvxVnniInt8Kernel();
  return kernel;
}

const IntegerKernel* NativeInt16Kernel() {
  static const IntegerKernel* const kernel = [] {
    if (Avx512Int16Kernel() != nullptr) return Avx512Int16Kernel();
    if (AvxVnniInt16Kernel() != nullptr) return AvxVnniInt16Kernel();
    // Without VNNI an addition follows each product: by AVX-512, float32 is as fast.
    return Avx512FloatKernel() != nullptr ? nullptr : Avx2Int16Kernel();
  }();
  return kernel;
}

}  // namespace pixembed
