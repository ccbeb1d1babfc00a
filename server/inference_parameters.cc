#include "server/inference_parameters.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/generated_enum_reflection.h"
#include "inference/grpc_service.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/inference_tensors.h"
#include "server/status.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

using inference::InferParameter;

// One parameter of a request.
struct Given {
  const std::string& name;
  const InferParameter& value;
};

std::string ValueText(const InferParameter& value) {
  switch (value.parameter_choice_case()) {
    case InferParameter::kBoolParam:
      return value.bool_param() ? "true" : "false";
    case InferParameter::kInt64Param:
      return absl::StrCat(value.int64_param());
    case InferParameter::kStringParam:
      return absl::StrCat("\"", value.string_param(), "\"");
    case InferParameter::kDoubleParam:
      return absl::StrCat(value.double_param(), " (a double)");
    case InferParameter::kUint64Param:
      return absl::StrCat(value.uint64_param());
    default:
      return "without a value";
  }
}

absl::Status Wrong(const Given& given, const std::string& wanted) {
  return WithMetadata(MakeError(Reason::kInvalidOption,
                                absl::StrCat("parameter \"", given.name, "\" is ",
                                             ValueText(given.value), "; wanted is ", wanted)),
                      "field", given.name);
}

absl::StatusOr<bool> ReadBool(const Given& given) {
  if (given.value.has_bool_param()) return given.value.bool_param();
  return Wrong(given, "a bool");
}

absl::StatusOr<std::string> ReadString(const Given& given, const char* wanted) {
  if (given.value.has_string_param()) return given.value.string_param();
  return Wrong(given, wanted);
}

// 0 to `most`, signed or unsigned.
absl::StatusOr<std::uint64_t> ReadCount(const Given& given, std::uint64_t most) {
  std::optional<std::uint64_t> count;
  if (given.value.has_uint64_param()) count = given.value.uint64_param();
  if (given.value.has_int64_param() && given.value.int64_param() >= 0) {
    count = static_cast<std::uint64_t>(given.value.int64_param());
  }
  if (count.has_value() && *count <= most) return *count;
  return Wrong(given, absl::StrCat("an integer, 0 to ", most));
}

// By its name without the prefix, in any case.
template <typename Enum>
absl::StatusOr<Enum> ReadEnum(const Given& given, const char* prefix) {
  const google::protobuf::EnumDescriptor& type = *google::protobuf::GetEnumDescriptor<Enum>();
  const std::string name = absl::StrCat(prefix, absl::AsciiStrToUpper(given.value.string_param()));
  std::vector<std::string> known;
  for (int i = 0; i < type.value_count(); ++i) {
    const google::protobuf::EnumValueDescriptor& value = *type.value(i);
    if (value.number() == 0) continue;  // UNSPECIFIED: what leaving it out is for
    if (value.name() == name) return static_cast<Enum>(value.number());
    known.push_back(absl::AsciiStrToLower(value.name().substr(std::string_view(prefix).size())));
  }
  return Wrong(given, absl::StrJoin(known, " or "));
}

absl::Status SetPooling(const Given& given, InferOptions& options) {
  const auto pooling = ReadEnum<v1::Pooling>(given, "POOLING_");
  if (!pooling.ok()) return pooling.status();
  options.embed.set_pooling(*pooling);
  return absl::OkStatus();
}

absl::Status SetNormalize(const Given& given, InferOptions& options) {
  const absl::StatusOr<bool> normalize = ReadBool(given);
  if (!normalize.ok()) return normalize.status();
  options.embed.set_normalize(*normalize);
  return absl::OkStatus();
}

absl::Status SetDimensions(const Given& given, InferOptions& options) {
  const auto dimensions = ReadCount(given, std::numeric_limits<std::uint32_t>::max());
  if (!dimensions.ok()) return dimensions.status();
  options.embed.set_dimensions(static_cast<std::uint32_t>(*dimensions));
  return absl::OkStatus();
}

absl::Status SetLayers(const Given& given, InferOptions& options) {
  std::string text = given.value.string_param();
  if (given.value.has_int64_param()) text = absl::StrCat(given.value.int64_param());
  for (const absl::string_view word : absl::StrSplit(text, ',')) {
    std::int32_t layer = 0;
    if (!absl::SimpleAtoi(word, &layer)) {
      return Wrong(given, "an integer, or a string of integers with commas, as \"0,-1\"");
    }
    options.embed.add_layers(layer);
  }
  return absl::OkStatus();
}

absl::Status SetDataType(const Given& given, InferOptions& options) {
  const std::string& text = given.value.string_param();
  std::vector<std::string> known;
  for (const TensorType& type : TensorTypes()) {
    if (absl::EqualsIgnoreCase(text, type.option_name) ||
        absl::EqualsIgnoreCase(text, type.datatype)) {
      options.embed.set_data_type(type.option);
      return absl::OkStatus();
    }
    known.push_back(absl::StrCat(type.option_name, " (", type.datatype, ")"));
  }
  return Wrong(given, absl::StrCat(absl::StrJoin(known, " or "),
                                   "; the others are in pixembed.v1, KServe has no name for them"));
}

