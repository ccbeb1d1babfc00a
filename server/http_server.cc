#include "server/http_server.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/certificates.h"
#include "server/http_tls.h"
#include "server/listen.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr char kMultipart[] = "multipart/form-data";
// What libmicrohttpd may use for the head of a request, and for the headers of a part.
constexpr std::size_t kHeadBytes = std::size_t{32} << 10;
constexpr std::size_t kPartHeadBytes = std::size_t{8} << 10;
// Fields of one form: each costs more memory than the bytes that it was sent as.
constexpr std::size_t kMaxParts = 65'536;

std::string HeaderOf(MHD_Connection* connection, const char* name) {
  const char* const value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
  return value == nullptr ? "" : value;
}

std::string MediaType(const std::string& content_type) {
  const std::string type = content_type.substr(0, content_type.find(';'));
  return absl::AsciiStrToLower(absl::StripAsciiWhitespace(type));
}

using Query = std::vector<std::pair<std::string, std::string>>;

Query QueryOf(MHD_Connection* connection) {
  Query query;
  const auto add = [](void* into, MHD_ValueKind /*kind*/, const char* key, const char* value) {
    if (key != nullptr) {
      static_cast<Query*>(into)->emplace_back(key, value == nullptr ? "" : value);
    }
    return MHD_YES;
  };
  MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, add, &query);
  return query;
}

MHD_Result Send(MHD_Connection* connection, HttpResponse response) {
  // Owned by the response until libmicrohttpd has sent it.
  auto body = std::make_unique<std::string>(std::move(response.body));
  const std::string& text = *body;
  MHD_Response* const made = MHD_create_response_from_buffer_with_free_callback_cls(
      text.size(), const_cast<char*>(text.data()),
      [](void* owner) { delete static_cast<std::string*>(owner); }, body.release());
  if (made == nullptr) return MHD_NO;
  if (!response.media_type.empty()) {
    MHD_add_response_header(made, MHD_HTTP_HEADER_CONTENT_TYPE, response.media_type.c_str());
  }
  for (const auto& [name, value] : response.headers) {
    MHD_add_response_header(made, name.c_str(), value.c_str());
  }
  const MHD_Result result =
      MHD_queue_response(connection, static_cast<unsigned int>(response.status), made);
  MHD_destroy_response(made);
  return result;
}

}  // namespace

