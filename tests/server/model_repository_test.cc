#include "server/model_repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/model/fake_model.h"
#include "tests/server/fake_shelf.h"

namespace pixembed {
namespace {

using State = ModelRepository::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ModelRepositoryTest : public ::testing::Test {
 protected:
  ~ModelRepositoryTest() override { shelf_.LetGo(); }

  // Serves "first", and may load what is on the shelf.
  void Open(bool controlled = true) {
    EngineOptions options;
    options.cores = 1;
    auto engine = Engine::Start({std::make_shared<FakeModel>()}, options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    repository_ = std::make_unique<ModelRepository>(
        *engine_, std::vector<std::string>{"first"}, RequestLimits(),
        controlled ? std::optional(shelf_.control()) : std::nullopt,
        ModelRepository::Listener{.on_change =
                                      [this](const std::string& name, bool served) {
                                        const std::lock_guard lock(mutex_);
                                        changes_.push_back(name + (served ? "+" : "-"));
                                      },
                                  .on_enter =
                                      [this](std::size_t number, const std::string& name) {
                                        const std::lock_guard lock(mutex_);
                                        numbers_.push_back(name + " enters as " +
                                                           std::to_string(number));
                                      },
                                  .on_leave =
                                      [this](std::size_t number) {
                                        const std::lock_guard lock(mutex_);
                                        numbers_.push_back(std::to_string(number) + " leaves");
                                      }});
  }

  std::future<absl::Status> LoadAsync(const std::string& name) {
    auto done = std::make_shared<std::promise<absl::Status>>();
    repository_->Load(name, [done](absl::Status status) { done->set_value(std::move(status)); });
    return done->get_future();
  }
  absl::Status Load(const std::string& name) { return LoadAsync(name).get(); }
  absl::Status Unload(const std::string& name) {
    std::promise<absl::Status> done;
    repository_->Unload(name, [&done](absl::Status status) { done.set_value(std::move(status)); });
    return done.get_future().get();
  }
  // "name STATE reason" of each model.
  std::vector<std::string> Index() {
    std::promise<std::vector<ModelRepository::Row>> listed;
    repository_->Index(
        [&listed](std::vector<ModelRepository::Row> rows) { listed.set_value(std::move(rows)); });
    std::vector<std::string> lines;
    for (const ModelRepository::Row& row : listed.get_future().get()) {
      lines.push_back(row.name + " " + StateName(row.state) + " " + row.reason);
    }
    return lines;
  }
  std::string Refusal(const std::string& name) {
    const auto found = repository_->served()->Find(name);
    EXPECT_EQ(ReasonOf(found.status()), Reason::kUnknownModel);
    return std::string(found.status().message());
  }

  FakeShelf shelf_{{"first", "second"}};
  std::unique_ptr<Engine> engine_;
  std::mutex mutex_;
  std::vector<std::string> changes_;  // guarded by mutex_
  std::vector<std::string> numbers_;  // guarded by mutex_
  std::unique_ptr<ModelRepository> repository_;
};

TEST_F(ModelRepositoryTest, WithoutControlThereIsWhatThereIs) {
  Open(/*controlled=*/false);
  EXPECT_FALSE(repository_->controlled());
  EXPECT_THAT(Index(), ElementsAre("first READY "));
  EXPECT_EQ((*repository_->served()->Find(""))->name(), "first");
  EXPECT_THAT(Refusal("second"),
              HasSubstr("no model named \"second\" is served; there are: first"));
}

TEST_F(ModelRepositoryTest, AModelIsLoadedReloadedAndUnloaded) {
  Open();
  EXPECT_THAT(Index(), ElementsAre("first READY ", "second UNAVAILABLE not loaded"));
  EXPECT_THAT(Refusal("second"), HasSubstr("model \"second\" is not served: not loaded"));
  ASSERT_TRUE(Load("second").ok());
  EXPECT_THAT(Index(), ElementsAre("first READY ", "second READY "));
  const std::size_t number = (*repository_->served()->Find("second"))->index();
  ASSERT_TRUE(Load("second").ok());
  EXPECT_NE((*repository_->served()->Find("second"))->index(), number);
  EXPECT_EQ(shelf_.loads(), 2U);
  ASSERT_TRUE(Unload("second").ok());
  EXPECT_EQ(shelf_.last("second"), nullptr);
  EXPECT_THAT(Index(), ElementsAre("first READY ", "second UNAVAILABLE unloaded"));
  EXPECT_THAT(Refusal("second"), HasSubstr("is not served: unloaded; there are: first"));
  EXPECT_TRUE(Unload("second").ok());
  repository_.reset();
  EXPECT_THAT(changes_, ElementsAre("first+", "second-", "second+", "second+", "second-"));
  EXPECT_THAT(numbers_, ElementsAre("first enters as 0", "second enters as 1", "second enters as 2",
                                    "1 leaves", "2 leaves"));
}

TEST_F(ModelRepositoryTest, OfAReloadedModelNothingOfTheOldOneIsLeft) {
  Open();
  ASSERT_TRUE(Load("second").ok());
  const std::weak_ptr<const FakeModel> old = shelf_.last("second");
  ASSERT_TRUE(Load("second").ok());
  ASSERT_TRUE(Unload("first").ok());  // whose turn comes when the old one is gone
  EXPECT_TRUE(old.expired());
  EXPECT_NE(shelf_.last("second"), nullptr);
}

TEST_F(ModelRepositoryTest, TheDefaultModelStaysTheFirstWhetherItIsServedOrNot) {
  Open();
  ASSERT_TRUE(Load("second").ok());
  ASSERT_TRUE(Unload("first").ok());
  EXPECT_THAT(Refusal(""), HasSubstr("the default model \"first\" is not served: unloaded"));
  ASSERT_TRUE(Unload("second").ok());
  EXPECT_THAT(Refusal(""), HasSubstr("there is none"));
  ASSERT_TRUE(Load("first").ok());
  EXPECT_EQ((*repository_->served()->Find(""))->name(), "first");
}

TEST_F(ModelRepositoryTest, AServerThatBeganWithNothingHasNoDefault) {
  EngineOptions options;
  options.cores = 1;
  options.devices = {Device{}};
  engine_ = *Engine::Start({}, options);
  repository_ = std::make_unique<ModelRepository>(
      *engine_, std::vector<std::string>(), RequestLimits(), shelf_.control(),
      ModelRepository::Listener{.on_change = [](const std::string&, bool) {}});
  EXPECT_THAT(Refusal(""), HasSubstr("has no default model"));
  ASSERT_TRUE(Load("first").ok());
  EXPECT_TRUE(repository_->served()->Find("first").ok());
  EXPECT_THAT(Refusal(""), HasSubstr("has no default model; there are: first"));
}

TEST_F(ModelRepositoryTest, WhatIsNotConfiguredIsNeitherLoadedNorUnloaded) {
  Open();
  EXPECT_EQ(ReasonOf(Load("third")), Reason::kUnknownModel);
  EXPECT_EQ(ReasonOf(Unload("../second")), Reason::kUnknownModel);
  EXPECT_EQ(shelf_.loads(), 0U);
}

TEST_F(ModelRepositoryTest, TheIndexFollowsTheNamesAndKeepsWhatIsServed) {
  Open();
  shelf_.SetNames({"third", "fourth"});
  EXPECT_THAT(Index(), ElementsAre("first READY ", "third UNAVAILABLE not loaded",
                                   "fourth UNAVAILABLE not loaded"));
  shelf_.SetNames({});
  EXPECT_THAT(Index(), ElementsAre("first READY "));
  ASSERT_TRUE(Unload("first").ok());
  EXPECT_THAT(Index(), ::testing::IsEmpty());
}

TEST_F(ModelRepositoryTest, AFailureIsToldAndChangesNothing) {
  Open();
  shelf_.FailNext(MakeError(Reason::kCheckpointCorrupt, "no weights"));
  EXPECT_EQ(ReasonOf(Load("second")), Reason::kCheckpointCorrupt);
  EXPECT_THAT(Index()[1], "second UNAVAILABLE loading failed: no weights");
  const std::size_t number = (*repository_->served()->Find("first"))->index();
  shelf_.FailNextWarmUp(MakeError(Reason::kDeviceFailure, "no luck"));
  EXPECT_EQ(ReasonOf(Load("first")), Reason::kDeviceFailure);
  EXPECT_EQ((*repository_->served()->Find("first"))->index(), number);
  EXPECT_THAT(Index()[0], HasSubstr("first READY the model loaded before is served: "));
  EXPECT_THAT(Index()[0], HasSubstr("no luck"));
  EXPECT_EQ(shelf_.last("first"), nullptr);
  ASSERT_TRUE(Load("first").ok());
  EXPECT_EQ(Index()[0], "first READY ");
}

TEST_F(ModelRepositoryTest, OneIsLoadedAfterTheOtherAndTheIndexTellsMeanwhile) {
  Open();
  shelf_.Hold();
  auto first = LoadAsync("first");
  auto second = LoadAsync("second");
  shelf_.AwaitHeld(1);
  EXPECT_EQ(shelf_.loads(), 1U);
  EXPECT_THAT(Index(),
              ElementsAre("first READY it is being reloaded", "second UNAVAILABLE not loaded"));
  shelf_.LetGo();
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
  shelf_.Hold();
  ASSERT_TRUE(Unload("second").ok());
  auto again = LoadAsync("second");
  shelf_.AwaitHeld(1);
  EXPECT_EQ(Index()[1], "second LOADING ");
  EXPECT_THAT(Refusal("second"), HasSubstr("it is being loaded"));
  shelf_.LetGo();
  EXPECT_TRUE(again.get().ok());
}

TEST_F(ModelRepositoryTest, AnUnloadWaitsForWhoeverIsAboutToSubmit) {
  Open();
  std::shared_ptr<const ServedModel> planned = *repository_->served()->Find("first");
  std::promise<absl::Status> unloaded;
  repository_->Unload("first",
                      [&unloaded](absl::Status status) { unloaded.set_value(std::move(status)); });
  while (repository_->served()->Find("first").ok()) std::this_thread::yield();
  EXPECT_EQ(Index()[0], "first UNLOADING ");
  EXPECT_NE(engine_->model(planned->index()), nullptr);  // it can still be submitted to
  planned.reset();
  EXPECT_TRUE(unloaded.get_future().get().ok());
}

TEST_F(ModelRepositoryTest, MoreThanMayWaitIsRefused) {
  Open();
  shelf_.Hold();
  auto running = LoadAsync("second");
  shelf_.AwaitHeld(1);
  std::vector<std::future<absl::Status>> waiting;
  waiting.reserve(ModelRepository::kMaxWaiting);
  for (std::size_t i = 0; i < ModelRepository::kMaxWaiting; ++i) {
    waiting.push_back(LoadAsync("second"));
  }
  EXPECT_EQ(ReasonOf(Load("second")), Reason::kOverloaded);
  EXPECT_EQ(ReasonOf(Unload("second")), Reason::kOverloaded);
  shelf_.LetGo();
  EXPECT_TRUE(running.get().ok());
  for (auto& one : waiting) EXPECT_TRUE(one.get().ok());
}

TEST_F(ModelRepositoryTest, WhenItIsClosedEverybodyHearsAtOnce) {
  Open();
  shelf_.Hold();
  auto running = LoadAsync("second");
  auto waiting = LoadAsync("first");
  shelf_.AwaitHeld(1);
  repository_->Close();
  EXPECT_EQ(ReasonOf(running.get()), Reason::kDraining);
  EXPECT_EQ(ReasonOf(waiting.get()), Reason::kDraining);
  EXPECT_EQ(ReasonOf(Load("second")), Reason::kDraining);
  EXPECT_EQ(ReasonOf(Unload("second")), Reason::kDraining);
  EXPECT_THAT(Index()[1], HasSubstr("second LOADING"));
  EXPECT_TRUE(repository_->served()->Find("first").ok());  // serving goes on
  shelf_.LetGo();
  repository_->Close();
  repository_.reset();
  EXPECT_EQ(shelf_.loads(), 1U);
}

}  // namespace
}  // namespace pixembed
