#include "src/model/device_text.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "src/error/error.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

// Nothing where it is none.
std::optional<DeviceWord> ReadWord(absl::string_view text) {
  DeviceWord word{.text = std::string(text)};
  if (text == "cpu") return word;
  if (!absl::ConsumePrefix(&text, "cuda")) return std::nullopt;
  word.kind = Device::Kind::kCuda;
  if (text.empty()) return word;
  int ordinal = -1;
  const bool colon = absl::ConsumePrefix(&text, ":");
  if (!colon || !absl::SimpleAtoi(text, &ordinal) || ordinal < 0) return std::nullopt;
  word.ordinal = ordinal;
  return word;
}

}  // namespace

absl::StatusOr<std::vector<DeviceWord>> ReadDeviceText(std::string_view text) {
  std::vector<DeviceWord> words;
  if (text == "auto") return words;
  for (absl::string_view element :
       absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    element = absl::StripAsciiWhitespace(element);
    std::optional<DeviceWord> word = ReadWord(element);
    if (!word.has_value()) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat("--device names ", Quoted({element.data(), element.size()}),
                                    "; possible are auto, or a list of cpu, cuda and cuda:N"));
    }
    words.push_back(*std::move(word));
  }
  return words;
}

absl::Status CheckDeviceText(std::string_view text) { return ReadDeviceText(text).status(); }

}  // namespace pixembed
