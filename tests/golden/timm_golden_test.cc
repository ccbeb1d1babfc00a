// The table of timm's architectures against timm itself. See make_timm.py.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "src/model/families/timm_architectures.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

TEST(TimmGolden, EveryPlainArchitectureIsInTheTableAsTimmBuildsIt) {
  std::map<std::string, std::string> expected;
  for (const absl::string_view line :
       absl::StrSplit(GoldenBytes("timm.txt"), '\n', absl::SkipEmpty())) {
    expected.insert(std::pair<std::string, std::string>(absl::StrSplit(line, '\t')));
  }
  EXPECT_GE(expected.size(), 100U);
  std::map<std::string, std::string> actual;
  for (const TimmArchitecture& architecture : TimmArchitectures()) {
    actual.emplace(architecture.name, TimmArchitectureText(architecture));
  }
  EXPECT_EQ(actual, expected);
}

TEST(TimmGolden, EveryArchitectureIsFoundByItsName) {
  for (const TimmArchitecture& architecture : TimmArchitectures()) {
    EXPECT_EQ(FindTimmArchitecture(architecture.name), &architecture) << architecture.name;
  }
  EXPECT_EQ(FindTimmArchitecture("resnet50"), nullptr);
  EXPECT_EQ(FindTimmArchitecture(""), nullptr);
  EXPECT_EQ(FindTimmArchitecture("zzz"), nullptr);
}

}  // namespace
}  // namespace pixembed
