// Groups items into batches by what is ready, never by a clock alone.
//
// BatchQueue<T> is pure: no thread, no clock; time is an argument. PlanBatch decides over several
// queues, just as purely. BatchScheduler<T> is the threads around them.
//
// The rules, in one place:
//  - An idle worker takes a lone item at once.
//  - While all workers are busy the batch grows, up to max_batch_size.
//  - Where a batch's time hardly grows with its items (BatchCost::kPerBatch, a GPU) one worker
//    takes all that is ready, and bulk fills the room that is left. It waits, at most max_delay
//    after the first item's arrival, only while the owner has said that more items are about to
//    land (Expect).
//  - Where each item adds its time (BatchCost::kPerItem, a CPU) nobody waits for company. The
//    workers, busy ones too, share what is ready, each its share in two turns, since all items of a
//    batch are done when its last one is; and a batch is of one lane, since no online item shall
//    pay for a bulk one. While online items come, bulk is taken one by one, and no worker that one
//    about to land will need.
//  - Cores (BatchSchedulerOptions::cores) are shared out among what is ready or about to land; how
//    many of its share a batch takes is ThreadPolicy's choice.
//  - A free worker serves the queue whose oldest item has waited longest; online before bulk.
//  - No queued bulk item goes ahead of a queued online item.
//  - Cancelled and expired items never reach a worker; they are handed back promptly, also while
//    every worker is busy.
//  - Limits, lanes and deadlines are part of the one path: none of them switches anything off.
//
// The queues hold what their owner puts in; the owner bounds it before (admission).
#ifndef PIXEMBED_SRC_BATCHING_BATCHING_H_
#define PIXEMBED_SRC_BATCHING_BATCHING_H_

#include <algorithm>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/batching/thread_policy.h"

namespace pixembed {

using TimePoint = std::chrono::steady_clock::time_point;

// What a queue asks of its items. `bulk` and `deadline` stay the same while the item is queued;
// `cancelled` may turn true at any time, on any thread, and stays true.
template <typename T>
concept Batchable = std::movable<T> && requires(const T& item) {
  { item.bulk() } -> std::same_as<bool>;           // the lane: bulk, else online
  { item.deadline() } -> std::same_as<TimePoint>;  // max(): none
  { item.cancelled() } -> std::same_as<bool>;
};

// An item that left its queue without having been served.
template <typename T>
struct Abandoned {
  enum class Why { kCancelled, kExpired };
  T item;
  Why why;
};

// What a worker takes.
template <typename T>
struct Batch {
  std::vector<T> ready;  // online before bulk, each in order of arrival
  std::vector<Abandoned<T>> abandoned;
};

// What makes a batch slower.
enum class BatchCost {
  kPerItem,   // each item adds its own time
  kPerBatch,  // the batch as such; room in it is nearly free
};

struct BatchQueueOptions {
  // Items per batch. >= 1.
  std::size_t max_batch_size = 1;
  // kPerBatch: how long an item may be held back for items that are about to land. >= 0.
  std::chrono::nanoseconds max_delay{0};
  BatchCost cost = BatchCost::kPerBatch;
};

// Items waiting for one model, in two lanes. Pure. One thread at a time.
template <Batchable T>
class BatchQueue {
 public:
  // How long after an online item more are to be reckoned with.
  static constexpr std::chrono::seconds kOnlineTraffic{1};

  explicit BatchQueue(const BatchQueueOptions& options) : options_(options) {}

  // Of the batches that are taken from now on. REQUIRES: >= 1.
  void SetMaxBatchSize(std::size_t size) { options_.max_batch_size = size; }

  void Push(T item, TimePoint now) {
    if (!item.bulk()) last_online_ = now;
    earliest_deadline_ = std::min(earliest_deadline_, item.deadline());
    Lane& lane = LaneOf(item.bulk());
    lane.entries.push_back(Entry{std::move(item), now});
  }

  // `count` items of the lane are about to be pushed, or Unexpect will take the word back.
  void Expect(bool bulk, std::size_t count) { LaneOf(bulk).expected += count; }
  // REQUIRES: count <= what is expected.
  void Unexpect(bool bulk, std::size_t count) { LaneOf(bulk).expected -= count; }

