#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "src/checkpoint/checkpoint.h"
#include "src/checkpoint/json.h"
#include "src/error/error.h"

namespace pixembed {

using Json = nlohmann::json;

struct Config::Rep {
  std::shared_ptr<const Json> document;  // keeps `object` alive
  const Json* object = nullptr;          // never null, always an object
  std::string origin;
  std::string scope = {};  // "" or "vision_config."

  // nullptr where the key is absent or null.
  const Json* Find(std::string_view key) const {
    const auto found = object->find(key);
    return found == object->end() || found->is_null() ? nullptr : &*found;
  }

  std::string Describe(std::string_view key, const Json& value) const {
    return absl::StrCat(origin, ": ", scope, Printable(key), " = ", ValueText(value));
  }

  absl::Status Refuse(std::string_view key, const Json& value, std::string_view rule) const {
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat(Describe(key, value), " must be ", std::string(rule)));
  }

  static std::string ValueText(const Json& value);

  // `value` as an int within [min, max]; errors call it the value of `key`.
  absl::StatusOr<std::int64_t> ToInt(std::string_view key, const Json& value, std::int64_t min,
                                     std::int64_t max) const;
  absl::StatusOr<double> ToDouble(std::string_view key, const Json& value, double min,
                                  double max) const;
};

namespace {

std::string IntRule(std::int64_t min, std::int64_t max) {
  if (max == std::numeric_limits<std::int64_t>::max()) {
    return absl::StrCat("an integer, at least ", min);
  }
  return absl::StrCat("an integer from ", min, " to ", max);
}

std::string NumberRule(double min, double max) {
  return absl::StrCat("a number from ", min, " to ", max);
}

}  // namespace

std::string Config::Rep::ValueText(const Json& value) {
  if (value.is_string()) return Quoted(value.get_ref<const std::string&>());
  if (value.is_object()) return absl::StrCat("{", value.size(), " keys}");
  if (value.is_array()) return absl::StrCat("[", value.size(), " values]");
  return value.dump();  // a number, a boolean or null: short, and cannot fail
}

absl::StatusOr<std::int64_t> Config::Rep::ToInt(std::string_view key, const Json& value,
                                                std::int64_t min, std::int64_t max) const {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<std::uint64_t>() <=
                         static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  if (!fits) return Refuse(key, value, IntRule(min, max));
  const auto number = value.get<std::int64_t>();
  if (number < min || number > max) return Refuse(key, value, IntRule(min, max));
  return number;
}

absl::StatusOr<double> Config::Rep::ToDouble(std::string_view key, const Json& value, double min,
                                             double max) const {
  if (!value.is_number()) return Refuse(key, value, NumberRule(min, max));
  const auto number = value.get<double>();
  if (std::isnan(number) || number < min || number > max) {
    return Refuse(key, value, NumberRule(min, max));
  }
  return number;
}

absl::StatusOr<Config> Config::Parse(std::string_view text, std::string_view origin) {
  std::string printable = Printable(origin);  // of an entry of an archive the archive chose it
  absl::StatusOr<Json> document = ParseJsonObject(text, printable);
  if (!document.ok()) return document.status();
  auto shared = std::make_shared<const Json>(*std::move(document));
  const Json* const root = shared.get();
  return Config(std::make_shared<const Rep>(
      Rep{.document = std::move(shared), .object = root, .origin = std::move(printable)}));
}

Config::Kind Config::KindOf(std::string_view key) const {
  const auto value = rep_->object->find(key);
  if (value == rep_->object->end()) return Kind::kAbsent;
  switch (value->type()) {
    case Json::value_t::boolean:
      return Kind::kBool;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return Kind::kInt;
    case Json::value_t::number_float:
      return Kind::kFloat;
    case Json::value_t::string:
      return Kind::kString;
    case Json::value_t::array:
      return Kind::kList;
    case Json::value_t::object:
      return Kind::kObject;
    case Json::value_t::null:
    case Json::value_t::binary:     // never in JSON text
    case Json::value_t::discarded:  // never in a parsed document
      break;
  }
  return Kind::kNull;
}

bool Config::Has(std::string_view key) const { return rep_->Find(key) != nullptr; }

