#include "src/model/amx.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace pixembed {
namespace {

// The first of the processors: all have the same.
std::vector<std::string> FlagsOfTheCpu() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "flags")) return absl::StrSplit(line, absl::ByAnyChar(" \t"));
  }
  return {};
}

// The kernel lists what it lets processes use.
TEST(Amx, IsThereWhereTheKernelSaysSo) {
  const std::vector<std::string> flags = FlagsOfTheCpu();
  const auto has = [&flags](std::string_view flag) {
    return std::ranges::find(flags, flag) != flags.end();
  };
  EXPECT_EQ(HasAmx(), has("amx_tile") && has("amx_bf16") && has("avx512bw") && has("avx512_bf16"));
}

}  // namespace
}  // namespace pixembed
