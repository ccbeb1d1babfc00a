#include "src/model/freed_memory.h"

#include <malloc.h>

#include <cstddef>

// jemalloc's door, where the program is linked with it.
extern "C" __attribute__((weak)) int mallctl(const char* name, void* old_value,
                                             std::size_t* old_size, void* new_value,
                                             std::size_t new_size);

namespace pixembed {

// glibc refuses a larger threshold than 32 MiB (half of a thread's heap); what is larger is
// LibTorch's, and ActivationCache keeps it.
void KeepFreedMemory() {
  constexpr int kMiB = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, 32 * kMiB);
  mallopt(M_TRIM_THRESHOLD, 256 * kMiB);
  mallopt(M_TOP_PAD, 16 * kMiB);
}

void GiveFreedMemoryBack() {
  // 4096 is MALLCTL_ARENAS_ALL. Source: jemalloc 5.3.0 doc/jemalloc.xml.in, arena.<i>.purge.
  if (mallctl != nullptr) mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);
  malloc_trim(0);
}

}  // namespace pixembed
