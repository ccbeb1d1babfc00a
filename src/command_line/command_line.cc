#include "src/command_line/command_line.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Invalid(std::string_view text) { return MakeError(Reason::kInvalidOption, text); }

std::string VariableName(std::string_view flag) {
  return absl::StrCat("PIXEMBED_", absl::AsciiStrToUpper(View(flag)));
}

absl::Status SetFlag(std::string_view name, std::string_view value, std::string_view origin) {
  absl::CommandLineFlag& flag = FindFlag(name);
  std::string error;
  if (flag.ParseFrom(View(value), &error)) return absl::OkStatus();
  // Abseil's own times do not say what they want, as ByteSize does.
  if (flag.IsOfType<absl::Duration>()) error = "a time with its unit is wanted, like 500ms or 30s";
  return Invalid(absl::StrCat(View(origin), " is \"", View(value), "\", which is not possible",
                              error.empty() ? "" : ": ", error));
}

// The values of the command line by flag; a repeated list flag is one value with commas.
using Values = std::vector<std::pair<std::string, std::string>>;

void AddValue(const std::string& name, const std::string& value, Values& values) {
  for (auto& [known, present] : values) {
    if (known != name) continue;
    present = FindFlag(name).IsOfType<FlagList>() ? absl::StrCat(present, ",", value) : value;
    return;
  }
  values.emplace_back(name, value);
}

absl::StatusOr<Values> SplitArguments(std::span<const std::string_view> names,
                                      std::span<const char* const> arguments) {
  Values values;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string argument = arguments[i];
    if (!absl::StartsWith(argument, "--")) {
      return Invalid(absl::StrCat("\"", argument, "\" is no flag; see --help"));
    }
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (std::ranges::find(names, name) == names.end()) {
      return Invalid(absl::StrCat("--", name, " does not exist; see --help"));
    }
    if (equals != std::string::npos) {
      AddValue(name, argument.substr(equals + 1), values);
    } else if (FindFlag(name).IsOfType<bool>()) {
      AddValue(name, "true", values);
    } else if (i + 1 < arguments.size()) {
      AddValue(name, arguments[++i], values);
    } else {
      return Invalid(absl::StrCat("--", name, " lacks its value; see --help"));
    }
  }
  return values;
}

}  // namespace

absl::CommandLineFlag& FindFlag(std::string_view name) {
  return *absl::FindCommandLineFlag(View(name));
}

absl::Status SetFlags(std::span<const std::string_view> names,
                      std::span<const char* const> arguments, const Environment& environment) {
  const absl::StatusOr<Values> values = SplitArguments(names, arguments);
  if (!values.ok()) return values.status();
  for (const std::string_view name : names) {  // nothing of an earlier call
    if (absl::Status status = SetFlag(name, FindFlag(name).DefaultValue(), name); !status.ok()) {
      return status;
    }
  }
  for (const std::string_view name : names) {
    const std::string variable = VariableName(name);
    const std::optional<std::string> value = environment(variable);
    if (!value.has_value()) continue;
    if (absl::Status status = SetFlag(name, *value, variable); !status.ok()) return status;
  }
  for (const auto& [name, value] : *values) {
    if (absl::Status status = SetFlag(name, value, absl::StrCat("--", name)); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

std::int64_t Bytes(ByteSize size) {
  constexpr std::size_t kMost = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(std::min(size.bytes, kMost));
}

std::int64_t Milliseconds(absl::Duration duration) {
  // Rounded away from zero, so that -1us is below 0.
  const std::int64_t whole = absl::ToInt64Milliseconds(duration);
  if (duration < absl::ZeroDuration() && whole == 0) return -1;
  return whole;
}

absl::Status CheckRanges(std::span<const FlagRange> ranges) {
  for (const FlagRange& range : ranges) {
    if (range.value >= range.least && range.value <= range.most) continue;
    const absl::CommandLineFlag& flag = FindFlag(range.flag);
    const char* const unit = flag.IsOfType<absl::Duration>() ? "ms" : "";
    return Invalid(absl::StrCat("--", View(range.flag), " is ", flag.CurrentValue(),
                                "; possible are ", range.least, unit, " to ", range.most, unit));
  }
  return absl::OkStatus();
}

absl::Status UnknownChoice(std::string_view flag, std::string_view text,
                           std::span<const std::string_view> possible) {
  const auto append = [](std::string* out, std::string_view name) { out->append(name); };
  return Invalid(absl::StrCat("--", View(flag), " is \"", View(text), "\"; possible are ",
                              absl::StrJoin(possible.first(possible.size() - 1), ", ", append),
                              " and ", View(possible.back())));
}

}  // namespace pixembed
