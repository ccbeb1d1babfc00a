#include "src/engine/roster.h"

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/admission.h"
#include "src/engine/engine.h"
#include "src/engine/task.h"
#include "src/error/error.h"

namespace pixembed {

absl::Status CutOffError() {
  return MakeError(Reason::kDraining,
                   "the server shut down before the image's turn came (--drain_timeout)");
}

Demand DemandOf(Lane lane, std::size_t encoded_bytes) {
  const Load load{1, encoded_bytes};
  return {load, lane == Lane::kBulk ? load : Load{}};
}

void Roster::Enter(std::span<const std::shared_ptr<Task>> tasks) {
  const std::lock_guard lock(mutex_);
  for (const std::shared_ptr<Task>& task : tasks) {
    task->place = tasks_.insert(tasks_.end(), task);
    task->cut_off = cut_off_;
  }
  if (cut_off_) cut_off_count_ += tasks.size();
}

void Roster::Finish(Task& task, absl::StatusOr<Outcome> result) {
  if (!task.claimed.exchange(true)) End(task, std::move(result));
}

void Roster::End(Task& task, absl::StatusOr<Outcome> result) {
  const Demand demand = DemandOf(task.item.lane, task.encoded_bytes);
  absl::AnyInvocable<void(absl::StatusOr<Outcome>)> done = std::move(task.item.done);
  std::shared_ptr<Task> kept;  // dropped last: it may be the owner of `task`
  {
    const std::lock_guard lock(mutex_);
    kept = std::move(*task.place);
    tasks_.erase(task.place);
  }
  ++(result.ok() ? completed_ : failed_);
  if (observer_ != nullptr && !task.item.describe) {
    observer_->OnDone(task.model->number, task.item.lane, task.encoded_bytes,
                      std::chrono::steady_clock::now() - task.submitted, result);
  }
  Admission::Line entered = admission_->Release(demand);
  done(std::move(result));
  done = nullptr;
  for (Admission::Waiter& waiter : entered) waiter.answer(absl::OkStatus());
  entered.clear();
  kept.reset();
  admission_->Leave(1);
}

void Roster::CutOff() {
  std::vector<std::shared_ptr<Task>> claimed;
  {
    const std::lock_guard lock(mutex_);
    cut_off_ = true;
    for (const std::shared_ptr<Task>& task : tasks_) {
      if (!task->claimed.exchange(true)) claimed.push_back(task);
    }
  }
  cut_off_count_ += claimed.size();
  for (const std::shared_ptr<Task>& task : claimed) End(*task, CutOffError());
}

}  // namespace pixembed
