// What engine tests share: an engine on fakes, and a place where the results arrive.
#ifndef PIXEMBED_TESTS_ENGINE_ENGINE_FIXTURE_H_
#define PIXEMBED_TESTS_ENGINE_ENGINE_FIXTURE_H_

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/engine/start.h"
#include "src/error/error.h"
#include "tests/engine/fake_decoder.h"
#include "tests/model/fake_model.h"

namespace pixembed {

// Bytes that keep themselves alive.
inline EncodedImage Encoded(const std::string& text) {
  const auto owner = std::make_shared<const std::string>(text);
  return {std::as_bytes(std::span(*owner)), owner};
}

// Where results arrive, by name. Thread-safe.
class Inbox {
 public:
  // An item that answers here under `name`. Answering twice is a test failure.
  Item Expect(const std::string& name, const std::string& encoded) {
    Item item;
    item.image = Encoded(encoded);
    item.done = [this, name](absl::StatusOr<Outcome> outcome) { Put(name, std::move(outcome)); };
    return item;
  }
  // As above, named by its bytes.
  Item Expect(const std::string& encoded) { return Expect(encoded, encoded); }

  void Put(const std::string& name, absl::StatusOr<Outcome> outcome) {
    const std::lock_guard lock(mutex_);
    order_.push_back(name);
    EXPECT_TRUE(results_.emplace(name, std::move(outcome)).second) << name << " came twice";
    changed_.notify_all();
  }

  // Blocks until so many results are here.
  void Await(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return results_.size() >= count; });
  }
  // Blocks until this result is here.
  absl::StatusOr<Outcome> Await(const std::string& name) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return results_.contains(name); });
    return results_.at(name);
  }
  std::optional<Reason> AwaitReason(const std::string& name) {
    return ReasonOf(Await(name).status());
  }

  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return results_.size();
  }
  bool Has(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    return results_.contains(name);
  }
  std::vector<std::string> order() const {
    const std::lock_guard lock(mutex_);
    return order_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, absl::StatusOr<Outcome>> results_;
  std::vector<std::string> order_;
};

// The first number of a FLOAT32 vector.
inline float FirstValue(const absl::StatusOr<Outcome>& outcome) {
  float value = 0;
  if (outcome.ok()) std::memcpy(&value, outcome->embedding.values.data(), sizeof(value));
  return value;
}

template <typename... Items>
std::vector<Item> Call(Items... items) {
  std::vector<Item> call;
  (call.push_back(std::move(items)), ...);
  return call;
}

class EngineTest : public ::testing::Test {
 protected:
  static constexpr int kCores = 2;

  EngineTest() = default;
  ~EngineTest() override {
    LetEverythingGo();
    engine_.reset();
  }

  void LetEverythingGo() {
    decoder_.gate().LetGo();
    for (const auto& model : models_) model->LetGo();
  }

  void Start(EngineOptions options = {}) {
    const std::vector<std::shared_ptr<const Model>> models(models_.begin(), models_.end());
    absl::StatusOr<std::unique_ptr<Engine>> engine =
        StartEngine(models, std::move(options), kCores, decoder_.decoder());
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    warm_up_calls_ = model().calls().size();
  }

  FakeModel& model(std::size_t i = 0) { return *models_.at(i); }

  // The calls of the model since Start.
  std::vector<FakeModel::Call> Calls() {
    std::vector<FakeModel::Call> calls = model().calls();
    calls.erase(calls.begin(), calls.begin() + static_cast<std::ptrdiff_t>(warm_up_calls_));
    return calls;
  }

  // On a CPU: a lone batch, held, has every core. What is submitted next stays queued.
  void OccupyWorkers() {
    model().Hold();
    ASSERT_TRUE(engine_->Submit(0, Call(inbox_.Expect("busy", "1"))).ok());
    model().AwaitHeld(1);
  }

  FakeDecoder decoder_;
  std::vector<std::shared_ptr<FakeModel>> models_ = {std::make_shared<FakeModel>()};
  Inbox inbox_;
  std::unique_ptr<Engine> engine_;
  std::size_t warm_up_calls_ = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_ENGINE_ENGINE_FIXTURE_H_