// One request on its way. Belongs to libmicrohttpd's thread of the connection, but while the
// connection is suspended: then to whoever calls the reply.
class HttpServer::Exchange {
 public:
  Exchange(HttpServer& server, MHD_Connection* connection, const char* url, const char* method)
      : server_(server), connection_(connection) {
    request_.path = url;
    request_.method = method;
    request_.query = QueryOf(connection);
    request_.media_type = MediaType(HeaderOf(connection, MHD_HTTP_HEADER_CONTENT_TYPE));
    refusal_ = server.Admit(connection, request_.path);
    if (refusal_.ok() && request_.media_type == kMultipart) {
      form_.reset(MHD_create_post_processor(connection, kPartHeadBytes, &Exchange::OnPart, this));
      if (form_ == nullptr) refusal_ = MalformedForm();
    }
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() {
    server_.Release(reserved_);
    // Also waits for the reply to be over: it holds the lock while it wakes the connection.
    const std::lock_guard lock(server_.mutex_);
    if (!complete_) return;
    --server_.requests_;
    server_.changed_.notify_all();
  }

  // Refuses what is announced to be too large, or comes from a stranger, before it is sent: a
  // caller that waits for "100 Continue" sends nothing of it. Another stranger sends its body,
  // which is dropped, and then reads the answer: closed before, it might miss it.
  MHD_Result Begin() {
    if (!refusal_.ok() && !HeaderOf(connection_, MHD_HTTP_HEADER_EXPECT).empty()) {
      return Send(connection_, server_.options_.refuse(refusal_));
    }
    std::uint64_t length = 0;
    const std::string announced = HeaderOf(connection_, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (absl::SimpleAtoi(announced, &length) && length > server_.options_.max_body_bytes) {
      return Send(connection_, server_.options_.refuse(TooLarge(length)));
    }
    return MHD_YES;
  }

  MHD_Result Receive(std::string_view data) {
    received_ += data.size();
    const std::size_t most = server_.options_.max_body_bytes;
    if (received_ > most) {
      // Of a body that did not say its length. An answer can only follow its end, which may never
      // come.
      if (received_ > 2 * most) return MHD_NO;
      refusal_.Update(TooLarge(received_));
    }
    if (!refusal_.ok()) return MHD_YES;  // nothing of it is kept
    if (absl::Status status = Reserve(data.size()); !status.ok()) {
      refusal_ = std::move(status);
      return MHD_YES;
    }
    if (form_ == nullptr) {
      request_.body += data;
    } else if (MHD_post_process(form_.get(), data.data(), data.size()) != MHD_YES) {
      refusal_.Update(MalformedForm());
    }
    return MHD_YES;
  }

  // The body is complete, or there is an answer to it.
  MHD_Result End() {
    if (answer_ != nullptr) return Send(connection_, std::exchange(answer_, nullptr)());
    complete_ = true;
    {
      const std::lock_guard lock(server_.mutex_);
      ++server_.requests_;
    }
    // It says no where the form has no end.
    if (form_ != nullptr && MHD_destroy_post_processor(form_.release()) != MHD_YES) {
      refusal_.Update(MalformedForm());
    }
    if (!refusal_.ok()) return Send(connection_, server_.options_.refuse(refusal_));
    // Before the handler: its reply may come at once.
    MHD_suspend_connection(connection_);
    {
      const std::lock_guard lock(server_.mutex_);
      ++server_.unanswered_;
    }
    server_.handler_(std::move(request_), [this](absl::AnyInvocable<HttpResponse()> answer) {
      answer_ = std::move(answer);
      // Under the lock: Stop ends the daemon once nothing is unanswered.
      const std::lock_guard lock(server_.mutex_);
      MHD_resume_connection(connection_);
      --server_.unanswered_;
      server_.changed_.notify_all();
    });
    return MHD_YES;
  }

 private:
  struct EndForm {
    void operator()(MHD_PostProcessor* form) const { MHD_destroy_post_processor(form); }
  };

  // Takes bytes of what all requests may hold.
  absl::Status Reserve(std::size_t bytes) {
    if (server_.Reserve(bytes)) {
      reserved_ += bytes;
      return absl::OkStatus();
    }
    return MakeError(
        Reason::kOverloaded,
        absl::StrCat("the bodies of all HTTP requests hold more than the ",
                     server_.options_.max_receive_bytes, " bytes of --max_receive_bytes"));
  }

  static absl::Status MalformedForm() {
    return MakeError(Reason::kMalformedRequest,
                     "the body is not multipart/form-data with a boundary of 2 characters or more, "
                     "or incomplete");
  }

  absl::Status TooLarge(std::uint64_t bytes) const {
    return MakeError(Reason::kMessageTooLarge,
                     absl::StrCat("the body has ", bytes, " bytes or more, over the ",
                                  server_.options_.max_body_bytes, " of --max_message_bytes"));
  }

  static MHD_Result OnPart(void* exchange, MHD_ValueKind /*kind*/, const char* name,
                           const char* file_name, const char* /*content_type*/,
                           const char* /*transfer_encoding*/, const char* data,
                           std::uint64_t offset, std::size_t size) {
    auto& self = *static_cast<Exchange*>(exchange);
    std::vector<HttpPart>& parts = self.request_.parts;
    if (offset == 0) {
      if (parts.size() == kMaxParts) {
        self.refusal_ = MakeError(Reason::kMalformedRequest,
                                  absl::StrCat("the form has more than ", kMaxParts, " fields"));
        return MHD_NO;
      }
      parts.push_back({.name = name == nullptr ? "" : name,
                       .file_name = file_name == nullptr ? "" : file_name,
                       .data = ""});
    }
    parts.back().data.append(data, size);
    return MHD_YES;
  }

  HttpServer& server_;
  MHD_Connection* const connection_;
  HttpRequest request_;
  std::unique_ptr<MHD_PostProcessor, EndForm> form_;  // of multipart/form-data
  std::size_t received_ = 0;
  std::size_t reserved_ = 0;  // of the server's bytes
  bool complete_ = false;     // received whole
  absl::Status refusal_;
  absl::AnyInvocable<HttpResponse()> answer_;
};

struct HttpServer::Callbacks {
  // So that a handshake finds its server.
  static void OnConnection(void* server, MHD_Connection* /*connection*/, void** context,
                           MHD_ConnectionNotificationCode how) {
    if (how == MHD_CONNECTION_NOTIFY_STARTED) *context = server;
  }

  // A handshake wants a certificate. libmicrohttpd has made the session point to its connection.
  static int OnHandshake(gnutls_session_t session, const gnutls_cert_retr_st* /*wanted*/,
                         gnutls_pcert_st** chain, unsigned int* length,
                         gnutls_ocsp_data_st** /*ocsp*/, unsigned int* /*ocsp_length*/,
                         gnutls_privkey_t* key, unsigned int* flags) {
    auto* const connection = static_cast<MHD_Connection*>(gnutls_session_get_ptr(session));
    if (connection == nullptr) return -1;
    const MHD_ConnectionInfo* const info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (info == nullptr || info->socket_context == nullptr) return -1;
    const auto& server = *static_cast<HttpServer*>(info->socket_context);
    const auto current = server.options_.certificates->Get(std::chrono::steady_clock::now());
    return GiveCertificate(*current, chain, length, key, flags);
  }

  // Called when the head of a request is there, for each piece of its body, at its end, and when
  // the connection goes on after a reply.
  static MHD_Result OnAccess(void* server, MHD_Connection* connection, const char* url,
                             const char* method, const char* /*version*/, const char* data,
                             std::size_t* size, void** state) {
    auto* const exchange = static_cast<Exchange*>(*state);
    if (exchange == nullptr) {
      auto* const begun =
          new Exchange(*static_cast<HttpServer*>(server), connection, url, method);  // OnEnd's
      *state = begun;
      return begun->Begin();
    }
    if (*size == 0) return exchange->End();
    return exchange->Receive({data, std::exchange(*size, 0)});
  }

  static void OnEnd(void* /*server*/, MHD_Connection* /*connection*/, void** state,
                    MHD_RequestTerminationCode /*how*/) {
    delete static_cast<Exchange*>(std::exchange(*state, nullptr));
  }
};

HttpServer::HttpServer(HttpServerOptions options, HttpHandler handler)
    : options_(std::move(options)),
      handler_(std::move(handler)),
      authorities_(options_.certificates == nullptr
                       ? nullptr
                       : std::make_unique<ClientAuthorities>(options_.certificates)) {}

absl::Status HttpServer::Admit(MHD_Connection* connection, std::string_view path) const {
  if (options_.open && options_.open(path)) return absl::OkStatus();
  const auto authorities =
      authorities_ == nullptr ? nullptr : authorities_->Get(std::chrono::steady_clock::now());
  if (authorities != nullptr) {
    const MHD_ConnectionInfo* const info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    absl::Status status =
        CheckClientCertificate(static_cast<gnutls_session_t>(info->tls_session), *authorities);
    if (!status.ok()) return status;
  }
  if (!options_.authorize) return absl::OkStatus();
  std::vector<std::string_view> values;
  const auto add = [](void* into, MHD_ValueKind /*kind*/, const char* name, const char* value) {
    if (value != nullptr && absl::EqualsIgnoreCase(name, MHD_HTTP_HEADER_AUTHORIZATION)) {
      static_cast<std::vector<std::string_view>*>(into)->emplace_back(value);
    }
    return MHD_YES;
  };
  MHD_get_connection_values(connection, MHD_HEADER_KIND, add, &values);
  return options_.authorize(values);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options,
                                                              HttpHandler handler) {
  absl::StatusOr<Listener> listener = ListenOnTcp(options.listen, options.listen_flag);
  if (!listener.ok()) return listener.status();
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(options), std::move(handler)));
  server->address_ = std::move(listener->address);
  const HttpServerOptions& set = server->options_;
  // Its pool must have fewer threads than there may be connections.
  const auto connections = static_cast<unsigned int>(std::max<std::size_t>(set.max_connections, 1));
  const auto threads = std::min(static_cast<unsigned int>(std::max(set.threads, 1)), connections);
  const bool tls = set.certificates != nullptr;
  const std::string client_ca =
      tls ? set.certificates->Get(std::chrono::steady_clock::now())->client_ca : "";
  // Its authorities only make libmicrohttpd ask for a certificate; Admit looks at it.
  const std::array<MHD_OptionItem, 3> tls_options = {
      MHD_OptionItem{tls ? MHD_OPTION_HTTPS_CERT_CALLBACK2 : MHD_OPTION_END, 0,
                     reinterpret_cast<void*>(&Callbacks::OnHandshake)},
      MHD_OptionItem{client_ca.empty() ? MHD_OPTION_END : MHD_OPTION_HTTPS_MEM_TRUST, 0,
                     const_cast<char*>(client_ca.c_str())},
      MHD_OptionItem{MHD_OPTION_END, 0, nullptr}};
  server->daemon_ = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (tls ? MHD_USE_TLS : MHD_NO_FLAG),
      /*port=*/0, nullptr, nullptr, &Callbacks::OnAccess, server.get(),                    //
      MHD_OPTION_LISTEN_SOCKET, listener->descriptor,                                      //
      MHD_OPTION_NOTIFY_COMPLETED, &Callbacks::OnEnd, nullptr,                             //
      MHD_OPTION_NOTIFY_CONNECTION, &Callbacks::OnConnection, server.get(),                //
      MHD_OPTION_ARRAY, tls_options.data(),                                                //
      MHD_OPTION_CONNECTION_LIMIT, connections,                                            //
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, kHeadBytes,                                      //
      MHD_OPTION_CONNECTION_TIMEOUT, static_cast<unsigned int>(set.idle_timeout.count()),  //
      MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0U,                             //
      MHD_OPTION_END);
  if (server->daemon_ == nullptr) {
    close(listener->descriptor);
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("cannot serve HTTP on ", server->address_,
                                  ": libmicrohttpd gives no reason (flag --",
                                  std::string(set.listen_flag), ")"));
  }
  return server;
}

