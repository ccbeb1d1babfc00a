#include <ATen/Parallel.h>
#include <malloc.h>

#include <mutex>

#include "src/model/activation_cache.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

// Keeps freed memory in the process. glibc refuses a larger threshold than 32 MiB (half of a
// thread's heap); what is larger is LibTorch's, and ActivationCache keeps it.
void KeepFreedMemory() {
  constexpr int kMiB = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, 32 * kMiB);
  mallopt(M_TRIM_THRESHOLD, 256 * kMiB);
  mallopt(M_TOP_PAD, 16 * kMiB);
}

}  // namespace

// Denormal numbers are computed, not flushed: the reference does so, and a softmax in float32
// leaves so few of them that no difference in speed was seen.
void InitializeRuntime() {
  static std::once_flag once;
  std::call_once(once, [] {
    KeepFreedMemory();
    ActivationCache::Install();
    // Each call of Runner::Embed says how many threads it may use; all other work takes one. The
    // process has no operators that run beside each other.
    at::set_num_threads(1);
    at::set_num_interop_threads(1);
  });
}

}  // namespace pixembed
