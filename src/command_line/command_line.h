// How our programs are told things: Abseil's flags, of the command line or of the environment.
//
// The flags of a process are global. They are not thread-safe here: whoever sets and reads them
// sees to it that nobody else does.
#ifndef PIXEMBED_SRC_COMMAND_LINE_COMMAND_LINE_H_
#define PIXEMBED_SRC_COMMAND_LINE_COMMAND_LINE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/flags/commandlineflag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace pixembed {

// A flag that is a number of bytes: "1000", "64MiB", "2GiB".
struct ByteSize {
  std::size_t bytes = 0;
};

// Found by Abseil: a number, perhaps followed by KiB, MiB or GiB.
bool AbslParseFlag(absl::string_view text, ByteSize* size, std::string* error);
// With the largest unit that divides it.
std::string AbslUnparseFlag(ByteSize size);

// A flag that may repeat, or hold several values separated by commas.
using FlagList = std::vector<std::string>;

// The value of an environment variable, if it is set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// The flag of a name. REQUIRES: it is defined.
absl::CommandLineFlag& FindFlag(std::string_view name);

// Sets every flag of `names` by `arguments` (--flag=value or --flag value), or else by the variable
// PIXEMBED_<FLAG>, or else to its default; nothing of an earlier call is left. A flag that is true
// or false may stand alone for true; its value follows "=" only.
// Errors: INVALID_OPTION names the flag (or variable), its value, and what is possible.
// REQUIRES: all are defined.
absl::Status SetFlags(std::span<const std::string_view> names,
                      std::span<const char* const> arguments, const Environment& environment);

// What a numeric flag may be; times in milliseconds.
struct FlagRange {
  std::string_view flag;
  std::int64_t value;
  std::int64_t least;
  std::int64_t most;
};

// Values of flags, for a range. Times are rounded away from zero where they are negative.
std::int64_t Bytes(ByteSize size);
std::int64_t Milliseconds(absl::Duration duration);

// Errors: INVALID_OPTION: a value is out of its range, which the text names.
absl::Status CheckRanges(std::span<const FlagRange> ranges);

// Errors: INVALID_OPTION: the flag's value, and the words that are possible.
absl::Status UnknownChoice(std::string_view flag, std::string_view text,
                           std::span<const std::string_view> possible);

// The value that a flag names. `name` gives the name of each. Errors: as UnknownChoice.
template <typename T, std::size_t N>
absl::StatusOr<T> ReadChoice(std::string_view flag, const std::string& text,
                             const std::array<T, N>& values, std::string_view (*name)(T)) {
  std::array<std::string_view, N> names;
  for (std::size_t i = 0; i < N; ++i) {
    names[i] = name(values[i]);
    if (text == names[i]) return values[i];
  }
  return UnknownChoice(flag, text, names);
}

}  // namespace pixembed

#endif  // PIXEMBED_SRC_COMMAND_LINE_COMMAND_LINE_H_
