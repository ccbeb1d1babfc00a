// The images inside the engine, and the promise that `done` is called exactly once for each.
#ifndef PIXEMBED_SRC_ENGINE_ROSTER_H_
#define PIXEMBED_SRC_ENGINE_ROSTER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/admission.h"
#include "src/engine/engine.h"
#include "src/engine/task.h"

namespace pixembed {

// What one image takes of the admission's limit.
Demand DemandOf(Lane lane, std::size_t encoded_bytes);

// What is left when a drain ends is told this.
absl::Status CutOffError();

// Thread-safe.
class Roster {
 public:
  // `observer` may be null.
  Roster(Admission* admission, EngineObserver* observer)
      : admission_(admission), observer_(observer) {}

  // Takes note of tasks that were admitted; after CutOff it marks them as cut off. To be called
  // before they are queued.
  void Enter(std::span<const std::shared_ptr<Task>> tasks);

  // Ends the task, unless somebody has: tells the observer, gives its room back, calls its `done`,
  // answers those who got in by the room. Call under no lock.
  void Finish(Task& task, absl::StatusOr<Outcome> result);

  // Finishes everything inside with DRAINING, on this thread, and marks whatever is still to enter.
  void CutOff();
  // How many were cut off.
  std::size_t cut_off() const { return cut_off_count_; }

  std::uint64_t completed() const { return completed_; }
  std::uint64_t failed() const { return failed_; }

 private:
  // REQUIRES: the caller set task.claimed.
  void End(Task& task, absl::StatusOr<Outcome> result);

  Admission* const admission_;
  EngineObserver* const observer_;
  std::atomic<std::uint64_t> completed_ = 0;
  std::atomic<std::uint64_t> failed_ = 0;
  std::atomic<std::size_t> cut_off_count_ = 0;

  std::mutex mutex_;
  // Guarded by mutex_.
  std::list<std::shared_ptr<Task>> tasks_;
  bool cut_off_ = false;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_ROSTER_H_
