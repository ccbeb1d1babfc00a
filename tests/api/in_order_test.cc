#include "api/in_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Numbered {
  std::uint64_t index = 0;
  std::unique_ptr<int> moved_only = nullptr;
};

std::vector<std::uint64_t> Pass(InOrder<Numbered>& in_order,
                                const std::vector<std::uint64_t>& indices) {
  std::vector<Numbered> results;
  results.reserve(indices.size());
  for (const std::uint64_t index : indices) results.push_back({.index = index});
  std::vector<std::uint64_t> passed;
  for (const Numbered& result : in_order.Pass(std::move(results))) passed.push_back(result.index);
  return passed;
}

TEST(InOrder, WhatIsEarlyWaitsForItsTurn) {
  InOrder<Numbered> in_order;
  EXPECT_THAT(Pass(in_order, {2, 1}), IsEmpty());
  EXPECT_THAT(Pass(in_order, {4, 0}), ElementsAre(0, 1, 2));
  EXPECT_THAT(Pass(in_order, {}), IsEmpty());
  EXPECT_THAT(Pass(in_order, {3}), ElementsAre(3, 4));
}

}  // namespace
}  // namespace pixembed