absl::Status SetExifOrientation(const Given& given, InferOptions& options) {
  const auto orientation = ReadEnum<v1::ExifOrientation>(given, "EXIF_ORIENTATION_");
  if (!orientation.ok()) return orientation.status();
  options.embed.set_exif_orientation(*orientation);
  return absl::OkStatus();
}

absl::Status SetBackground(const Given& given, InferOptions& options) {
  const std::string& text = given.value.string_param();
  if (text.size() != 6 || !std::ranges::all_of(text, absl::ascii_isxdigit)) {
    return Wrong(given, "a color written RRGGBB, as \"ffffff\"");
  }
  const std::string bytes = absl::HexStringToBytes(text);
  v1::Color& color = *options.embed.mutable_background();
  color.set_red(static_cast<unsigned char>(bytes[0]));
  color.set_green(static_cast<unsigned char>(bytes[1]));
  color.set_blue(static_cast<unsigned char>(bytes[2]));
  return absl::OkStatus();
}

absl::Status SetLane(const Given& given, InferOptions& options) {
  const auto lane = ReadEnum<v1::Lane>(given, "LANE_");
  if (!lane.ok()) return lane.status();
  options.embed.set_lane(*lane);
  return absl::OkStatus();
}

absl::Status SetExpectedFingerprint(const Given& given, InferOptions& options) {
  absl::StatusOr<std::string> fingerprint = ReadString(given, "a string of 64 digits");
  if (!fingerprint.ok()) return fingerprint.status();
  options.embed.set_expected_fingerprint(*std::move(fingerprint));
  return absl::OkStatus();
}

// 1 is the highest, 0 none in particular.
absl::Status SetPriority(const Given& given, InferOptions& options) {
  const auto priority = ReadCount(given, std::numeric_limits<std::uint64_t>::max());
  if (!priority.ok()) return priority.status();
  const bool decided = options.embed.lane() != v1::LANE_UNSPECIFIED;  // by the parameter `lane`
  if (*priority > 0 && !decided) {
    options.embed.set_lane(*priority == 1 ? v1::LANE_ONLINE : v1::LANE_BULK);
  }
  return absl::OkStatus();
}

absl::Status SetTimeout(const Given& given, InferOptions& options) {
  const auto timeout = ReadCount(given, std::numeric_limits<std::int64_t>::max());
  if (!timeout.ok()) return timeout.status();
  if (*timeout > 0) {
    options.timeout = std::chrono::microseconds(static_cast<std::int64_t>(*timeout));
  }
  return absl::OkStatus();
}

struct Row {
  const char* name;
  absl::Status (*set)(const Given& given, InferOptions& options);
};
// In the order in which they are read.
constexpr std::array kParameters = {
    Row{"pooling", SetPooling},
    Row{"normalize", SetNormalize},
    Row{"dimensions", SetDimensions},
    Row{"layers", SetLayers},
    Row{"data_type", SetDataType},
    Row{"exif_orientation", SetExifOrientation},
    Row{"background", SetBackground},
    Row{"lane", SetLane},
    Row{"expected_fingerprint", SetExpectedFingerprint},
    Row{"priority", SetPriority},
    Row{"timeout", SetTimeout},
};

constexpr std::array kIgnored = {"sequence_id", "sequence_start", "sequence_end", "headers",
                                 "binary_data_output"};
constexpr char kIgnoredPrefix[] = "triton_";

bool IsKnown(const std::string& name) {
  return std::ranges::find(kParameters, name, &Row::name) != kParameters.end() ||
         std::ranges::find(kIgnored, name) != kIgnored.end() ||
         absl::StartsWith(name, kIgnoredPrefix);
}

absl::Status Unknown(const std::string& name) {
  const auto append_name = [](std::string* out, const Row& row) { *out += row.name; };
  return WithMetadata(MakeError(Reason::kInvalidOption,
                                absl::StrCat("parameter \"", name, "\" is not known; there are: ",
                                             absl::StrJoin(kParameters, ", ", append_name))),
                      "field", name);
}

}  // namespace

absl::StatusOr<InferOptions> ReadInferParameters(const InferParameters& parameters) {
  InferOptions options;
  for (const Row& row : kParameters) {
    const auto found = parameters.find(row.name);
    if (found == parameters.end()) continue;
    if (absl::Status status = row.set({found->first, found->second}, options); !status.ok()) {
      return status;
    }
  }
  for (const auto& [name, value] : parameters) {
    if (!IsKnown(name)) return Unknown(name);
  }
  return options;
}

}  // namespace pixembed
