#include "src/engine/memory_budget.h"

#include <cstddef>
#include <mutex>
#include <stop_token>

#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {

absl::StatusOr<MemoryBudget::Grant> MemoryBudget::Take(std::size_t bytes,
                                                       const std::stop_token& stop,
                                                       TimePoint deadline) {
  std::unique_lock lock(mutex_);
  const auto place = line_.insert(line_.end(), bytes);
  const auto my_turn = [&] {
    return place == line_.begin() && (held_ == 0 || held_ + bytes <= limit_);
  };
  const bool granted = deadline == TimePoint::max()
                           ? changed_.wait(lock, stop, my_turn)
                           : changed_.wait_until(lock, stop, deadline, my_turn);
  line_.erase(place);
  if (granted) held_ += bytes;
  changed_.notify_all();  // the one behind is first now
  if (granted) return Grant(this, bytes);
  if (stop.stop_requested()) {
    return MakeError(Reason::kCancelled, "cancelled while waiting for memory to decode in");
  }
  return MakeError(Reason::kDeadlineExceeded,
                   "the deadline passed while waiting for memory to decode in");
}

std::size_t MemoryBudget::held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

void MemoryBudget::GiveBack(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  held_ -= bytes;
  changed_.notify_all();
}

}  // namespace pixembed
