#include "src/engine/admission.h"

#include <cstddef>
#include <iterator>
#include <mutex>
#include <stop_token>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

Load operator+(const Load& a, const Load& b) { return {a.images + b.images, a.bytes + b.bytes}; }
Load operator-(const Load& a, const Load& b) { return {a.images - b.images, a.bytes - b.bytes}; }
bool Within(const Load& load, const Load& limit) {
  return load.images <= limit.images && load.bytes <= limit.bytes;
}

absl::Status Draining() {
  return MakeError(Reason::kDraining, "the server is shutting down and takes no new images");
}

void AnswerAll(Admission::Line& waiters, const absl::Status& status) {
  for (Admission::Waiter& waiter : waiters) waiter.answer(status);
  waiters.clear();
}

bool IsBulk(const Demand& demand) { return demand.bulk.images == demand.all.images; }

}  // namespace

Admission::Admission(Load limit)
    : limit_(limit), bulk_limit_{(limit.images + 1) / 2, (limit.bytes + 1) / 2}, sweeper_([this] {
        Sweep();
      }) {}

Admission::~Admission() {
  const std::lock_guard lock(mutex_);
  stopping_ = true;
  sweeping_.notify_one();
}

absl::Status Admission::TryAdmit(const Demand& demand) {
  const std::lock_guard lock(mutex_);
  if (closed_) return Draining();
  if (OthersAreFirst(demand) || !Fits(demand)) return Refusal(demand);
  Enter(demand);
  return absl::OkStatus();
}

void Admission::AdmitWhenRoom(const Demand& demand, const std::stop_token& stop, Answer answer) {
  absl::Status status;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) {
      status = Draining();
    } else if (OthersAreFirst(demand) || !(Fits(demand) || FitsAlone(demand))) {
      status = Refusal(demand);
    } else {
      Enter(demand);
    }
  }
  if (status.code() != absl::StatusCode::kResourceExhausted) return answer(std::move(status));

  // Made outside the lock: the callback runs at once where stop was requested already.
  Line entry;
  Waiter& waiter = entry.emplace_back();
  waiter.demand = demand;
  waiter.stop = stop;
  waiter.answer = std::move(answer);
  waiter.on_stop.emplace(stop, [this] {
    const std::lock_guard lock(mutex_);
    sweep_ = true;
    sweeping_.notify_one();
  });
  Line entered;
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      Line& line = IsBulk(demand) ? bulk_line_ : online_line_;
      line.splice(line.end(), entry);
      if (stop.stop_requested()) {  // a sweep that came before the splice missed it
        sweep_ = true;
        sweeping_.notify_one();
      }
      entered = EnterFromLines();  // room may have come since the first look
    }
  }
  AnswerAll(entry, Draining());  // still ours where the doors closed meanwhile
  AnswerAll(entered, absl::OkStatus());
}

Admission::Line Admission::Release(const Demand& demand) {
  const std::lock_guard lock(mutex_);
  inside_ = inside_ - demand.all;
  bulk_inside_ = bulk_inside_ - demand.bulk;
  return EnterFromLines();
}

void Admission::Leave(std::size_t images) {
  const std::lock_guard lock(mutex_);
  present_ -= images;
  if (Empty()) empty_.notify_all();
}

void Admission::Close() {
  Line gone;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    gone.splice(gone.end(), online_line_);
    gone.splice(gone.end(), bulk_line_);
  }
  AnswerAll(gone, Draining());
}

bool Admission::WaitUntilEmpty(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  const auto empty = [this] { return Empty(); };
  if (deadline == TimePoint::max()) {
    empty_.wait(lock, empty);
    return true;
  }
  return empty_.wait_until(lock, deadline, empty);
}

bool Admission::Empty() const { return present_ == 0 && answering_ == 0; }

Load Admission::inside() const {
  const std::lock_guard lock(mutex_);
  return inside_;
}

bool Admission::FitsBulk(const Load& bulk) const {
  const bool first = bulk_inside_ == Load{};  // one call is let in whatever its size
  return bulk == Load{} || first || Within(bulk_inside_ + bulk, bulk_limit_);
}

bool Admission::Fits(const Demand& demand) const {
  return Within(inside_ + demand.all, limit_) && FitsBulk(demand.bulk);
}

bool Admission::FitsAlone(const Demand& demand) const {
  return inside_ == Load{} && !Within(demand.all, limit_);
}

bool Admission::OthersAreFirst(const Demand& demand) const {
  return !online_line_.empty() || (IsBulk(demand) && !bulk_line_.empty());
}

void Admission::Enter(const Demand& demand) {
  inside_ = inside_ + demand.all;
  bulk_inside_ = bulk_inside_ + demand.bulk;
  present_ += demand.all.images;
}

void Admission::EnterFrom(Line& line, Line& entered) {
  while (!line.empty() && (Fits(line.front().demand) || FitsAlone(line.front().demand))) {
    Enter(line.front().demand);
    entered.splice(entered.end(), line, line.begin());
  }
}

Admission::Line Admission::EnterFromLines() {
  Line entered;
  EnterFrom(online_line_, entered);
  if (online_line_.empty()) EnterFrom(bulk_line_, entered);
  return entered;
}

absl::Status Admission::Refusal(const Demand& demand) const {
  return MakeError(Reason::kOverloaded,
                   absl::StrCat("the call brings ", demand.all.images, " images of ",
                                demand.all.bytes, " bytes; ", inside_.images, " of ", limit_.images,
                                " images (--max_queued_images) and ", inside_.bytes, " of ",
                                limit_.bytes, " bytes (--max_queued_bytes) are queued already"));
}

void Admission::Sweep() {
  std::unique_lock lock(mutex_);
  for (;;) {
    sweeping_.wait(lock, [this] { return sweep_ || stopping_; });
    if (stopping_) return;
    sweep_ = false;
    Line gone;
    for (Line* line : {&online_line_, &bulk_line_}) {
      for (auto waiter = line->begin(); waiter != line->end();) {
        const auto next = std::next(waiter);
        if (waiter->stop.stop_requested()) gone.splice(gone.end(), *line, waiter);
        waiter = next;
      }
    }
    Line entered = EnterFromLines();  // the one behind may fit
    const std::size_t answered = gone.size();
    answering_ += answered;
    lock.unlock();
    AnswerAll(entered, absl::OkStatus());
    AnswerAll(gone, MakeError(Reason::kCancelled, "cancelled while waiting for room"));
    lock.lock();
    answering_ -= answered;
    if (Empty()) empty_.notify_all();
  }
}

}  // namespace pixembed
