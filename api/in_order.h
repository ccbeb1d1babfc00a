// Results in the order of their images, in whatever order they come.
#ifndef PIXEMBED_API_IN_ORDER_H_
#define PIXEMBED_API_IN_ORDER_H_

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace pixembed {

// Holds back what is early. `Result` has an `index`, which counts from 0. Not thread-safe.
template <typename Result>
class InOrder {
 public:
  // Adds `results` to those that wait for their turn, and takes out those whose turn it is.
  std::vector<Result> Pass(std::vector<Result> results) {
    for (Result& result : results) {
      const std::uint64_t index = result.index;
      early_.emplace(index, std::move(result));
    }
    std::vector<Result> next;
    while (!early_.empty() && early_.begin()->first == next_) {
      next.push_back(std::move(early_.extract(early_.begin()).mapped()));
      ++next_;
    }
    return next;
  }

 private:
  std::uint64_t next_ = 0;                 // whose turn it is
  std::map<std::uint64_t, Result> early_;  // those that wait for it
};

}  // namespace pixembed

#endif  // PIXEMBED_API_IN_ORDER_H_
