// What a server loads models from at run time, in tests: fakes by name, whose loading can be held,
// made to fail, and counted.
#ifndef PIXEMBED_TESTS_SERVER_FAKE_SHELF_H_
#define PIXEMBED_TESTS_SERVER_FAKE_SHELF_H_

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/model_repository.h"
#include "src/model/model.h"
#include "tests/model/fake_model.h"

namespace pixembed {

// Outlives the server. Thread-safe.
class FakeShelf {
 public:
  explicit FakeShelf(std::vector<std::string> names) : names_(std::move(names)) {}

  ModelControl control() {
    return {.names =
                [this] {
                  const std::lock_guard lock(mutex_);
                  return names_;
                },
            .load = [this](const std::string& name, const std::stop_token&) { return Load(name); },
            .log = [](const std::string&) {}};
  }

  void SetNames(std::vector<std::string> names) {
    const std::lock_guard lock(mutex_);
    names_ = std::move(names);
  }
  // What the fingerprint of a model that is loaded from now on is made from; its name at first.
  void SetSeed(const std::string& name, const std::string& seed) {
    const std::lock_guard lock(mutex_);
    seeds_[name] = seed;
  }
  // The next load fails.
  void FailNext(absl::Status status) {
    const std::lock_guard lock(mutex_);
    failure_ = std::move(status);
  }
  // The next load gives a model that fails when it is warmed up.
  void FailNextWarmUp(absl::Status status) {
    const std::lock_guard lock(mutex_);
    warm_up_failure_ = std::move(status);
  }

  // Loads that begin from now on wait.
  void Hold() { gate_.Hold(); }
  void AwaitHeld(int loads) { gate_.AwaitHeld(loads); }
  void LetGo() { gate_.LetGo(); }

  // Loads that have begun.
  std::size_t loads() const {
    const std::lock_guard lock(mutex_);
    return loads_;
  }
  // The last model that was loaded under a name; nullptr if it is gone.
  std::shared_ptr<const FakeModel> last(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    return models_.at(name).lock();
  }

 private:
  absl::StatusOr<std::shared_ptr<const Model>> Load(const std::string& name) {
    {
      const std::lock_guard lock(mutex_);
      ++loads_;
    }
    gate_.Pass();
    const std::lock_guard lock(mutex_);
    if (failure_.has_value()) return *std::exchange(failure_, std::nullopt);
    const auto seed = seeds_.find(name);
    auto model = std::make_shared<const FakeModel>(
        FakeModelOptions{.fingerprint_seed = seed == seeds_.end() ? name : seed->second});
    if (warm_up_failure_.has_value()) {
      model->FailNext(*std::exchange(warm_up_failure_, std::nullopt));
    }
    models_[name] = model;
    return model;
  }

  Gate gate_;
  mutable std::mutex mutex_;
  // All below are guarded by mutex_.
  std::vector<std::string> names_;
  std::map<std::string, std::string> seeds_;
  std::optional<absl::Status> failure_;
  std::optional<absl::Status> warm_up_failure_;
  std::size_t loads_ = 0;
  std::map<std::string, std::weak_ptr<const FakeModel>> models_;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_FAKE_SHELF_H_