std::string Config::Describe(std::string_view key) const {
  const auto value = rep_->object->find(key);
  if (value != rep_->object->end()) return rep_->Describe(key, *value);
  return absl::StrCat(rep_->origin, ": ", rep_->scope, Printable(key), " (absent)");
}

std::vector<std::string> Config::Keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : rep_->object->items()) {
    if (!value.is_null()) keys.push_back(key);
  }
  return keys;
}

absl::StatusOr<std::int64_t> Config::Int(std::string_view key, std::int64_t fallback,
                                         std::int64_t min, std::int64_t max) const {
  const Json* const value = rep_->Find(key);
  if (value == nullptr) return fallback;
  return rep_->ToInt(key, *value, min, max);
}

absl::StatusOr<double> Config::Double(std::string_view key, double fallback, double min,
                                      double max) const {
  const Json* const value = rep_->Find(key);
  if (value == nullptr) return fallback;
  return rep_->ToDouble(key, *value, min, max);
}

absl::StatusOr<bool> Config::Bool(std::string_view key, bool fallback) const {
  const Json* const value = rep_->Find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return rep_->Refuse(key, *value, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> Config::String(std::string_view key, std::string_view fallback) const {
  const Json* const value = rep_->Find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return rep_->Refuse(key, *value, "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::vector<double>> Config::Numbers(std::string_view key,
                                                    std::span<const double> fallback, double min,
                                                    double max) const {
  const Json* const value = rep_->Find(key);
  if (value == nullptr) return std::vector<double>(fallback.begin(), fallback.end());
  std::vector<double> numbers;
  const auto append = [&](std::string_view name, const Json& item) {
    const absl::StatusOr<double> number = rep_->ToDouble(name, item, min, max);
    if (number.ok()) numbers.push_back(*number);
    return number.status();
  };
  if (!value->is_array()) {
    if (absl::Status status = append(key, *value); !status.ok()) return status;
    return numbers;
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    absl::Status status = append(absl::StrCat(std::string(key), "[", i, "]"), (*value)[i]);
    if (!status.ok()) return status;
  }
  return numbers;
}

absl::StatusOr<std::vector<bool>> Config::Bools(std::string_view key,
                                                const std::vector<bool>& fallback) const {
  const Json* const value = rep_->Find(key);
  if (value == nullptr) return fallback;
  const auto is_bool = [](const Json& item) { return item.is_boolean(); };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), is_bool)) {
    return rep_->Refuse(key, *value, "a list of true and false");
  }
  std::vector<bool> bools;
  bools.reserve(value->size());
  for (const Json& item : *value) bools.push_back(item.get<bool>());
  return bools;
}

absl::StatusOr<Size> Config::SquareOrPair(std::string_view key, Size fallback, int min,
                                          int max) const {
  const Json* const value = rep_->Find(key);
  if (value == nullptr) return fallback;
  const bool is_pair = value->is_array() && value->size() == 2;
  if (!is_pair && !value->is_number()) {
    return rep_->Refuse(key, *value,
                        absl::StrCat(IntRule(min, max), ", or a list of two: [height, width]"));
  }
  const auto height = rep_->ToInt(key, is_pair ? (*value)[0] : *value, min, max);
  if (!height.ok()) return height.status();
  const auto width = rep_->ToInt(key, is_pair ? (*value)[1] : *value, min, max);
  if (!width.ok()) return width.status();
  return Size{.height = static_cast<int>(*height), .width = static_cast<int>(*width)};
}

absl::StatusOr<Config> Config::Section(std::string_view key) const {
  static const Json* const empty = new Json(Json::value_t::object);
  const Json* const value = rep_->Find(key);
  if (value != nullptr && !value->is_object()) return rep_->Refuse(key, *value, "an object");
  return Config(
      std::make_shared<const Rep>(Rep{.document = rep_->document,
                                      .object = value == nullptr ? empty : value,
                                      .origin = rep_->origin,
                                      .scope = absl::StrCat(rep_->scope, std::string(key), ".")}));
}

const std::string& Config::origin() const { return rep_->origin; }

}  // namespace pixembed
