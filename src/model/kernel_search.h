// Which of several kernels that compute the same is the fastest, and what is remembered of it.
// Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_KERNEL_SEARCH_H_
#define PIXEMBED_SRC_MODEL_KERNEL_SEARCH_H_

#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"

namespace pixembed {

// The place, below `count`, of the fastest kernel that computes what it should; none where none
// does. `milliseconds` gives the time of one of so many calls of a kernel, infinite where it fails.
// The first kernel, which is thought to be the fastest, is left only for one that takes at least a
// fiftieth less. `holds` looks at what a kernel computes; it is asked from the fastest on.
std::optional<std::size_t> FastestKernel(std::size_t count,
                                         absl::FunctionRef<float(std::size_t, int)> milliseconds,
                                         absl::FunctionRef<bool(std::size_t)> holds);

// What searches have found, by kind. Thread-safe.
template <typename Kind, typename Choice>
class KernelChoices {
 public:
  // What was found; valid as long as this is. Null: there was no search yet. Waits for none.
  const Choice* Find(const Kind& kind) const {
    const std::lock_guard lock(mutex_);
    const auto known = choices_.find(kind);
    return known == choices_.end() ? nullptr : &known->second;
  }

  // What was found, or else what `search` gives: called once for a kind, one at a time, since two
  // searches would disturb each other. What it throws is thrown, and nothing is remembered.
  template <typename Search>
  const Choice& FindOrSearch(const Kind& kind, const Search& search) {
    const std::lock_guard lock(search_mutex_);
    if (const Choice* const known = Find(kind)) return *known;
    Choice found = search();
    const std::lock_guard map_lock(mutex_);
    return choices_.emplace(kind, std::move(found)).first->second;
  }

 private:
  std::mutex search_mutex_;
  mutable std::mutex mutex_;  // of choices_
  std::map<Kind, Choice> choices_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_KERNEL_SEARCH_H_