  bool empty() const { return size() == 0; }
  std::size_t size() const { return online_.entries.size() + bulk_.entries.size(); }
  std::size_t expected() const { return online_.expected + bulk_.expected; }
  // Items, queued or expected, that will want a worker; of the online lane, or of both.
  std::size_t online_demand() const { return online_.entries.size() + online_.expected; }
  std::size_t demand() const { return size() + expected(); }
  // Online items that are about to land.
  std::size_t online_expected() const { return online_.expected; }
  // Whether an online item came less than kOnlineTraffic ago.
  bool online_traffic(TimePoint now) const {
    return last_online_.has_value() && now - *last_online_ < kOnlineTraffic;
  }
  BatchCost cost() const { return options_.cost; }
  // Whether the next batch begins with an online item.
  bool online() const { return !online_.entries.empty(); }

  // How many queued items the next batch could hold, were it unlimited.
  std::size_t candidates() const {
    if (!online()) return bulk_.entries.size();
    return options_.cost == BatchCost::kPerBatch ? size() : online_.entries.size();
  }

  // The arrival of the first item of the next batch. REQUIRES: !empty().
  TimePoint oldest() const { return (online() ? online_ : bulk_).entries.front().arrival; }

  // From when on an idle worker shall take a batch: the arrival of its first item, or, kPerBatch,
  // max_delay later while the batch is not full and more items are about to land. Online items wait
  // for online items only. Nothing where the queue is empty.
  std::optional<TimePoint> ReadyAt() const {
    if (empty()) return std::nullopt;
    if (options_.cost == BatchCost::kPerItem) return oldest();
    const bool more_to_come = online() ? online_.expected > 0 : expected() > 0;
    if (!more_to_come || candidates() >= options_.max_batch_size) return oldest();
    return oldest() + options_.max_delay;
  }

  // Takes the first min(limit, max_batch_size) items that are neither cancelled nor expired, and
  // sets aside those that it meets on the way.
  Batch<T> Take(std::size_t limit, TimePoint now) {
    Batch<T> batch;
    const std::size_t room = std::min(limit, options_.max_batch_size);
    TakeFrom(online_, room, now, batch);
    if (options_.cost == BatchCost::kPerBatch || batch.ready.empty()) {
      TakeFrom(bulk_, room, now, batch);
    }
    return batch;
  }

  // Takes every item that is cancelled or expired.
  std::vector<Abandoned<T>> TakeAbandoned(TimePoint now) {
    std::vector<Abandoned<T>> abandoned;
    earliest_deadline_ = TimePoint::max();
    for (Lane* lane : {&online_, &bulk_}) {
      std::deque<Entry> kept;
      for (Entry& entry : lane->entries) {
        if (SetAside(entry, now, abandoned)) continue;
        earliest_deadline_ = std::min(earliest_deadline_, entry.item.deadline());
        kept.push_back(std::move(entry));
      }
      lane->entries = std::move(kept);
    }
    return abandoned;
  }

  // When TakeAbandoned shall be called next, cancellations aside: never later than the earliest
  // deadline of a queued item. Sometimes earlier: an item that was served leaves its time behind,
  // so that a light load of items with deadlines does not move this with each of them.
  // max(): no need.
  TimePoint NextExpiry() const { return earliest_deadline_; }

 private:
  struct Entry {
    T item;
    TimePoint arrival;
  };
  struct Lane {
    std::deque<Entry> entries;
    std::size_t expected = 0;
  };

  Lane& LaneOf(bool bulk) { return bulk ? bulk_ : online_; }

  static bool SetAside(Entry& entry, TimePoint now, std::vector<Abandoned<T>>& abandoned) {
    using Why = typename Abandoned<T>::Why;
    const bool cancelled = entry.item.cancelled();
    if (!cancelled && now < entry.item.deadline()) return false;
    abandoned.push_back({std::move(entry.item), cancelled ? Why::kCancelled : Why::kExpired});
    return true;
  }

