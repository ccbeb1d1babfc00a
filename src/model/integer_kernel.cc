#include "src/model/integer_kernel.h"

#include "src/model/float_kernel.h"

namespace pixembed {

const IntegerKernel* NativeInt8Kernel() {
  static const IntegerKernel* const kernel =
      Avx512Int8Kernel() != nullptr ? Avx512Int8Kernel() : AvxVnniInt8Kernel();
  return kernel;
}

const IntegerKernel* NativeInt16Kernel() {
  // AVX-512 multiplies as many numbers of float32 at once as AVX2 does of int16.
  static const IntegerKernel* const kernel =
      Avx512FloatKernel() != nullptr ? nullptr : Avx2Int16Kernel();
  return kernel;
}

}  // namespace pixembed
