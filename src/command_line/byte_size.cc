#include <array>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "src/command_line/command_line.h"

namespace pixembed {
namespace {

struct Unit {
  absl::string_view name;
  int shift;
};
constexpr std::array kUnits = {Unit{"GiB", 30}, Unit{"MiB", 20}, Unit{"KiB", 10}, Unit{"", 0}};

}  // namespace

bool AbslParseFlag(absl::string_view text, ByteSize* size, std::string* error) {
  for (const Unit& unit : kUnits) {
    absl::string_view digits = text;
    if (!absl::ConsumeSuffix(&digits, unit.name)) continue;
    std::uint64_t number = 0;
    if (!absl::SimpleAtoi(digits, &number) ||
        number > (std::numeric_limits<std::uint64_t>::max() >> unit.shift)) {
      break;
    }
    size->bytes = number << unit.shift;
    return true;
  }
  *error = "a number of bytes is wanted, like 1000000, 512KiB, 64MiB or 2GiB";
  return false;
}

std::string AbslUnparseFlag(ByteSize size) {
  for (const Unit& unit : kUnits) {
    const std::size_t whole = (size.bytes >> unit.shift) << unit.shift;
    if (size.bytes > 0 && whole != size.bytes) continue;
    if (size.bytes > 0) return absl::StrCat(size.bytes >> unit.shift, unit.name);
  }
  return "0";
}

}  // namespace pixembed
