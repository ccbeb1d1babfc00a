// An engine that a test can wait for: it passes everything on, and tells what went by.
#ifndef PIXEMBED_TESTS_SERVER_OBSERVED_ENGINE_H_
#define PIXEMBED_TESTS_SERVER_OBSERVED_ENGINE_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/model/model.h"

namespace pixembed {

class ObservedEngine final : public Engine {
 public:
  explicit ObservedEngine(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}

  // What the last submitted item carried besides its image.
  struct Seen {
    Lane lane = Lane::kOnline;
    TimePoint deadline;
    std::stop_token stop;
    OutputSpec output;
    DecodePolicy policy;
  };

  // Blocks until so many images were submitted, in whatever way, admitted or not.
  void AwaitSubmitted(std::size_t images) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return submitted_ >= images; });
  }
  std::size_t submitted() const {
    const std::lock_guard lock(mutex_);
    return submitted_;
  }
  Seen last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  // Blocks until Drain was called; whoever submits after that is refused.
  void AwaitDrainBegun() const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return draining_; });
  }

  absl::StatusOr<std::size_t> Add(std::shared_ptr<const Model> model) override {
    return engine_->Add(std::move(model));
  }
  absl::Status Remove(std::size_t model) override { return engine_->Remove(model); }
  absl::Status Submit(std::size_t model, std::vector<Item> items) override {
    const std::size_t count = See(items);
    if (drain_begun()) return MakeError(Reason::kDraining, "draining");
    absl::Status status = engine_->Submit(model, std::move(items));
    Count(count);
    return status;
  }
  void SubmitWhenRoom(std::size_t model, std::vector<Item> items,
                      absl::AnyInvocable<void(absl::Status)> admitted) override {
    const std::size_t count = See(items);
    if (drain_begun()) return admitted(MakeError(Reason::kDraining, "draining"));
    engine_->SubmitWhenRoom(model, std::move(items), std::move(admitted));
    Count(count);
  }
  std::chrono::milliseconds RetryDelay() const override { return engine_->RetryDelay(); }
  absl::Status Drain(TimePoint deadline) override {
    {
      const std::lock_guard lock(mutex_);
      draining_ = true;
      changed_.notify_all();
    }
    return engine_->Drain(deadline);
  }
  EngineStats stats() const override { return engine_->stats(); }
  const EngineOptions& options() const override { return engine_->options(); }
  std::shared_ptr<const Model> model(std::size_t number) const override {
    return engine_->model(number);
  }

 private:
  bool drain_begun() const {
    const std::lock_guard lock(mutex_);
    return draining_;
  }
  std::size_t See(const std::vector<Item>& items) {
    const std::lock_guard lock(mutex_);
    const Item& item = items.back();
    last_ = {item.lane, item.deadline, item.stop, item.output, item.policy};
    return items.size();
  }
  void Count(std::size_t images) {
    const std::lock_guard lock(mutex_);
    submitted_ += images;
    changed_.notify_all();
  }

  const std::unique_ptr<Engine> engine_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::size_t submitted_ = 0;
  bool draining_ = false;
  Seen last_;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_OBSERVED_ENGINE_H_
