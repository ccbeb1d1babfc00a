#include "client/cpp/progress.h"

#include <chrono>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pixembed::client {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

TEST(ProgressLine, ShowsShareCountRateAndFailures) {
  EXPECT_EQ(ProgressLine(5, 0, 10, std::chrono::seconds(2)),
            "[###############...............]  50% 5/10  2.5 images/s");
  EXPECT_EQ(ProgressLine(10, 3, 10, std::chrono::seconds(1)),
            "[##############################] 100% 10/10  10.0 images/s, 3 failed");
}

TEST(Progress, WritesNothingWithoutATerminal) {
  std::ostringstream out;
  {
    Progress progress(out, false, 2);
    progress.Update(1, 0);
    progress.Update(2, 0);
  }
  EXPECT_EQ(out.str(), "");
}

TEST(Progress, ShowsTheLastStateAndTakesItsLineAway) {
  std::ostringstream out;
  {
    Progress progress(out, true, 2);
    progress.Update(1, 0);
    progress.Update(2, 1);
  }
  EXPECT_THAT(out.str(), HasSubstr("2/2"));
  EXPECT_THAT(out.str(), EndsWith("\r\x1b[K"));
}

}  // namespace
}  // namespace pixembed::client
