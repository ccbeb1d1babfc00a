#include "src/engine/hosted_models.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "tests/model/fake_model.h"

namespace pixembed {
namespace {

constexpr std::size_t kMaxBatch = 4;

std::vector<std::size_t> QueuesOf(const HostedModels& models) {
  std::vector<std::size_t> queues;
  models.ForEach([&queues](const HostedModel& model) { queues.push_back(model.queue); });
  return queues;
}

TEST(HostedModels, NumbersModelsInTheirOrderAndNeverTwice) {
  HostedModels models;
  const auto first = std::make_shared<FakeModel>();
  EXPECT_EQ(models.Add(first, 7, kMaxBatch), 0U);
  EXPECT_EQ(models.Add(std::make_shared<FakeModel>(), 8, kMaxBatch), 1U);
  EXPECT_EQ(models.Find(0)->model, first);
  EXPECT_EQ(models.Find(0)->queue, 7U);
  EXPECT_EQ(models.Find(2), nullptr);
  EXPECT_NE(models.Remove(1), nullptr);
  EXPECT_EQ(models.Find(1), nullptr);
  EXPECT_EQ(models.Add(std::make_shared<FakeModel>(), 8, kMaxBatch), 2U);
}

TEST(HostedModels, WhatIsNotThereIsNotRemoved) {
  HostedModels models;
  EXPECT_EQ(models.Remove(0), nullptr);
  models.Add(std::make_shared<FakeModel>(), 0, kMaxBatch);
  EXPECT_NE(models.Remove(0), nullptr);
  EXPECT_EQ(models.Remove(0), nullptr);
}

TEST(HostedModels, ARemovedModelIsTheCallersAlone) {
  HostedModels models;
  auto model = std::make_shared<FakeModel>();
  const std::weak_ptr<FakeModel> seen = model;
  models.Add(std::move(model), 0, kMaxBatch);
  auto removed = models.Remove(0);
  EXPECT_FALSE(seen.expired());
  removed.reset();
  EXPECT_TRUE(seen.expired());
}

TEST(HostedModels, RemoveWaitsForEveryLeaseAndTheModelCountsUntilThen) {
  HostedModels models;
  models.Add(std::make_shared<FakeModel>(), 5, kMaxBatch);
  HostedModels::Lease lease = models.Find(0);
  HostedModels::Lease copy = lease;
  std::atomic<bool> given_back = false;
  auto removal = std::async(std::launch::async, [&] {
    const auto removed = models.Remove(0);
    EXPECT_TRUE(given_back);
    return removed != nullptr;
  });
  while (models.Find(0) != nullptr) std::this_thread::yield();
  EXPECT_EQ(QueuesOf(models), std::vector<std::size_t>({5}));
  EXPECT_EQ(models.Remove(0), nullptr);  // somebody is at it
  lease->online_waiting = 1;             // it is whole
  lease.reset();
  given_back = true;
  copy.reset();
  EXPECT_TRUE(removal.get());
  EXPECT_TRUE(QueuesOf(models).empty());
}

}  // namespace
}  // namespace pixembed
