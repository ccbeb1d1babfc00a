#include "src/model/int8_kernel.h"

namespace pixembed {

const Int8Kernel* NativeInt8Kernel() {
  static const Int8Kernel* const kernel =
      Avx512Int8Kernel() != nullptr ? Avx512Int8Kernel() : AvxVnniInt8Kernel();
  return kernel;
}

}  // namespace pixembed
