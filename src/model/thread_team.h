// The threads of LibTorch's operators. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_THREAD_TEAM_H_
#define PIXEMBED_SRC_MODEL_THREAD_TEAM_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace pixembed {

// Has LibTorch's operators use `threads` threads, the calling one included, for what the calling
// thread runs while this lives.
//
// OpenMP (libgomp) keeps a team of helper threads for every thread that ever ran something on
// several, and counts them all: once they are more than the cores, every helper goes to sleep in
// the kernel at the end of each operator and is woken for the next, where otherwise it waits a
// little on its core. A transformer has a hundred operators: ViT-Ti takes 15 ms then on two cores,
// instead of 8.5, for as long as the process lives. So only one thread of the process keeps its
// team, which spares it from starting one for the next batch; others send theirs home at once. A
// thread that comes to run something by itself sends its team home, too.
// Source: libgomp of GCC 11 to 14, config/linux/wait.h (do_spin), env.c (GOMP_SPINCOUNT).
class ThreadTeam {
 public:
  // REQUIRES: threads >= 1; no other ThreadTeam of this thread is alive.
  explicit ThreadTeam(int threads);
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;
  ~ThreadTeam();

  // Sends the calling thread's helpers home, if it kept them. To be called when it has nothing more
  // to run.
  static void SendHome();

 private:
  const int threads_;
};

// The threads of the ThreadTeam that is alive on the calling thread; without one, of its last one.
int TeamThreads();

// Calls body(i, thread) for every i from 0 to count - 1, on TeamThreads() threads, each of which
// takes the next i when it is done with one. `thread`, below TeamThreads(), is whose call it is.
// Returns when all are done. `body` must not throw.
//
// Not at::parallel_for: in a header, it runs on one thread wherever OpenMP is not switched on.
void InParallel(std::int64_t count, absl::FunctionRef<void(std::int64_t i, int thread)> body);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_THREAD_TEAM_H_
