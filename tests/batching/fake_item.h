// An item with nothing but what the queue asks for, and a name.
#ifndef PIXEMBED_TESTS_BATCHING_FAKE_ITEM_H_
#define PIXEMBED_TESTS_BATCHING_FAKE_ITEM_H_

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/batching/batching.h"

namespace pixembed {

class FakeItem {
 public:
  explicit FakeItem(std::string name) : name_(std::move(name)) {}

  FakeItem Bulk() && {
    bulk_ = true;
    return std::move(*this);
  }
  FakeItem Until(TimePoint deadline) && {
    deadline_ = deadline;
    return std::move(*this);
  }

  bool bulk() const { return bulk_; }
  TimePoint deadline() const { return deadline_; }
  bool cancelled() const { return *cancelled_; }
  const std::string& name() const { return name_; }

  // Sets the item's `cancelled`, wherever it has been moved to.
  std::shared_ptr<std::atomic<bool>> canceller() const { return cancelled_; }

 private:
  std::string name_;
  bool bulk_ = false;
  TimePoint deadline_ = TimePoint::max();
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

inline std::vector<std::string> Names(const std::vector<FakeItem>& items) {
  std::vector<std::string> names;
  for (const FakeItem& item : items) names.push_back(item.name());
  return names;
}

inline std::vector<std::string> Names(const std::vector<Abandoned<FakeItem>>& items) {
  std::vector<std::string> names;
  for (const Abandoned<FakeItem>& abandoned : items) names.push_back(abandoned.item.name());
  return names;
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_BATCHING_FAKE_ITEM_H_
