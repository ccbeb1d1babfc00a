#include "src/model/amx.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace pixembed {
namespace {

// __builtin_cpu_supports of GCC 12 has no word for it.
bool CpuHasTiles() {
  constexpr unsigned kLeaf = 7;
  constexpr unsigned kTilesAndBFloat16 = (1U << 24U) | (1U << 22U);
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(kLeaf, 0, &eax, &ebx, &ecx, &edx) != 0 &&
         (edx & kTilesAndBFloat16) == kTilesAndBFloat16 && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16");
}

// Source: Linux 6.1 Documentation/x86/xstate.rst, arch/x86/include/uapi/asm/prctl.h.
bool KernelAllowsTiles() {
  constexpr std::int64_t kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr std::int64_t kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool HasAmx() {
  static const bool has = CpuHasTiles() && KernelAllowsTiles();
  return has;
}

}  // namespace pixembed

#else

namespace pixembed {

bool HasAmx() { return false; }

}  // namespace pixembed

#endif
