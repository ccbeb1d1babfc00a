// GET /metrics, on a port of its own: no TLS and no tokens, since it tells nothing that is worth a
// secret to whoever may reach the port; docs/security.md says what.
#ifndef PIXEMBED_SERVER_METRICS_SERVER_H_
#define PIXEMBED_SERVER_METRICS_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/http_server.h"
#include "src/engine/engine.h"

namespace pixembed {

// Thread-safe.
class MetricsServer {
 public:
  // Listens on `listen` ("host:port"; port 0: a free one) and serves. `exposition` is called for
  // each scrape, on the server's thread, until Stop. Errors: those of HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const std::string& listen, std::function<std::string()> exposition);

  const std::string& address() const { return server_->address(); }

  // Errors: those of HttpServer::Stop.
  absl::Status Stop(TimePoint deadline) { return server_->Stop(deadline); }

 private:
  explicit MetricsServer(std::unique_ptr<HttpServer> server) : server_(std::move(server)) {}

  std::unique_ptr<HttpServer> server_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_METRICS_SERVER_H_
