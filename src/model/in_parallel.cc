// InParallel: the only source that is compiled with OpenMP switched on.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/functional/function_ref.h"
#include "src/model/thread_team.h"

namespace pixembed {

void InParallel(std::int64_t count, absl::FunctionRef<void(std::int64_t i, int thread)> body) {
  const int threads = static_cast<int>(std::min<std::int64_t>(TeamThreads(), count));
  if (threads <= 1) {
    for (std::int64_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  std::atomic<int> here = 0;
  std::atomic<std::int64_t> next = 0;
#pragma omp parallel num_threads(threads)
  {
    const int thread = here++;
    for (std::int64_t i = next++; i < count; i = next++) body(i, thread);
  }
}

}  // namespace pixembed
