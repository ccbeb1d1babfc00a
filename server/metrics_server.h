// GET /metrics, on a port of its own: no TLS and no tokens, since it tells nothing that is worth a
// secret to whoever may reach the port; docs/security.md says what.
#ifndef PIXEMBED_SERVER_METRICS_SERVER_H_
#define PIXEMBED_SERVER_METRICS_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http_server.h"

namespace pixembed {

// Listens on `listen` ("host:port"; port 0: a free one) and serves. `exposition` is called for each
// scrape, on the server's thread, until its Stop. Errors: those of HttpServer::Start.
absl::StatusOr<std::unique_ptr<HttpServer>> StartMetricsServer(
    const std::string& listen, std::function<std::string()> exposition);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_METRICS_SERVER_H_
