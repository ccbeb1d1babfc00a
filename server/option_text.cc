#include "server/option_text.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "api/status.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// The value of an enum, and whether there is one: "cls" of Pooling, "POOLING_" before its names.
template <typename Enum>
bool ReadEnum(std::string_view text, const char* prefix, Enum& value) {
  const std::string name = absl::StrCat(prefix, absl::AsciiStrToUpper(View(text)));
  const auto* const found = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByName(name);
  // 0 is the value that says nothing.
  if (found == nullptr || found->number() == 0) return false;
  value = static_cast<Enum>(found->number());
  return true;
}

// "cls, max, mean": the words that ReadEnum knows.
template <typename Enum>
std::string Words(const char* prefix) {
  std::vector<std::string> words;
  const google::protobuf::EnumDescriptor& descriptor = *google::protobuf::GetEnumDescriptor<Enum>();
  for (int i = 0; i < descriptor.value_count(); ++i) {
    if (descriptor.value(i)->number() == 0) continue;
    words.push_back(
        absl::AsciiStrToLower(descriptor.value(i)->name().substr(std::string_view(prefix).size())));
  }
  return absl::StrJoin(words, ", ");
}

// Integers with commas between them; nothing where one is none.
template <typename Number>
std::optional<std::vector<Number>> ReadNumbers(std::string_view text) {
  std::vector<Number> numbers;
  if (text.empty()) return numbers;
  for (const absl::string_view piece : absl::StrSplit(View(text), ',')) {
    Number number = 0;
    if (!absl::SimpleAtoi(piece, &number)) return std::nullopt;
    numbers.push_back(number);
  }
  return numbers;
}

// A setter returns whether it understood the word.
bool SetPooling(std::string_view text, v1::EmbedOptions& options) {
  v1::Pooling pooling = v1::POOLING_UNSPECIFIED;
  if (!ReadEnum(text, "POOLING_", pooling)) return false;
  options.set_pooling(pooling);
  return true;
}

bool SetLayers(std::string_view text, v1::EmbedOptions& options) {
  const auto layers = ReadNumbers<std::int32_t>(text);
  if (!layers.has_value()) return false;
  options.mutable_layers()->Assign(layers->begin(), layers->end());
  return true;
}

bool SetExifOrientation(std::string_view text, v1::EmbedOptions& options) {
  v1::ExifOrientation orientation = v1::EXIF_ORIENTATION_UNSPECIFIED;
  if (!ReadEnum(text, "EXIF_ORIENTATION_", orientation)) return false;
  options.set_exif_orientation(orientation);
  return true;
}

// "RRGGBB", or "255,255,255": what a list of JSON becomes.
std::optional<std::vector<std::uint32_t>> ReadColor(std::string_view text) {
  if (text.size() != 6 || !std::all_of(text.begin(), text.end(), absl::ascii_isxdigit)) {
    return ReadNumbers<std::uint32_t>(text);
  }
  const std::string bytes = absl::HexStringToBytes(View(text));
  std::vector<std::uint32_t> bands;
  bands.reserve(bytes.size());
  for (const char byte : bytes) bands.push_back(static_cast<unsigned char>(byte));
  return bands;
}

bool SetBackground(std::string_view text, v1::EmbedOptions& options) {
  const auto bands = ReadColor(text);
  if (!bands.has_value() || bands->size() != 3) return false;
  v1::Color& color = *options.mutable_background();
  color.set_red((*bands)[0]);
  color.set_green((*bands)[1]);
  color.set_blue((*bands)[2]);
  return true;
}

bool SetNormalize(std::string_view text, v1::EmbedOptions& options) {
  if (text != "true" && text != "false") return false;
  options.set_normalize(text == "true");
  return true;
}

bool SetDimensions(std::string_view text, v1::EmbedOptions& options) {
  std::uint32_t dimensions = 0;
  if (!absl::SimpleAtoi(View(text), &dimensions)) return false;
  options.set_dimensions(dimensions);
  return true;
}

bool SetLane(std::string_view text, v1::EmbedOptions& options) {
  v1::Lane lane = v1::LANE_UNSPECIFIED;
  if (!ReadEnum(text, "LANE_", lane)) return false;
  options.set_lane(lane);
  return true;
}

bool SetExpectedFingerprint(std::string_view text, v1::EmbedOptions& options) {
  options.set_expected_fingerprint(std::string(text));
  return true;
}

struct OptionRow {
  std::string_view name;
  bool (*set)(std::string_view text, v1::EmbedOptions& options);
  std::string (*possible)();
};
constexpr std::array kOptions = {
    OptionRow{"pooling", &SetPooling, [] { return Words<v1::Pooling>("POOLING_"); }},
    OptionRow{"layers", &SetLayers, [] { return std::string("integers, as \"-2,-1\""); }},
    OptionRow{"exif_orientation", &SetExifOrientation,
              [] { return Words<v1::ExifOrientation>("EXIF_ORIENTATION_"); }},
    OptionRow{"background", &SetBackground,
              [] { return std::string("RRGGBB, or red,green,blue from 0 to 255"); }},
    OptionRow{"normalize", &SetNormalize, [] { return std::string("true and false"); }},
    OptionRow{"dimensions", &SetDimensions, [] { return std::string("0 (all) to 4294967295"); }},
    OptionRow{"lane", &SetLane, [] { return Words<v1::Lane>("LANE_"); }},
    OptionRow{"expected_fingerprint", &SetExpectedFingerprint,
              [] { return std::string("a fingerprint"); }},
};

// nullptr where there is no such option.
const OptionRow* FindOption(std::string_view name) {
  const auto* const row = std::find_if(kOptions.begin(), kOptions.end(),
                                       [name](const OptionRow& r) { return r.name == name; });
  return row == kOptions.end() ? nullptr : row;
}

}  // namespace

absl::Status SetOption(std::string_view name, std::string_view text, v1::EmbedOptions& options) {
  const OptionRow* const row = FindOption(name);
  if (row == nullptr) {
    return WithMetadata(
        MakeError(Reason::kInvalidOption,
                  absl::StrCat("there is no option ", Quoted(name), "; there are ", OptionNames())),
        "field", name);
  }
  if (row->set(text, options)) return absl::OkStatus();
  return WithMetadata(
      MakeError(Reason::kInvalidOption,
                absl::StrCat(View(name), " is ", Quoted(text), "; possible: ", row->possible())),
      "field", name);
}

bool IsOption(std::string_view name) { return FindOption(name) != nullptr; }

std::string OptionNames() {
  const auto name = [](std::string* out, const OptionRow& row) { out->append(row.name); };
  return absl::StrJoin(kOptions, ", ", name);
}

}  // namespace pixembed
