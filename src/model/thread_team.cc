#include "src/model/thread_team.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <atomic>

namespace pixembed {
namespace {

class Member;
// Whose team waits for its next work.
std::atomic<const Member*> keeper = nullptr;

// The calling thread, as one that may keep its team.
class Member {
 public:
  Member() = default;
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;
  ~Member() { Resign(); }  // OpenMP ends the team of a thread that ends

  // Whether this thread keeps its team from here on.
  bool Keep() const {
    const Member* nobody = nullptr;
    return keeper == this || keeper.compare_exchange_strong(nobody, this);
  }
  // Whether it did until now.
  bool Resign() const {
    const Member* self = this;
    return keeper.compare_exchange_strong(self, nullptr);
  }
};

const Member& Self() {
  thread_local const Member self;
  return self;
}

// Ends the calling thread's helpers.
void EndHelpers() {
  // OpenMP 5.0. Looked up, since LibTorch brings the library; one that lacks it keeps its helpers.
  using PauseAll = int (*)(int kind);
  constexpr int kSoft = 1;  // omp_pause_soft
  static const auto pause =
      reinterpret_cast<PauseAll>(dlsym(RTLD_DEFAULT, "omp_pause_resource_all"));
  if (pause != nullptr) pause(kSoft);
}

}  // namespace

ThreadTeam::ThreadTeam(int threads) : threads_(threads) {
  if (threads == 1) SendHome();
  // The number belongs to the calling thread, and LibTorch sets it up when it first asks: that has
  // to happen before it is set here, or it would be set back in the middle of a pass.
  if (at::get_num_threads() != threads) at::set_num_threads(threads);
}

ThreadTeam::~ThreadTeam() {
  if (threads_ > 1 && !Self().Keep()) EndHelpers();
}

void ThreadTeam::SendHome() {
  if (Self().Resign()) EndHelpers();
}

int TeamThreads() { return at::get_num_threads(); }

}  // namespace pixembed
