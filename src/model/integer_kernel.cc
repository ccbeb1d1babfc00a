#include "src/model/integer_kernel.h"

#include "src/model/float_kernel.h"

namespace pixembed {

namespace {

// Without VNNI products and additions are instructions of their own: by AVX-512, float32 is as fast
// as these are by AVX2, or nearly so.
const IntegerKernel* Fastest(const IntegerKernel* avx512_vnni, const IntegerKernel* avx_vnni,
                             const IntegerKernel* avx2) {
  if (avx512_vnni != nullptr) return avx512_vnni;
  if (avx_vnni != nullptr) return avx_vnni;
  return Avx512FloatKernel() != nullptr ? nullptr : avx2;
}

}  // namespace

const IntegerKernel* NativeInt8Kernel() {
  static const IntegerKernel* const kernel =
      Fastest(Avx512Int8Kernel(), AvxVnniInt8Kernel(), Avx2Int8Kernel());
  return kernel;
}

const IntegerKernel* NativeInt16Kernel() {
  static const IntegerKernel* const kernel =
      Fastest(Avx512Int16Kernel(), AvxVnniInt16Kernel(), Avx2Int16Kernel());
  return kernel;
}

}  // namespace pixembed
