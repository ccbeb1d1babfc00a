#include "src/model/kernel_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <latch>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace pixembed {
namespace {

using testing::ElementsAre;
using testing::Optional;

constexpr float kFails = std::numeric_limits<float>::infinity();

// Kernels that take these times, of which all hold but `wrong`.
std::optional<std::size_t> Fastest(const std::vector<float>& times,
                                   const std::vector<std::size_t>& wrong = {}) {
  return FastestKernel(
      times.size(), [&](std::size_t place, int /*calls*/) { return times[place]; },
      [&](std::size_t place) { return !testing::Value(wrong, testing::Contains(place)); });
}

TEST(FastestKernel, IsTheOneOfTheLeastTime) {
  EXPECT_THAT(Fastest({0.3F, 0.2F, 0.1F, 0.4F}), Optional(2U));
  EXPECT_THAT(Fastest({0.1F}), Optional(0U));
}

TEST(FastestKernel, LeavesTheFirstOnlyForAGain) {
  EXPECT_THAT(Fastest({1.0F, 0.99F}), Optional(0U));
  EXPECT_THAT(Fastest({1.0F, 0.97F}), Optional(1U));
  // Another one is not the first because that fails.
  EXPECT_THAT(Fastest({kFails, 1.0F, 0.99F}), Optional(2U));
}

TEST(FastestKernel, IsNoneThatFailsOrDoesNotHold) {
  EXPECT_THAT(Fastest({0.3F, kFails, 0.1F}, {2}), Optional(0U));
  EXPECT_EQ(Fastest({0.3F, 0.2F}, {0, 1}), std::nullopt);
  EXPECT_EQ(Fastest({kFails, kFails}), std::nullopt);
  EXPECT_EQ(Fastest({}), std::nullopt);
}

// One round met something else on the device.
TEST(FastestKernel, TakesTheBestOfSeveralRoundsInTurn) {
  std::vector<std::size_t> order;
  int calls_of_second = 0;
  const auto fastest = FastestKernel(
      2,
      [&](std::size_t place, int /*calls*/) {
        order.push_back(place);
        if (place == 0) return 0.5F;
        return ++calls_of_second == 3 ? 9.0F : 0.4F;
      },
      [](std::size_t /*place*/) { return true; });
  EXPECT_THAT(fastest, Optional(1U));
  EXPECT_THAT(order, ElementsAre(0, 0, 1, 1, 0, 1, 0, 1, 0, 1));
}

TEST(FastestKernel, CallsShortOnesOftenAndLongOnesSeldom) {
  std::vector<int> longest(3);
  (void)FastestKernel(
      3,
      [&](std::size_t place, int calls) {
        longest[place] = std::max(longest[place], calls);
        constexpr float kTimes[] = {0.0F, 0.1F, 5.0F};
        return kTimes[place];
      },
      [](std::size_t /*place*/) { return true; });
  EXPECT_THAT(longest, ElementsAre(20, 10, 3));
}

using Choices = KernelChoices<std::string, std::optional<int>>;

TEST(KernelChoices, AreUnknownFirstAndSearchedForOnce) {
  Choices choices;
  EXPECT_EQ(choices.Find("a"), nullptr);
  int searches = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(choices.FindOrSearch("a", [&] { return std::optional(++searches); }), 1);
  }
  ASSERT_NE(choices.Find("a"), nullptr);
  EXPECT_EQ(*choices.Find("a"), 1);
  EXPECT_EQ(choices.Find("b"), nullptr);
}

TEST(KernelChoices, RememberThatThereIsNone) {
  Choices choices;
  choices.FindOrSearch("a", [] { return std::optional<int>(); });
  ASSERT_NE(choices.Find("a"), nullptr);
  EXPECT_EQ(*choices.Find("a"), std::nullopt);
  EXPECT_EQ(choices.FindOrSearch("a", [] { return std::optional(7); }), std::nullopt);
}

TEST(KernelChoices, RememberNothingOfASearchThatThrows) {
  Choices choices;
  EXPECT_THROW(choices.FindOrSearch(
                   "a", []() -> std::optional<int> { throw std::runtime_error("no memory"); }),
               std::runtime_error);
  EXPECT_EQ(choices.Find("a"), nullptr);
  EXPECT_EQ(choices.FindOrSearch("a", [] { return std::optional(7); }), 7);
}

TEST(KernelChoices, WhatIsKnownDoesNotWaitForASearch) {
  Choices choices;
  choices.FindOrSearch("known", [] { return std::optional(1); });
  std::latch searching(1);
  std::latch found(1);
  std::jthread another([&] {
    choices.FindOrSearch("new", [&] {
      searching.count_down();
      found.wait();
      return std::optional(2);
    });
  });
  searching.wait();
  EXPECT_EQ(*choices.Find("known"), 1);
  EXPECT_EQ(choices.Find("new"), nullptr);
  found.count_down();
}

}  // namespace
}  // namespace pixembed
