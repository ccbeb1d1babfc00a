#include "src/model/freed_memory.h"

#include <malloc.h>

namespace pixembed {

// glibc refuses a larger threshold than 32 MiB (half of a thread's heap); what is larger is
// LibTorch's, and ActivationCache keeps it.
void KeepFreedMemory() {
  constexpr int kMiB = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, 32 * kMiB);
  mallopt(M_TRIM_THRESHOLD, 256 * kMiB);
  mallopt(M_TOP_PAD, 16 * kMiB);
}

}  // namespace pixembed