  static void TakeFrom(Lane& lane, std::size_t room, TimePoint now, Batch<T>& batch) {
    while (!lane.entries.empty() && batch.ready.size() < room) {
      Entry& entry = lane.entries.front();
      if (!SetAside(entry, now, batch.abandoned)) batch.ready.push_back(std::move(entry.item));
      lane.entries.pop_front();
    }
  }

  BatchQueueOptions options_;
  Lane online_;
  Lane bulk_;
  TimePoint earliest_deadline_ = TimePoint::max();
  std::optional<TimePoint> last_online_;
};

// Who could run a batch.
struct BatchCapacity {
  int idle_workers = 1;  // with the one that asks
  int busy_workers = 0;
  // Cores that no running batch holds; nothing where cores are not counted.
  std::optional<int> free_cores;
  // The owner is closing: nothing more will land, nobody waits.
  bool closing = false;
};

// What one idle worker shall do now.
struct BatchPlan {
  // The queue to take from; absent: nothing to do yet.
  std::optional<std::size_t> queue;
  // Items to take, and the cores that are their share.
  std::size_t limit = 0;
  int threads = 1;
  // Where `queue` is absent: when to ask again even if nothing happens until then. max(): only
  // when something happens.
  TimePoint ask_again = TimePoint::max();
};

// Online items of a worker's share are taken in so many turns where each adds its time: the first
// ones need not wait for the last ones, and only a long line is worth larger batches.
inline constexpr std::size_t kTurns = 2;

inline std::size_t DivideUp(std::size_t value, std::size_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Decides for one idle worker. Pure. REQUIRES: capacity.idle_workers >= 1.
template <Batchable T>
BatchPlan PlanBatch(std::span<const BatchQueue<T>> queues, const BatchCapacity& capacity,
                    TimePoint now) {
  BatchPlan plan;
  if (capacity.free_cores == 0) return plan;

  const BatchQueue<T>* best = nullptr;
  std::size_t rivals = 0;  // ready queues of the best one's lane, with it
  bool online_held_back = false;
  bool online_traffic = false;
  std::size_t online_landing = 0;
  for (const BatchQueue<T>& queue : queues) {
    online_traffic = online_traffic || queue.online_traffic(now);
    online_landing += queue.online_expected();
    const std::optional<TimePoint> ready_at = queue.ReadyAt();
    if (!ready_at.has_value()) continue;
    if (*ready_at > now && !capacity.closing) {
      plan.ask_again = std::min(plan.ask_again, *ready_at);
      online_held_back = online_held_back || queue.online();
      continue;
    }
    const bool same_lane = best != nullptr && queue.online() == best->online();
    if (best == nullptr || (queue.online() && !best->online())) {
      best = &queue;
      rivals = 1;
    } else if (same_lane) {
      if (queue.oldest() < best->oldest()) best = &queue;
      ++rivals;
    }
  }
  // Bulk must not take the worker that an online item, held back a moment for company, will need.
  if (best == nullptr || (online_held_back && !best->online())) return plan;

  const std::size_t runners = static_cast<std::size_t>(
      std::min(capacity.idle_workers, capacity.free_cores.value_or(capacity.idle_workers)));
  plan.limit = best->candidates();
  if (best->cost() == BatchCost::kPerItem) {
    // Nor, where its batch takes long, one that an online item will need in a moment.
    if (!best->online() && !capacity.closing && runners <= online_landing) return {};
    // The other ready queues deserve a worker each before this one deserves a second.
    const std::size_t workers = runners + static_cast<std::size_t>(capacity.busy_workers);
    const std::size_t sharers = workers - std::min(rivals, workers) + 1;
    if (best->online()) {
      plan.limit = DivideUp(plan.limit, kTurns * sharers);
    } else {
      plan.limit = online_traffic ? 1 : DivideUp(plan.limit, sharers);
    }
  }
  plan.queue = static_cast<std::size_t>(best - queues.data());
  plan.ask_again = TimePoint::max();
  if (capacity.free_cores.has_value()) {
    std::size_t demand = 0;
    for (const BatchQueue<T>& queue : queues) {
      demand += best->online() ? queue.online_demand() : queue.demand();
    }
    plan.threads = *capacity.free_cores / static_cast<int>(std::min(runners, demand));
  }
  return plan;
}

// Runs batches on the thread that made it. Lives and dies on that thread.
template <typename T>
class BatchWorker {
 public:
  BatchWorker() = default;
  BatchWorker(const BatchWorker&) = delete;
  BatchWorker& operator=(const BatchWorker&) = delete;
  virtual ~BatchWorker() = default;
  // `items` is not empty and of one queue. `threads`: cores that the call may use, >= 1. Must not
  // throw. May call Schedule, Expect, Land, Unexpect.
  virtual void Run(std::size_t queue, std::vector<T> items, int threads) = 0;
  // Called after Run, when its cores are given back and its time is taken: hands out what Run made.
  // Whoever gets it and comes again at once finds the house empty. As Run otherwise.
  virtual void Deliver() {}
};

struct BatchSchedulerOptions {
  std::size_t queues = 1;
  BatchQueueOptions queue;
  int workers = 1;
  // Cores that the running batches share: the sum of their `threads` never exceeds it; a worker
  // waits for a core rather than go above. 0: not counted, every batch runs with threads = 1.
  int cores = 0;
};

// Worker threads around one or several queues, and one thread that hands back cancelled and expired
// items. Work goes to the waiting worker of the lowest index: under little load one worker has it
// all, with its memory and its threads warm. Thread-safe.
template <Batchable T>
class BatchScheduler {
 public:
  // Called on the worker's own thread, before it serves.
  using MakeWorker = std::function<absl::StatusOr<std::unique_ptr<BatchWorker<T>>>(int worker)>;
  // Receives each item that will not be served, once, on a thread of the scheduler, under no lock.
  using Abandon = std::function<void(Abandoned<T>)>;

  // Returns when every worker is made. Errors: the first of `make_worker`'s; RESOURCE_EXHAUSTED
  // where a thread cannot be had.
  static absl::StatusOr<std::unique_ptr<BatchScheduler>> Start(const BatchSchedulerOptions& options,
                                                               MakeWorker make_worker,
                                                               Abandon abandon) {
    std::unique_ptr<BatchScheduler> scheduler(
        new BatchScheduler(options, std::move(make_worker), std::move(abandon)));
    absl::Status status = scheduler->StartThreads();
    if (!status.ok()) return status;
    return scheduler;
  }

  BatchScheduler(const BatchScheduler&) = delete;
  BatchScheduler& operator=(const BatchScheduler&) = delete;

  // Runs what is queued, waiting for nothing, then joins.
  // REQUIRES: from here on only a worker's Run adds items.
  ~BatchScheduler() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
      RingEveryBell();
    }
    workers_.clear();
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    attention_.notify_all();
    watcher_ = {};
  }

