// The service over HTTP, for callers without gRPC: translates between JSON or forms and the engine,
// and computes nothing. No URL is ever fetched.
//
//   POST /v1/embeddings      OpenAI's embeddings with images: `input` with data URIs (as Infinity
//                            takes them, "modality": "image"), or `messages` with image_url parts
//                            (as vLLM takes them). One bad image fails the request.
//   GET  /v1/models          OpenAI's list of models, and one of them
//   GET  /v1/models/{id}
//   POST /v1/embed           pixembed's own: multipart/form-data with `image` fields (curl -F), one
//                            image as the body, or an EmbedRequest in protobuf's JSON. One result
//                            or one error per image.
//   POST /vectorize          Weaviate's multi2vec-clip
//   POST /vectors            Weaviate's img2vec-neural
//   GET  /meta, /.well-known/live, /.well-known/ready
#ifndef PIXEMBED_SERVER_HTTP_BRIDGE_H_
#define PIXEMBED_SERVER_HTTP_BRIDGE_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/served_model.h"
#include "server/bearer_tokens.h"
#include "server/certificates.h"
#include "server/http_formats.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/model_repository.h"
#include "server/reloaded.h"
#include "src/engine/engine.h"

namespace pixembed {

struct HttpBridgeOptions {
  // "host:port"; empty: there is no bridge. Flag: --http_listen.
  std::string listen;
  // How long a request may take; then its images are DEADLINE_EXCEEDED. Flag: --http_timeout.
  std::chrono::nanoseconds timeout = std::chrono::seconds(60);
  // Of the server: --max_message_bytes, --max_request_images, --max_receive_bytes, --max_calls.
  RequestLimits limits;
  std::size_t max_receive_bytes = std::size_t{2} << 30;
  std::size_t max_connections = 10'000;
  int threads = 1;
  // Of the server: --tls_* and --auth_token_file; null: none. /.well-known/ is served to everyone.
  std::shared_ptr<Reloaded<Certificates>> certificates = nullptr;
  std::shared_ptr<BearerTokens> tokens = nullptr;
  // Hears of what was answered, for metrics; null: nobody does.
  std::shared_ptr<Metrics> metrics = nullptr;
};

// Thread-safe.
class HttpBridge {
 public:
  // Listens and serves. The engine and the models outlive the bridge. Errors: those of
  // HttpServer::Start.
  static absl::StatusOr<std::unique_ptr<HttpBridge>> Start(Engine& engine,
                                                           const ModelRepository& models,
                                                           HttpBridgeOptions options);
  HttpBridge(const HttpBridge&) = delete;
  HttpBridge& operator=(const HttpBridge&) = delete;
  ~HttpBridge() = default;

  const std::string& address() const { return server_->address(); }

  // /.well-known/ready says 503, everything is served as before.
  void AnnounceDrain() { ready_ = false; }

  // Lets requests have their answers until `deadline`. REQUIRES: the engine was drained. Errors:
  // those of HttpServer::Stop.
  absl::Status Stop(TimePoint deadline) { return server_->Stop(deadline); }

 private:
  struct Gathering;

  HttpBridge(Engine& engine, const ModelRepository& models, HttpBridgeOptions options);

  void Handle(HttpRequest request, HttpReply reply);
  // The reply, of which metrics hear.
  HttpReply Observed(std::string_view route, HttpReply reply) const;
  void Embed(const HttpFormat& format, HttpRequest request, HttpReply reply);

  Engine& engine_;
  const ModelRepository& models_;
  const HttpBridgeOptions options_;
  std::atomic<bool> ready_ = true;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_HTTP_BRIDGE_H_
