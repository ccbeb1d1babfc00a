#include "embedded/stream.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "api/in_order.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

// One image that is done.
struct Arrival {
  std::uint64_t index = 0;
  absl::StatusOr<Outcome> outcome;
};

absl::Status Cancelled() { return MakeError(Reason::kCancelled, "the stream was cancelled"); }

// A time that is too far away for the clock of a condition variable is no limit.
template <typename Condition>
bool WaitUntil(std::condition_variable& changed, std::unique_lock<std::mutex>& lock,
               TimePoint until, Condition condition) {
  if (until != TimePoint::max()) return changed.wait_until(lock, until, condition);
  changed.wait(lock, condition);
  return true;
}

}  // namespace

struct Stream::Shared {
  bool stopped() const { return stop.stop_requested(); }
  void Put(Arrival arrival) {
    {
      const std::lock_guard lock(mutex);
      if (stopped()) return;  // nobody will take it
      arrivals.push_back(std::move(arrival));
    }
    arrived.notify_all();
  }

  std::stop_source stop;
  std::mutex mutex;
  std::condition_variable room;  // for Submit: a result was taken, an admission is there, the end
  std::condition_variable arrived;  // for Take: a result, the end
  // All below are guarded by mutex.
  std::vector<Arrival> arrivals;
  InOrder<Arrival> in_order;
  std::uint64_t next_index = 0;
  std::size_t in_flight = 0;  // submitted, not taken
  bool ended = false;
};

Stream::Stream(Engine& engine, EmbedPlan plan, std::size_t window, const std::stop_token& closing)
    : engine_(engine),
      plan_(std::move(plan)),
      window_(window),
      shared_(std::make_shared<Shared>()) {
  on_closing_.emplace(closing, [this] { Cancel(); });
}

Stream::~Stream() {
  on_closing_.reset();
  Cancel();
}

Item Stream::MakeItem(std::string image, std::uint64_t index, TimePoint deadline) const {
  const auto owner = std::make_shared<const std::string>(std::move(image));
  return {.image = {.bytes = std::as_bytes(std::span(*owner)), .owner = owner},
          .policy = plan_.policy,
          .output = plan_.output,
          .lane = plan_.lane,
          .deadline = deadline,
          .stop = shared_->stop.get_token(),
          .done = [shared = shared_, index](absl::StatusOr<Outcome> outcome) {
            shared->Put({index, std::move(outcome)});
          }};
}

absl::StatusOr<std::uint64_t> Stream::Submit(std::string image, TimePoint deadline) {
  std::unique_lock lock(shared_->mutex);
  Shared& shared = *shared_;
  const auto over = [&shared] { return shared.stopped() || shared.ended; };
  shared.room.wait(lock, [&] { return over() || shared.in_flight < window_; });
  if (over()) return Cancelled();
  const std::uint64_t index = shared.next_index++;
  ++shared.in_flight;
  lock.unlock();

  std::vector<Item> items;
  items.push_back(MakeItem(std::move(image), index, deadline));
  const auto admission = std::make_shared<std::optional<absl::Status>>();  // guarded by the mutex
  engine_.SubmitWhenRoom(plan_.model->index(), std::move(items),
                         [shared = shared_, admission](absl::Status status) {
                           const std::lock_guard admitting(shared->mutex);
                           *admission = std::move(status);
                           shared->room.notify_all();
                         });
  lock.lock();
  shared.room.wait(lock, [&admission] { return admission->has_value(); });
  if (admission->value().ok()) return index;
  --shared.in_flight;
  shared.ended = true;  // the engine takes no more
  shared.arrived.notify_all();
  return admission->value();
}

void Stream::End() {
  const std::lock_guard lock(shared_->mutex);
  shared_->ended = true;
  shared_->room.notify_all();
  shared_->arrived.notify_all();
}

absl::StatusOr<std::optional<v1::EmbedResponse>> Stream::Take(TimePoint until) {
  Shared& shared = *shared_;
  std::unique_lock lock(shared.mutex);
  std::vector<Arrival> taken;
  while (taken.empty()) {
    const bool came = WaitUntil(shared.arrived, lock, until, [&shared] {
      return shared.stopped() || !shared.arrivals.empty() ||
             (shared.ended && shared.in_flight == 0);
    });
    if (shared.stopped()) return Cancelled();
    if (!came) return MakeError(Reason::kDeadlineExceeded, "no result came in time");
    if (shared.arrivals.empty()) return std::nullopt;
    taken = std::exchange(shared.arrivals, {});
    if (plan_.ordered) taken = shared.in_order.Pass(std::move(taken));
  }
  shared.in_flight -= taken.size();
  lock.unlock();
  shared.room.notify_all();
  shared.arrived.notify_all();  // another taker may have been waiting for the end

  v1::EmbedResponse response;
  response.set_model(plan_.description->name());
  response.set_fingerprint(plan_.fingerprint);
  for (const Arrival& arrival : taken) {
    v1::EmbedResult& result = *response.add_results();
    result.set_index(arrival.index);
    SetOutcome(arrival.outcome, plan_, engine_.RetryDelay(), result);
  }
  return response;
}

void Stream::Cancel() {
  // Not under the lock: the engine may call `done` and `admitted` meanwhile.
  shared_->stop.request_stop();
  const std::lock_guard lock(shared_->mutex);
  shared_->arrivals.clear();
  shared_->room.notify_all();
  shared_->arrived.notify_all();
}

}  // namespace pixembed