  // Queues items that nobody announced.
  void Schedule(std::size_t queue, std::vector<T> items) {
    std::unique_lock lock(mutex_);
    const TimePoint now = Clock::now();
    thread_policy_.Enter(items.size(), now);
    for (T& item : items) Push(queue, std::move(item), now);
    UnlockAndWakeWorker(lock, now);
  }

  // `online` and `bulk` items are about to land: each will be given to Land, or Unexpect takes it
  // back.
  void Expect(std::size_t queue, std::size_t online, std::size_t bulk) {
    const std::lock_guard lock(mutex_);
    thread_policy_.Enter(online + bulk, Clock::now());
    queues_[queue].Expect(false, online);
    queues_[queue].Expect(true, bulk);
  }

  // An expected item is here.
  void Land(std::size_t queue, T item) {
    std::unique_lock lock(mutex_);
    const TimePoint now = Clock::now();
    queues_[queue].Unexpect(item.bulk(), 1);
    Push(queue, std::move(item), now);
    UnlockAndWakeWorker(lock, now);
  }

  // An expected item will not come.
  void Unexpect(std::size_t queue, bool bulk) {
    std::unique_lock lock(mutex_);
    const TimePoint now = Clock::now();
    queues_[queue].Unexpect(bulk, 1);
    thread_policy_.Leave(1, now);
    UnlockAndWakeWorker(lock, now);
  }

