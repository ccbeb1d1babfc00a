#include "api/status.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr char kDomain[] = "pixembed";
constexpr char kMetadataUrl[] = "pixembed/metadata/";
constexpr std::string_view kCut = " [...]";

// At most kMaxStatusMessageBytes, never ending inside a character.
std::string Cut(std::string text) {
  if (text.size() <= kMaxStatusMessageBytes) return text;
  std::size_t end = kMaxStatusMessageBytes - kCut.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  text += kCut;
  return text;
}

google::rpc::ErrorInfo ToErrorInfo(Reason reason, const absl::Status& status) {
  google::rpc::ErrorInfo info;
  info.set_domain(kDomain);
  info.set_reason(std::string(Describe(reason).name));
  status.ForEachPayload([&info](absl::string_view url, const absl::Cord& value) {
    if (absl::ConsumePrefix(&url, kMetadataUrl)) {
      (*info.mutable_metadata())[absl::StrCat(url)] = std::string(value);
    }
  });
  return info;
}

google::rpc::RetryInfo ToRetryInfo(std::chrono::milliseconds delay) {
  google::rpc::RetryInfo info;
  const auto seconds = std::chrono::floor<std::chrono::seconds>(delay);
  info.mutable_retry_delay()->set_seconds(seconds.count());
  info.mutable_retry_delay()->set_nanos(
      static_cast<int>(std::chrono::nanoseconds(delay - seconds).count()));
  return info;
}

}  // namespace

absl::Status WithMetadata(absl::Status status, std::string_view key, std::string_view value) {
  const std::string url = kMetadataUrl + std::string(key);
  status.SetPayload(url, absl::Cord(Cut(std::string(value))));
  return status;
}

std::string MessageText(const absl::Status& status) { return Cut(absl::StrCat(status.message())); }

google::rpc::Status ToRpcStatus(const absl::Status& status, std::chrono::milliseconds retry_delay) {
  google::rpc::Status result;
  result.set_code(static_cast<int>(status.code()));
  result.set_message(MessageText(status));
  if (const std::optional<Reason> reason = ReasonOf(status); reason.has_value()) {
    result.add_details()->PackFrom(ToErrorInfo(*reason, status));
  }
  if (status.code() == absl::StatusCode::kResourceExhausted) {
    result.add_details()->PackFrom(ToRetryInfo(retry_delay));
  }
  return result;
}

std::string StatusText(const absl::Status& status) {
  if (status.ok()) return "";
  const std::optional<Reason> reason = ReasonOf(status);
  const std::string name = reason.has_value() ? std::string(Describe(*reason).name)
                                              : absl::StatusCodeToString(status.code());
  return absl::StrCat(name, ": ", MessageText(status));
}

}  // namespace pixembed
