// Who may enter the engine, and who waits in line for it.
#ifndef PIXEMBED_SRC_ENGINE_ADMISSION_H_
#define PIXEMBED_SRC_ENGINE_ADMISSION_H_

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "src/engine/engine.h"

namespace pixembed {

// Images and their encoded bytes.
struct Load {
  std::size_t images = 0;
  std::size_t bytes = 0;
  friend bool operator==(const Load&, const Load&) = default;
};

// What a call brings: everything, and the part of it that is bulk.
struct Demand {
  Load all;
  Load bulk;
};

// Counts what is inside against a limit. A call enters whole or not at all.
//
// Bulk may hold at most half of the limit (or one call, if that is larger), so that bulk streams,
// which always fill what they may, never make the engine refuse online calls. Nobody overtakes an
// online waiter; bulk waiters are overtaken by online calls only.
//
// An image inside goes out in two steps: Release gives its room back (before its `done` is called,
// which may submit again), Leave says that nothing of it is left.
//
// Thread-safe. Has one thread of its own, which answers waiters whose stop was requested, so that
// no answer runs inside the caller's request_stop().
class Admission {
 public:
  using Answer = absl::AnyInvocable<void(absl::Status)>;
  struct Waiter {
    Demand demand;
    std::stop_token stop;
    Answer answer;
    // Destroyed under no lock: its destructor waits for a callback that takes the lock.
    std::optional<std::stop_callback<std::function<void()>>> on_stop;
  };
  using Line = std::list<Waiter>;

  explicit Admission(Load limit);
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;
  // REQUIRES: Close was called.
  ~Admission();

  // Errors: OVERLOADED, DRAINING.
  absl::Status TryAdmit(const Demand& demand);

  // Answers once, under no lock: OK when the demand is in, perhaps before this returns; DRAINING;
  // CANCELLED after `stop` was requested. A demand above the whole limit enters when nothing else
  // is inside.
  void AdmitWhenRoom(const Demand& demand, const std::stop_token& stop, Answer answer);

  // Gives room back. Those who got in by it are inside already; it is the caller who answers them
  // with OK, under no lock.
  [[nodiscard]] Line Release(const Demand& demand);
  void Leave(std::size_t images);

  // Nobody enters any more; those in line are answered with DRAINING. Idempotent.
  void Close();
  // Waits until everything that was admitted has left and the thread of this has no answer under
  // way, or the deadline. Whether it has.
  bool WaitUntilEmpty(TimePoint deadline);

  // What is inside: admitted, not released.
  Load inside() const;

 private:
  // All REQUIRE mutex_ held.
  bool FitsBulk(const Load& bulk) const;
  bool Fits(const Demand& demand) const;
  bool FitsAlone(const Demand& demand) const;
  bool OthersAreFirst(const Demand& demand) const;
  void Enter(const Demand& demand);
  void EnterFrom(Line& line, Line& entered);
  Line EnterFromLines();
  absl::Status Refusal(const Demand& demand) const;

  bool Empty() const;

  void Sweep();

  const Load limit_;
  const Load bulk_limit_;

  mutable std::mutex mutex_;
  std::condition_variable sweeping_;
  std::condition_variable empty_;
  // All below are guarded by mutex_.
  Load inside_;
  Load bulk_inside_;
  std::size_t present_ = 0;    // images that have not left
  std::size_t answering_ = 0;  // waiters out of the line whom the sweeper has not answered yet
  Line online_line_;
  Line bulk_line_;
  bool closed_ = false;
  bool sweep_ = false;
  bool stopping_ = false;

  std::jthread sweeper_;  // last: it uses all of the above
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_ADMISSION_H_