  // One more queue, with the options of the others; its number. The queues before it are 0 to that.
  std::size_t AddQueue() {
    const std::lock_guard lock(mutex_);
    queues_.emplace_back(options_.queue);
    thread_policy_.AddQueue();
    return queues_.size() - 1;
  }

  // Of a queue's batches from now on, in the place of what the options say. REQUIRES: >= 1.
  void SetMaxBatchSize(std::size_t queue, std::size_t size) {
    const std::lock_guard lock(mutex_);
    queues_[queue].SetMaxBatchSize(size);
  }

  // Runs `errand` on a worker's own thread, between two of its batches, and returns when it has
  // run. It comes before what is queued, and holds one core, as a batch with threads = 1 does;
  // after it the worker serves a queue again before the next errand. Several callers take turns.
  // `errand` must not throw, and must not call RunOn.
  // REQUIRES: 0 <= worker < options.workers; not called from Run, nor while this is destroyed.
  void RunOn(int worker, const std::function<void()>& errand) {
    const std::lock_guard turn(errand_mutex_);
    std::unique_lock lock(mutex_);
    errand_ = Errand{.worker = worker, .run = &errand};
    Ring(bells_[static_cast<std::size_t>(worker)]);
    errand_ran_.wait(lock, [this] { return !errand_.has_value(); });
  }

