// The server: listens, serves the native API, KServe v2, health and reflection over gRPC and, where
// asked for, the bridge over HTTP and metrics; drains.
#ifndef PIXEMBED_SERVER_SERVER_H_
#define PIXEMBED_SERVER_SERVER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/served_model.h"
#include "server/bearer_tokens.h"
#include "server/call.h"
#include "server/certificates.h"
#include "server/completion_queue.h"
#include "server/embedding_service.h"
#include "server/health_service.h"
#include "server/http_bridge.h"
#include "server/http_server.h"
#include "server/inference_service.h"
#include "server/metrics.h"
#include "server/model_repository.h"
#include "server/reflection_service.h"
#include "server/reloaded.h"
#include "src/engine/engine.h"

namespace pixembed {

struct ServerOptions {
  // "host:port" ("0.0.0.0:50051", "[::]:50051"; port 0: a free one) or "unix:path". Flag: --listen.
  std::vector<std::string> listen = {"127.0.0.1:50051"};
  RequestLimits limits;
  // Images that one stream may have in flight. Flag: --stream_window.
  std::size_t stream_window = 64;
  // Threads, with a completion queue each. 0: the cores that the engine uses. Flag: --grpc_threads.
  int threads = 0;
  // Calls at once; one more is RESOURCE_EXHAUSTED before its message is read. Flag: --max_calls.
  std::size_t max_calls = 10'000;
  // Bytes of all messages that are being received; past it gRPC ends calls with RESOURCE_EXHAUSTED.
  // Flag: --max_receive_bytes.
  std::size_t max_receive_bytes = std::size_t{2} << 30;
  // "host:port" of the HTTP bridge; empty: there is none. Flag: --http_listen.
  std::string http_listen = {};
  // How long an HTTP request may take. Flag: --http_timeout.
  std::chrono::nanoseconds http_timeout = std::chrono::seconds(60);
  // "host:port" of GET /metrics; empty: there is none. Flag: --metrics_listen.
  std::string metrics_listen = {};
  // What is counted; null: nothing is. Not null where metrics_listen is not empty. The engine's
  // observer, too (EngineOptions).
  std::shared_ptr<Metrics> metrics = nullptr;
  // How models are loaded and unloaded while the server runs; absent: they are not.
  // Flag: --model_control.
  std::optional<ModelControl> model_control = std::nullopt;
  // TLS on every address but unix sockets; null: there is none, anywhere. Flags: --tls_*.
  std::shared_ptr<Reloaded<Certificates>> certificates = nullptr;
  // What every caller must show, on every address, but for health; null: nothing.
  // Flag: --auth_token_file.
  std::shared_ptr<BearerTokens> tokens = nullptr;
  // Takes lines for the log; may be null.
  Log log = nullptr;
};

// Thread-safe.
class Server {
 public:
  // Listens and serves; SERVING in health when it returns. `model_names[i]` names
  // the engine's model i, the first is the default model; the engine outlives the server, which
  // alone adds models to it and removes them from now on. Errors: INVALID_OPTION names the address
  // that cannot be listened on, and why.
  static absl::StatusOr<std::unique_ptr<Server>> Start(Engine& engine,
                                                       const std::vector<std::string>& model_names,
                                                       const ServerOptions& options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  // Stop(now). Waits for a model that is being loaded, as long as that takes.
  ~Server();

  // What it listens on, with the ports that were chosen, in the order of ServerOptions::listen.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // What the HTTP bridge listens on; empty: there is none.
  std::string http_address() const { return http_ == nullptr ? "" : http_->address(); }

  // What GET /metrics listens on; empty: there is none.
  std::string metrics_address() const {
    return metrics_server_ == nullptr ? "" : metrics_server_->address();
  }

  // Calls that are being served.
  std::size_t calls() const { return calls_.value(); }

  // Health (and HTTP's /.well-known/ready) says NOT_SERVING, everything is served as before: the
  // first step of a drain, so that load balancers look elsewhere before anything is refused.
  void AnnounceDrain();

  // Refuses new work (UNAVAILABLE, reason DRAINING), drains the engine, lets calls and streams
  // finish what was accepted, and closes connections when their clients have heard of it, which
  // those without a call have a second for; models are not loaded any more. What is left at
  // `deadline` is cut off: accepted images with DRAINING, and calls two seconds later. Idempotent;
  // returns when every thread has ended. Errors: the engine's, for images that were cut off;
  // DEADLINE_EXCEEDED with the number of calls that were.
  absl::Status Stop(TimePoint deadline);

 private:
  Server(Engine& engine, const std::vector<std::string>& model_names, const ServerOptions& options);

  absl::Status Listen(const ServerOptions& options);
  // Those of a listening port.
  std::shared_ptr<grpc::ServerCredentials> CredentialsFor(const std::string& address,
                                                          const ServerOptions& options);
  absl::Status ListenForHttp(const ServerOptions& options);
  absl::Status ListenForScrapes(const ServerOptions& options);
  // Health says SERVING.
  bool Ready() const;

  Engine& engine_;
  const std::shared_ptr<Metrics> metrics_;  // null: nothing is counted
  std::stop_source draining_;
  CallCount calls_;
  HealthService health_;
  ModelRepository models_;
  EmbeddingService embedding_;
  InferenceService inference_;
  ReflectionService reflection_;
  RpcService embedding_rpc_;
  RpcService health_rpc_;
  RpcService inference_rpc_;
  RpcService reflection_rpc_;
  std::vector<std::string> addresses_;
  std::vector<std::shared_ptr<grpc::ServerCredentials>> credentials_;  // gRPC points to them
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::unique_ptr<CompletionQueue>> queues_;
  std::unique_ptr<HttpBridge> http_;
  std::unique_ptr<HttpServer> metrics_server_;
  std::mutex stop_mutex_;  // one Stop at a time
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_SERVER_H_
