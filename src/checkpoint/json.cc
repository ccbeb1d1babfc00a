#include "src/checkpoint/json.h"

#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "src/error/error.h"

namespace pixembed {
namespace {

// The word at `position`.
std::string_view WordAt(std::string_view text, std::size_t position) {
  const auto in_word = [&text](std::size_t i) {
    return absl::ascii_isalnum(static_cast<unsigned char>(text[i])) || text[i] == '+' ||
           text[i] == '-' || text[i] == '.';
  };
  std::size_t begin = position < text.size() ? position : text.size();
  while (begin > 0 && in_word(begin - 1)) --begin;
  std::size_t end = begin;
  while (end < text.size() && in_word(end)) ++end;
  return text.substr(begin, end - begin);
}

// "NaN", "-Infinity", "1e999".
bool IsNotFinite(std::string_view word) {
  double number = 0.0;
  return absl::SimpleAtod(absl::string_view(word.data(), word.size()), &number) &&
         !std::isfinite(number);
}

// First pass over a document: is it JSON, and within the limits? Holds no values, so that a
// document is known to be small before memory is spent on it.
class LimitChecker : public nlohmann::json_sax<nlohmann::json> {
 public:
  LimitChecker(std::string_view text, std::string_view origin) : text_(text), origin_(origin) {}

  const absl::Status& status() const { return status_; }

  bool null() override { return CountValue(); }
  bool boolean(bool /*value*/) override { return CountValue(); }
  bool number_integer(number_integer_t /*value*/) override { return CountValue(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return CountValue(); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
    return CountValue();
  }
  bool string(string_t& /*value*/) override { return CountValue(); }
  bool binary(binary_t& /*value*/) override { return CountValue(); }
  bool start_object(std::size_t /*elements*/) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool start_array(std::size_t /*elements*/) override {
    if (depth_ == 0) return Fail("is not a JSON object");
    return Enter();
  }
  bool end_array() override { return Leave(); }
  bool key(string_t& value) override {
    key_ = value;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*last_token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    // `position` counts the bytes read, the offending one included.
    const std::size_t offset = position > 0 ? position - 1 : 0;
    if (offset >= text_.size()) {
      return Fail(absl::StrCat("is not JSON: it ends too early, after ", text_.size(),
                               " bytes; if the file is cut short, copy it again"));
    }
    const std::string_view word = WordAt(text_, offset);
    if (key_.empty() || !IsNotFinite(word)) {
      return Fail(absl::StrCat("is not JSON: syntax error at byte ", offset, " of ", text_.size()));
    }
    return Fail(absl::StrCat("key ", Quoted(key_), ": value ", Quoted(word), " at byte ", offset,
                             " is not JSON; numbers must be finite"));
  }

 private:
  bool Fail(std::string_view what) {
    status_ = MakeError(Reason::kCheckpointCorrupt, absl::StrCat(origin_, ": ", std::string(what)));
    return false;
  }
  bool CountValue() {
    if (depth_ == 0) return Fail("is not a JSON object");
    if (++values_ > kMaxJsonValues) {
      return Fail(absl::StrCat("holds more than ", kMaxJsonValues, " values"));
    }
    return true;
  }
  bool Enter() {
    if (++depth_ > kMaxJsonDepth) {
      return Fail(absl::StrCat("is nested deeper than ", kMaxJsonDepth, " levels"));
    }
    return CountValue();
  }
  bool Leave() {
    --depth_;
    return true;
  }

  std::string_view text_;
  std::string origin_;
  std::string key_;
  int depth_ = 0;
  std::size_t values_ = 0;
  absl::Status status_;
};

}  // namespace

absl::Status CheckJsonBytes(std::string_view text, std::string_view origin) {
  if (text.starts_with("\xEF\xBB\xBF")) {
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat(std::string(origin), ": starts with a byte order mark"));
  }
  const std::size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat(std::string(origin), ": NUL at byte ", nul, " of ", text.size()));
  }
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> ParseJsonObject(std::string_view text, std::string_view origin) {
  if (text.size() > kMaxJsonBytes) {
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat(std::string(origin), ": has ", text.size(), " bytes, more than ",
                                  kMaxJsonBytes));
  }
  if (absl::Status status = CheckJsonBytes(text, origin); !status.ok()) return status;
  LimitChecker checker(text, origin);
  if (!nlohmann::json::sax_parse(text, &checker)) return checker.status();
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace pixembed