HttpServer::~HttpServer() { (void)Stop(std::chrono::steady_clock::now()); }

bool HttpServer::Reserve(std::size_t bytes) {
  if (receiving_.fetch_add(bytes) + bytes <= options_.max_receive_bytes) return true;
  receiving_ -= bytes;
  return false;
}

absl::Status HttpServer::Stop(TimePoint deadline) {
  const std::lock_guard one(stop_mutex_);
  if (daemon_ == nullptr) return absl::OkStatus();
  // Its threads may look at the socket until they end: it is closed after them.
  const MHD_socket listener = MHD_quiesce_daemon(daemon_);
  if (listener != MHD_INVALID_SOCKET) shutdown(listener, SHUT_RDWR);
  std::size_t cut_off = 0;
  {
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline, [this] { return requests_ == 0; });
    cut_off = requests_;
    changed_.wait(lock, [this] { return unanswered_ == 0; });
  }
  MHD_stop_daemon(std::exchange(daemon_, nullptr));
  if (listener != MHD_INVALID_SOCKET) close(listener);
  if (cut_off == 0) return absl::OkStatus();
  return MakeError(Reason::kDeadlineExceeded,
                   absl::StrCat(cut_off, " HTTP requests were cut off at the drain deadline"));
}

}  // namespace pixembed
