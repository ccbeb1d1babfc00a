#include "server/metrics_server.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http_server.h"
#include "server/listen.h"
#include "server/metrics.h"

namespace pixembed {
namespace {

constexpr std::string_view kPath = "/metrics";
constexpr char kPlainText[] = "text/plain; charset=utf-8";
// Scrapers, and whoever looks.
constexpr std::size_t kMaxConnections = 64;
// A request has no body that anyone would read.
constexpr std::size_t kMaxBodyBytes = std::size_t{4} << 10;

HttpResponse Text(int status, std::string_view text) {
  return {.status = status, .media_type = kPlainText, .body = std::string(text) + '\n'};
}

HttpResponse Answer(const HttpRequest& request, const std::function<std::string()>& exposition) {
  if (request.path != kPath) return Text(404, "there is only GET /metrics");
  if (request.method != "GET" && request.method != "HEAD") {
    HttpResponse response = Text(405, "there is only GET /metrics");
    response.headers["Allow"] = "GET, HEAD";
    return response;
  }
  return {.media_type = Metrics::kMediaType, .body = exposition()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> StartMetricsServer(
    const std::string& listen, std::function<std::string()> exposition) {
  HttpServerOptions options;
  options.listen = listen;
  options.listen_flag = kMetricsListenFlag;
  options.max_body_bytes = kMaxBodyBytes;
  options.max_receive_bytes = kMaxConnections * kMaxBodyBytes;
  options.max_connections = kMaxConnections;
  options.refuse = [](const absl::Status&) { return Text(413, "GET /metrics takes no body"); };
  return HttpServer::Start(std::move(options), [exposition = std::move(exposition)](
                                                   HttpRequest request, HttpReply reply) {
    reply([&exposition, request = std::move(request)] { return Answer(request, exposition); });
  });
}

}  // namespace pixembed