  // To be called after an item's `cancelled` turned true. Never blocks for long; safe inside a
  // std::stop_callback.
  void SweepCancelled() {
    {
      const std::lock_guard lock(mutex_);
      sweep_ = true;
    }
    attention_.notify_one();
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Tells a worker to look at the queues again.
  struct Bell {
    std::condition_variable rings;
    bool awaited = false;  // guarded by mutex_
  };

  // Something else that a worker shall do.
  struct Errand {
    int worker = 0;
    const std::function<void()>* run = nullptr;
    bool running = false;
    bool needs_core = false;  // its worker is idle, and no core is free
  };

  BatchScheduler(const BatchSchedulerOptions& options, MakeWorker make_worker, Abandon abandon)
      : options_(options),
        make_worker_(std::move(make_worker)),
        abandon_(std::move(abandon)),
        queues_(options.queues, BatchQueue<T>(options.queue)),
        thread_policy_(options.queues, std::max(options.cores, 1)),
        free_cores_(options.cores),
        bells_(static_cast<std::size_t>(std::max(options.workers, 0))) {}

  absl::Status StartThreads() {
    try {
      watcher_ = std::jthread([this] { Watch(); });
      for (int i = 0; i < options_.workers; ++i) {
        workers_.emplace_back([this, i] { MakeAndServe(i); });
      }
    } catch (const std::system_error& error) {
      return absl::ResourceExhaustedError(error.what());
    }
    std::unique_lock lock(mutex_);
    started_.wait(lock, [this] { return made_ == options_.workers; });
    return start_status_;
  }

  void MakeAndServe(int index) {
    absl::StatusOr<std::unique_ptr<BatchWorker<T>>> worker = make_worker_(index);
    {
      const std::lock_guard lock(mutex_);
      ++made_;
      if (worker.ok()) ++idle_;  // from here on, so that all are when Start returns
      start_status_.Update(worker.status());
      started_.notify_one();
    }
    if (worker.ok()) Serve(**worker, index);
  }

  // A worker's life: an errand, where there is one; plan, take, run; or wait. It is idle when this
  // begins and ends.
  void Serve(BatchWorker<T>& worker, int index) {
    Bell& bell = bells_[static_cast<std::size_t>(index)];
    std::unique_lock lock(mutex_);
    for (;;) {
      RunErrandOf(index, lock);
      const TimePoint now = Clock::now();
      const BatchPlan plan = Plan(now);
      if (plan.queue.has_value()) {
        TakeAndRun(worker, plan, now, lock);
      } else if (closing_ && Empty()) {
        break;
      } else {
        WaitForWork(bell, lock, plan.ask_again);
      }
    }
    --idle_;
    RingEveryBell();  // those that waited for a core see that there is nothing left
  }

  void TakeAndRun(BatchWorker<T>& worker, const BatchPlan& plan, TimePoint now,
                  std::unique_lock<std::mutex>& lock) {
    Batch<T> batch = queues_[*plan.queue].Take(plan.limit, now);
    thread_policy_.Leave(batch.abandoned.size(), now);
    --idle_;
    if (batch.ready.empty()) {
      UnlockAndWakeWorker(lock, now);
      HandBack(std::move(batch.abandoned));
      lock.lock();
    } else {
      RunBatch(worker, plan, std::move(batch), now, lock);
    }
    ++idle_;
    if (ErrandNeedsCore()) Ring(bells_[static_cast<std::size_t>(errand_->worker)]);
  }

  // REQUIRES: the batch has ready items.
  void RunBatch(BatchWorker<T>& worker, const BatchPlan& plan, Batch<T> batch, TimePoint now,
                std::unique_lock<std::mutex>& lock) {
    const std::size_t queue = *plan.queue;
    const std::size_t items = batch.ready.size();
    const int threads = thread_policy_.Choose(queue, plan.threads);
    const int cores = options_.cores > 0 ? threads : 0;
    free_cores_ -= cores;
    UnlockAndWakeWorker(lock, now);  // what is left is for another worker
    HandBack(std::move(batch.abandoned));
    worker.Run(queue, std::move(batch.ready), threads);
    lock.lock();
    const TimePoint end = Clock::now();
    thread_policy_.Ran(queue, items, threads, end - now);
    thread_policy_.Leave(items, end);
    free_cores_ += cores;
    if (cores > 0) {
      UnlockAndWakeWorker(lock, end);
    } else {
      lock.unlock();
    }
    worker.Deliver();
    lock.lock();
  }

  // Then the next free core is its worker's.
  bool ErrandNeedsCore() const {
    return errand_.has_value() && !errand_->running && errand_->needs_core;
  }

  int ErrandCores() const { return options_.cores > 0 ? 1 : 0; }

  // Runs the errand, if it is this worker's and there is a core for it.
  void RunErrandOf(int worker, std::unique_lock<std::mutex>& lock) {
    if (!errand_.has_value() || errand_->running || errand_->worker != worker) return;
    const int cores = ErrandCores();
    errand_->needs_core = free_cores_ < cores;
    if (errand_->needs_core) return;
    errand_->running = true;
    const std::function<void()>& run = *errand_->run;
    --idle_;
    free_cores_ -= cores;
    UnlockAndWakeWorker(lock, Clock::now());  // whatever time this worker kept, another one keeps
    run();
    lock.lock();
    free_cores_ += cores;
    ++idle_;
    errand_.reset();
    errand_ran_.notify_one();
  }

  // Of the waiting workers one keeps the time; the others sleep until they are called.
  void WaitForWork(Bell& bell, std::unique_lock<std::mutex>& lock, TimePoint ask_again) {
    bell.awaited = true;
    if (ask_again >= alarm_) {
      bell.rings.wait(lock);
    } else {
      alarm_ = ask_again;
      bell.rings.wait_until(lock, ask_again);
      alarm_ = TimePoint::max();
    }
    bell.awaited = false;
  }

  // Calls one waiting worker if there is something to take, or an earlier time to keep. A worker
  // that takes something calls the next. The call is made without the lock, which the worker takes
  // as soon as it is awake.
  void UnlockAndWakeWorker(std::unique_lock<std::mutex>& lock, TimePoint now) {
    Bell* const bell = WorkerToWake(now);
    lock.unlock();
    if (bell != nullptr) bell->rings.notify_one();
  }

  Bell* WorkerToWake(TimePoint now) {
    if (idle_ == 0) return nullptr;
    const BatchPlan plan = Plan(now);
    if (!plan.queue.has_value() && plan.ask_again >= alarm_) return nullptr;
    const auto first = std::ranges::find_if(bells_, &Bell::awaited);
    if (first == bells_.end()) return nullptr;
    first->awaited = false;  // the next call goes to another worker
    return &*first;
  }

  static void Ring(Bell& bell) {
    bell.awaited = false;  // the next one goes to another worker
    bell.rings.notify_one();
  }

  void RingEveryBell() {
    for (Bell& bell : bells_) Ring(bell);
  }

  BatchPlan Plan(TimePoint now) const {
    BatchCapacity capacity;
    capacity.idle_workers = idle_;
    capacity.busy_workers = options_.workers - idle_;
    if (options_.cores > 0) {
      capacity.free_cores = std::max(free_cores_ - (ErrandNeedsCore() ? ErrandCores() : 0), 0);
    }
    capacity.closing = closing_;
    return PlanBatch<T>(queues_, capacity, now);
  }

  bool Empty() const {
    return std::all_of(queues_.begin(), queues_.end(),
                       [](const BatchQueue<T>& queue) { return queue.empty(); });
  }

  void Push(std::size_t queue, T item, TimePoint now) {
    // An item cancelled on its way here was missed by the sweep that its cancellation caused.
    if (item.cancelled()) sweep_ = true;
    if (sweep_ || item.deadline() < watched_until_) attention_.notify_one();
    queues_[queue].Push(std::move(item), now);
  }

  // The watcher's life: at each deadline, and after each cancellation, hand back what is abandoned.
  void Watch() {
    std::unique_lock lock(mutex_);
    while (!closed_) {
      const TimePoint now = Clock::now();
      const TimePoint next = NextExpiry();
      if (!sweep_ && now < next) {
        WaitForAttention(lock, next);
        continue;
      }
      sweep_ = false;
      std::vector<Abandoned<T>> abandoned;
      for (BatchQueue<T>& queue : queues_) {
        std::ranges::move(queue.TakeAbandoned(now), std::back_inserter(abandoned));
      }
      thread_policy_.Leave(abandoned.size(), now);
      lock.unlock();
      HandBack(std::move(abandoned));
      lock.lock();
    }
  }

  TimePoint NextExpiry() const {
    TimePoint next = TimePoint::max();
    for (const BatchQueue<T>& queue : queues_) next = std::min(next, queue.NextExpiry());
    return next;
  }

  void WaitForAttention(std::unique_lock<std::mutex>& lock, TimePoint next) {
    watched_until_ = next;
    if (next == TimePoint::max()) {
      attention_.wait(lock);
    } else {
      attention_.wait_until(lock, next);
    }
    watched_until_ = TimePoint::min();  // awake: it looks at everything before it waits again
  }

  void HandBack(std::vector<Abandoned<T>> abandoned) {
    for (Abandoned<T>& item : abandoned) abandon_(std::move(item));
  }

  const BatchSchedulerOptions options_;
  const MakeWorker make_worker_;
  const Abandon abandon_;

  std::mutex mutex_;
  std::condition_variable attention_;   // for the watcher
  std::condition_variable started_;     // for Start
  std::condition_variable errand_ran_;  // for RunOn
  std::mutex errand_mutex_;             // one RunOn at a time; taken before mutex_
  // All below are guarded by mutex_.
  std::vector<BatchQueue<T>> queues_;
  ThreadPolicy thread_policy_;
  int idle_ = 0;
  int free_cores_ = 0;
  std::vector<Bell> bells_;                     // by worker
  TimePoint alarm_ = TimePoint::max();          // the time that a waiting worker keeps
  TimePoint watched_until_ = TimePoint::min();  // the time that the waiting watcher keeps
  std::optional<Errand> errand_;                // that waits for its worker, or runs
  bool sweep_ = false;
  bool closing_ = false;  // workers leave when the queues are empty
  bool closed_ = false;   // the watcher leaves
  int made_ = 0;
  absl::Status start_status_;

  // Last members: the threads use all of the above.
  std::jthread watcher_;
  std::vector<std::jthread> workers_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_BATCHING_BATCHING_H_
