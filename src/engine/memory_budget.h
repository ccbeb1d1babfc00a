// Bounds the memory of concurrent decodes.
#ifndef PIXEMBED_SRC_ENGINE_MEMORY_BUDGET_H_
#define PIXEMBED_SRC_ENGINE_MEMORY_BUDGET_H_

#include <condition_variable>
#include <cstddef>
#include <list>
#include <mutex>
#include <stop_token>

#include "absl/status/statusor.h"
#include "src/engine/engine.h"

namespace pixembed {

// Bytes that may be held at once. First come, first served, so that a large image is not starved
// by small ones; one that is larger than the whole budget gets it when nobody else holds any.
// Thread-safe.
class MemoryBudget {
 public:
  // Bytes held; gives them back.
  class Grant {
   public:
    Grant(MemoryBudget* budget, std::size_t bytes) : budget_(budget), bytes_(bytes) {}
    Grant(Grant&& other) noexcept : budget_(other.budget_), bytes_(other.bytes_) {
      other.budget_ = nullptr;
    }
    Grant& operator=(Grant&&) = delete;
    ~Grant() {
      if (budget_ != nullptr) budget_->GiveBack(bytes_);
    }

   private:
    MemoryBudget* budget_;
    std::size_t bytes_;
  };

  explicit MemoryBudget(std::size_t limit) : limit_(limit) {}

  // Waits for its turn and for room.
  // Errors: CANCELLED when `stop` is requested, DEADLINE_EXCEEDED at `deadline`.
  absl::StatusOr<Grant> Take(std::size_t bytes, const std::stop_token& stop, TimePoint deadline);

  std::size_t held() const;

 private:
  void GiveBack(std::size_t bytes);

  const std::size_t limit_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  // Guarded by mutex_.
  std::size_t held_ = 0;
  std::list<std::size_t> line_;  // the demands, first come first
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_MEMORY_BUDGET_H_
