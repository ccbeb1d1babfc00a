// The formats that the HTTP bridge speaks: who asks for embeddings how, and what he is answered.
#ifndef PIXEMBED_SERVER_HTTP_FORMATS_H_
#define PIXEMBED_SERVER_HTTP_FORMATS_H_

#include <chrono>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/http_server.h"
#include "src/engine/engine.h"

namespace pixembed {

struct HttpImage {
  std::string id;    // comes back with its result, where the format has a place for it
  std::string data;  // encoded
};

// What a request asks for.
struct HttpEmbedCall {
  std::string model;  // empty: the first
  v1::EmbedOptions options;
  std::vector<HttpImage> images;
  bool base64 = false;               // vectors as the base64 of little-endian float32
  std::set<std::string> given = {};  // the names of the options that the request gives
};

// What became of it: outcomes[i] of call.images[i].
struct HttpEmbedAnswer {
  const HttpEmbedCall& call;
  const EmbedPlan& plan;
  std::span<const absl::StatusOr<Outcome>> outcomes;
  std::chrono::milliseconds retry_delay;
};

// One format. All are POST.
struct HttpFormat {
  std::string_view path;
  // May take the images out of the request. Errors: MALFORMED_REQUEST, INVALID_OPTION.
  absl::StatusOr<HttpEmbedCall> (*read)(HttpRequest& request);
  HttpResponse (*answer)(const HttpEmbedAnswer& answer);
  // Of a request that failed as a whole.
  HttpResponse (*refuse)(const absl::Status& status, std::chrono::milliseconds retry_delay);
};

std::span<const HttpFormat> HttpFormats();

// {"error": {"message", "type", "param", "code"}}, as OpenAI has it; `code` is the reason.
HttpResponse HttpError(const absl::Status& status, std::chrono::milliseconds retry_delay);

// The HTTP status that says the same as a status. Source: google/rpc/code.proto of
// googleapis-common-protos 1.76; a body that is too large is 413.
int HttpStatusOf(const absl::Status& status);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_HTTP_FORMATS_H_
