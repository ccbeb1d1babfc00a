// Any body, of any media type, in every format of the HTTP bridge: a call, or MALFORMED_REQUEST, or
// INVALID_OPTION; and a refusal is JSON whatever the message holds.
//
// The first byte of an input chooses the format, the second the media type; of a form the rest is
// its parts, name and data in turn, each up to a NUL.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "server/http_formats.h"
#include "server/http_server.h"
#include "src/error/error.h"

namespace {

using pixembed::HttpFormat;
using pixembed::HttpRequest;
using pixembed::HttpResponse;
using pixembed::Reason;

constexpr const char* kMediaTypes[] = {"application/json", "multipart/form-data", "image/jpeg"};

void Require(bool condition) {
  if (!condition) std::abort();
}

HttpRequest MakeRequest(const HttpFormat& format, std::uint8_t type, std::string_view rest) {
  HttpRequest request;
  request.method = "POST";
  request.path = std::string(format.path);
  request.media_type = kMediaTypes[type % std::size(kMediaTypes)];
  if (request.media_type != "multipart/form-data") {
    request.body = std::string(rest);
    return request;
  }
  std::vector<std::string> words =
      absl::StrSplit(absl::string_view(rest.data(), rest.size()), '\0');
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    request.parts.push_back(
        {.name = std::move(words[i]), .file_name = words[i + 1], .data = words[i + 1]});
  }
  return request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto formats = pixembed::HttpFormats();
  const HttpFormat& format = formats[data[0] % formats.size()];
  const std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  HttpRequest request = MakeRequest(format, data[1], rest);
  const absl::StatusOr<pixembed::HttpEmbedCall> call = format.read(request);
  if (call.ok()) {
    std::size_t bytes = 0;
    for (const pixembed::HttpImage& image : call->images) bytes += image.data.size();
    Require(bytes <= size);  // nothing comes from elsewhere
    return 0;
  }
  const auto reason = pixembed::ReasonOf(call.status());
  Require(reason == Reason::kMalformedRequest || reason == Reason::kInvalidOption);
  const HttpResponse refusal = format.refuse(call.status(), {});
  Require(refusal.status == 400);
  const auto json = nlohmann::json::parse(refusal.body, nullptr, /*allow_exceptions=*/false);
  Require(json.is_object() && json.contains("error"));
  return 0;
}
