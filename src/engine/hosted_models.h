// The models that are in the engine, by number, and who still needs them.
#ifndef PIXEMBED_SRC_ENGINE_HOSTED_MODELS_H_
#define PIXEMBED_SRC_ENGINE_HOSTED_MODELS_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "src/engine/engine.h"
#include "src/engine/service_rate.h"
#include "src/model/model.h"

namespace pixembed {

// What the engine knows of one model.
struct HostedModel {
  HostedModel(std::size_t its_number, std::shared_ptr<const Model> its_model, std::size_t its_queue,
              std::size_t max_batch_size)
      : number(its_number), model(std::move(its_model)), queue(its_queue), rate(max_batch_size) {}

  const std::size_t number;
  const std::shared_ptr<const Model> model;
  const std::size_t queue;  // of the inference stage
  ServiceRate rate;
  // Images in line or inside that no batch has taken yet.
  std::atomic<std::size_t> online_waiting = 0;
  std::atomic<std::size_t> bulk_waiting = 0;

  std::atomic<std::size_t>& Waiting(Lane lane) {
    return lane == Lane::kBulk ? bulk_waiting : online_waiting;
  }
};

// Thread-safe.
class HostedModels {
 public:
  // A hold on a model; copies are holds, too. It stays in the table while there is one.
  using Lease = std::shared_ptr<HostedModel>;

  // Its number: 0, 1, 2, ... in the order of the calls. `max_batch_size`: of its images.
  std::size_t Add(std::shared_ptr<const Model> model, std::size_t queue,
                  std::size_t max_batch_size);

  // Nothing where there is none of that number, or Remove was called for it.
  Lease Find(std::size_t number) const;

  // From now on Find does not find it. Waits until no lease is left, and takes it out of the table.
  // Nothing where Find would find nothing. REQUIRES: the caller holds no lease.
  std::unique_ptr<HostedModel> Remove(std::size_t number);

  // Calls `visit` for each model in the table, under a lock: those that are being removed, too.
  void ForEach(const std::function<void(const HostedModel&)>& visit) const;

 private:
  struct Entry {
    std::unique_ptr<HostedModel> hosted;
    std::shared_ptr<std::latch> unused;  // open when no lease is left
    Lease lease;                         // the table's own; gone when it is being removed
  };

  mutable std::mutex mutex_;
  std::map<std::size_t, Entry> entries_;  // guarded by mutex_
  std::size_t next_number_ = 0;           // guarded by mutex_
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_HOSTED_MODELS_H_
