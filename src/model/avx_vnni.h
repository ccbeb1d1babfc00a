// Whether this CPU multiplies integers four bytes or two shorts at a time in registers of AVX2, as
// those do that have AVX_VNNI and no AVX-512. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_AVX_VNNI_H_
#define PIXEMBED_SRC_MODEL_AVX_VNNI_H_

#include <cpuid.h>

namespace pixembed {

// AVX_VNNI beside AVX2. __builtin_cpu_supports of GCC 12 has no word for it.
inline bool HasAvxVnni() {
  constexpr unsigned kLeaf = 7;
  constexpr unsigned kSubleaf = 1;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __get_cpuid_count(kLeaf, kSubleaf, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1U << 4U)) != 0;
}

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_AVX_VNNI_H_
