// HTTP/1.1 on a port of its own, by libmicrohttpd, with TLS where there are certificates. Knows
// nothing of what it serves.
#ifndef PIXEMBED_SERVER_HTTP_SERVER_H_
#define PIXEMBED_SERVER_HTTP_SERVER_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/certificates.h"
#include "server/listen.h"
#include "server/reloaded.h"
#include "src/engine/engine.h"

struct MHD_Connection;
struct MHD_Daemon;

namespace pixembed {

class ClientAuthorities;

// A field of multipart/form-data.
struct HttpPart {
  std::string name;
  std::string file_name;  // empty: a field without a file
  std::string data;
};

// A request, received whole.
struct HttpRequest {
  std::string method;                                      // "POST"
  std::string path;                                        // decoded, without the query
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in its order
  std::string media_type;       // of Content-Type: lower case, without parameters
  std::string body;             // of any media type but multipart/form-data
  std::vector<HttpPart> parts;  // of multipart/form-data, in its order
};

struct HttpResponse {
  int status = 200;
  std::string media_type = "application/json";
  std::string body;
  // Headers beside Content-Type and Content-Length.
  std::map<std::string, std::string> headers = {};
};

// Answers a request: call it once, from any thread; it does not block. The response is made on a
// thread of the HTTP server, so that the caller's has nothing to do with it.
using HttpReply = absl::AnyInvocable<void(absl::AnyInvocable<HttpResponse()>)>;

// Must not block. The reply may come before it returns or after.
using HttpHandler = std::function<void(HttpRequest, HttpReply)>;

struct HttpServerOptions {
  std::string listen;                              // "host:port"; port 0: a free one
  std::string_view listen_flag = kHttpListenFlag;  // the flag that gave it
  // Bytes of one body; more is MESSAGE_TOO_LARGE. Flag: --max_message_bytes.
  std::size_t max_body_bytes = std::size_t{64} << 20;
  // Bytes of all bodies that requests in progress have sent; more is OVERLOADED.
  // Flag: --max_receive_bytes.
  std::size_t max_receive_bytes = std::size_t{2} << 30;
  // Connections at once; more are closed. Flag: --max_calls.
  std::size_t max_connections = 10'000;
  // A connection on which nothing moves for so long is closed, unless its answer is being made.
  std::chrono::seconds idle_timeout{60};
  int threads = 1;
  // TLS; null: there is none. Each handshake takes those in force. A client without a certificate
  // of their authorities, if they have any, is refused request by request, but for `open` paths.
  std::shared_ptr<Reloaded<Certificates>> certificates = nullptr;
  // Whether a request with these values of Authorization (one or none) is served; null: every one
  // is. Asked when its head is there, of paths that are not open.
  std::function<absl::Status(std::span<const std::string_view> authorization)> authorize = nullptr;
  // Whether a path is served to everyone; null: none is, beside the above.
  std::function<bool(std::string_view path)> open = nullptr;
  // What is answered where the server itself refuses a request.
  std::function<HttpResponse(const absl::Status&)> refuse;
};

// Thread-safe.
class HttpServer {
 public:
  // Listens, and serves when it returns. `handler` may be called from several threads at once.
  // Errors: INVALID_OPTION names the address that cannot be listened on, and why.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(HttpServerOptions options,
                                                           HttpHandler handler);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  // Stop(now).
  ~HttpServer();

  // What it listens on, with the port that was chosen.
  const std::string& address() const { return address_; }

  // Accepts no more connections, lets requests that were received whole have their answers until
  // `deadline`, closes every connection. Idempotent. REQUIRES: every handler's reply was called, or
  // will be soon: this waits for those without a deadline. Errors: DEADLINE_EXCEEDED with the
  // number of requests that were cut off.
  absl::Status Stop(TimePoint deadline);

 private:
  class Exchange;
  struct Callbacks;  // what libmicrohttpd calls

  HttpServer(HttpServerOptions options, HttpHandler handler);

  // Errors: INVALID_TOKEN.
  absl::Status Admit(MHD_Connection* connection, std::string_view path) const;
  bool Reserve(std::size_t bytes);
  void Release(std::size_t bytes) { receiving_ -= bytes; }

  const HttpServerOptions options_;
  const HttpHandler handler_;
  const std::unique_ptr<ClientAuthorities> authorities_;  // null: there is no TLS
  std::string address_;
  MHD_Daemon* daemon_ = nullptr;
  std::atomic<std::size_t> receiving_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t requests_ = 0;    // guarded by mutex_: received whole, not ended
  std::size_t unanswered_ = 0;  // guarded by mutex_: handed on, reply not called
  std::mutex stop_mutex_;       // one Stop at a time
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_HTTP_SERVER_H_
