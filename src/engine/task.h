// One admitted image, as the stages hand it on.
#ifndef PIXEMBED_SRC_ENGINE_TASK_H_
#define PIXEMBED_SRC_ENGINE_TASK_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

#include "src/engine/engine.h"
#include "src/engine/hosted_models.h"
#include "src/image/image.h"

namespace pixembed {

// Owned by whichever stage holds it; `item.done` alone belongs to whoever sets `claimed`.
struct Task {
  HostedModels::Lease model;
  std::size_t encoded_bytes = 0;  // as admitted; item.image itself is let go after the decode
  Item item;
  TimePoint submitted;
  TimePoint decoded;
  Timings timings;
  Image image;

  // Came in after a drain had cut off what was inside; finished by the first queue it meets.
  bool cut_off = false;
  // Set once, by the one that calls item.done.
  std::atomic<bool> claimed = false;
  // Where the roster keeps it.
  std::list<std::shared_ptr<Task>>::iterator place;
  // Tells the stages that item.stop was requested.
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
};

// A Task in a queue; what BatchQueue asks of an item.
class Pending {
 public:
  explicit Pending(std::shared_ptr<Task> task) : task_(std::move(task)) {}

  bool bulk() const { return task_->item.lane == Lane::kBulk; }
  TimePoint deadline() const { return task_->item.deadline; }
  // What a drain has cut off needs no further work either.
  bool cancelled() const {
    return task_->item.stop.stop_requested() || task_->claimed || task_->cut_off;
  }

  Task& operator*() const { return *task_; }
  Task* operator->() const { return task_.get(); }

 private:
  std::shared_ptr<Task> task_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_TASK_H_
