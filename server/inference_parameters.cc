#include "server/inference_parameters.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "api/status.h"
#include "inference/grpc_service.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/inference_tensors.h"
#include "server/option_text.h"
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

// The word that SetOption takes; nothing for a value of a kind that no option has.
std::optional<std::string> WordOf(const InferParameter& value) {
  if (value.has_string_param()) return value.string_param();
  if (value.has_double_param() || value.parameter_choice_case() == 0) return std::nullopt;
  return ValueText(value);
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

absl::Status SetEmbedOption(const Given& given, InferOptions& options) {
  const std::optional<std::string> word = WordOf(given.value);
  if (word.has_value()) return SetOption(given.name, *word, options.embed);
  return Wrong(given, "a string, an integer or a bool");
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
    Row{"pooling", SetEmbedOption},
    Row{"normalize", SetEmbedOption},
    Row{"dimensions", SetEmbedOption},
    Row{"layers", SetEmbedOption},
    Row{"data_type", SetDataType},
    Row{"exif_orientation", SetEmbedOption},
    Row{"background", SetEmbedOption},
    Row{"lane", SetEmbedOption},
    Row{"expected_fingerprint", SetEmbedOption},
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
