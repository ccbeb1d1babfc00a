#include "client/cpp/model_table.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/json_util.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {
namespace {

// "224x224", or what bounds images of different sizes.
std::string Input(const v1::Preprocessing& preprocessing) {
  if (preprocessing.max_patches() > 0) {
    return absl::StrCat("<=", preprocessing.max_patches(), " patches");
  }
  return absl::StrCat(preprocessing.input_width(), "x", preprocessing.input_height());
}

std::vector<std::string> Row(const v1::Model& model) {
  const auto& fingerprints = model.fingerprints();
  const auto mean = fingerprints.find("mean");
  const v1::Preprocessing& preprocessing = model.preprocessing();
  return {model.name(),
          model.model_type(),
          absl::StrCat(model.dimension()),
          absl::StrCat(model.tokens()),
          Input(preprocessing),
          model.precision(),
          absl::StrJoin(model.devices(), ","),
          mean == fingerprints.end() ? std::string() : mean->second.substr(0, 16)};
}

}  // namespace

std::string ModelsAsTable(const std::vector<v1::Model>& models) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "TYPE", "DIMENSION", "TOKENS", "INPUT", "PRECISION", "DEVICES", "FINGERPRINT"}};
  for (const v1::Model& model : models) {
    rows.push_back(Row(model));
  }
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string table;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i + 1 < row.size(); ++i) {
      absl::StrAppendFormat(&table, "%-*s  ", static_cast<int>(widths[i]), row[i]);
    }
    absl::StrAppend(&table, row.back(), "\n");
  }
  return table;
}

std::string ModelsAsJson(const std::vector<v1::Model>& models) {
  v1::ListModelsResponse response;
  response.mutable_models()->Add(models.begin(), models.end());
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // The message is ours and whole: there is nothing in it that JSON cannot say.
  const auto status = google::protobuf::util::MessageToJsonString(response, &json, options);
  return status.ok() ? json
                     : absl::StrCat(R"({"error": ")", std::string(status.message()), "\"}\n");
}

}  // namespace pixembed::client
