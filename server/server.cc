#include "server/server.h"

#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/listen.h"
#include "server/metrics_server.h"
#include "server/status.h"
#include "server/tls_credentials.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

// Of each method, per queue: calls that may arrive before the queue's thread looks again.
constexpr int kOutstandingAccepts = 32;
constexpr int kMaxStreamsPerConnection = 4096;
// A peer that vanished without a word is noticed, and its call cancelled, after their sum.
constexpr int kKeepaliveMilliseconds = 60'000;
constexpr int kKeepaliveTimeoutMilliseconds = 20'000;
// Clients may ping this often; more often is answered with GOAWAY "too_many_pings".
constexpr int kMinPingIntervalMilliseconds = 10'000;

// How long calls may take to send their last answer when the drain's deadline has passed, and then
// clients to close their connections; and clients without a call to close theirs, before it has.
constexpr std::chrono::seconds kLastWord(1);

std::vector<std::string> ServiceNames() {
  return {"", "pixembed.v1.EmbeddingService", "inference.GRPCInferenceService",
          "grpc.health.v1.Health"};
}

std::vector<std::string> ReflectedServices() {
  return {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection",
          "inference.GRPCInferenceService", "pixembed.v1.EmbeddingService"};
}

// Asks for a token, where there are any.
CallCheck TokenCheck(std::shared_ptr<BearerTokens> tokens) {
  if (tokens == nullptr) return [](const Call&) { return grpc::Status::OK; };
  return [tokens = std::move(tokens)](const Call& call) {
    return ToGrpcStatus(tokens->Check(call.authorization(), std::chrono::steady_clock::now()),
                        std::chrono::milliseconds(0));
  };
}

// Tokens that anyone on the way can read are a mistake, unless something else encrypts.
void WarnOfBareTokens(const ServerOptions& options) {
  if (options.tokens == nullptr || options.certificates != nullptr || !options.log) return;
  std::vector<std::string> addresses = options.listen;
  if (!options.http_listen.empty()) addresses.push_back(options.http_listen);
  for (const std::string& address : addresses) {
    if (IsLocal(address)) continue;
    options.log(LogLevel::kWarning,
                absl::StrCat("tokens reach ", address,
                             " without TLS: whoever is on the way can read them, unless a mesh or "
                             "a proxy encrypts (flags --tls_certificate_file, "
                             "--tls_private_key_file)"));
  }
}

std::function<grpc::Status()> Overloaded(Engine& engine, std::size_t max_calls) {
  return [&engine, max_calls] {
    return ToGrpcStatus(
        MakeError(Reason::kOverloaded, absl::StrCat("the server is serving ", max_calls,
                                                    " calls, as many as --max_calls "
                                                    "allows")),
        engine.RetryDelay());
  };
}

void SetChannelOptions(const ServerOptions& options, grpc::ServerBuilder& builder) {
  // Ours is smaller and names its flag; gRPC 1.51 checks a message only after it was received
  // whole, so its limit would save no memory. The quota does.
  builder.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  grpc::ResourceQuota quota("pixembed");
  quota.Resize(options.max_receive_bytes);
  builder.SetResourceQuota(quota);
  // Images do not compress, and a small message may expand without bound before anyone can look.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // two servers must not share a port
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMilliseconds);
}

}  // namespace

Server::Server(Engine& engine, const std::vector<std::string>& model_names,
               const ServerOptions& options)
    : engine_(engine),
      metrics_(options.metrics),
      health_(ServiceNames(), draining_.get_token()),
      models_(
          engine, model_names, options.limits, options.model_control,
          {.on_change = [this](const std::string& name, bool served) { health_.Set(name, served); },
           .on_enter =
               [metrics = metrics_](std::size_t number, const std::string& name) {
                 if (metrics != nullptr) metrics->Name(number, name);
               },
           .on_leave =
               [metrics = metrics_](std::size_t number) {
                 if (metrics != nullptr) metrics->Forget(number);
               }}),
      embedding_(engine, models_, options.limits, options.stream_window, draining_.get_token()),
      inference_(engine, models_, options.limits, options.stream_window, draining_.get_token(),
                 [this] { return Ready(); }),
      reflection_(ReflectedServices(), draining_.get_token()),
      embedding_rpc_(embedding_.Methods(), TokenCheck(options.tokens), calls_, options.max_calls,
                     Overloaded(engine, options.max_calls), metrics_.get()),
      health_rpc_(health_.Methods(), TokenCheck(options.tokens), calls_,
                  std::numeric_limits<std::size_t>::max(), nullptr, metrics_.get()),
      inference_rpc_(inference_.Methods(), TokenCheck(options.tokens), calls_, options.max_calls,
                     Overloaded(engine, options.max_calls), metrics_.get()),
      reflection_rpc_(reflection_.Methods(), TokenCheck(options.tokens), calls_, options.max_calls,
                      Overloaded(engine, options.max_calls), metrics_.get()) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(Engine& engine,
                                                      const std::vector<std::string>& model_names,
                                                      const ServerOptions& options) {
  std::unique_ptr<Server> server(new Server(engine, model_names, options));
  if (absl::Status status = server->Listen(options); !status.ok()) return status;
  if (absl::Status status = server->ListenForHttp(options); !status.ok()) return status;
  if (absl::Status status = server->ListenForScrapes(options); !status.ok()) return status;
  WarnOfBareTokens(options);
  server->health_.Serve();
  return server;
}

std::shared_ptr<grpc::ServerCredentials> Server::CredentialsFor(const std::string& address,
                                                                const ServerOptions& options) {
  if (options.certificates == nullptr || absl::StartsWith(address, "unix:")) {
    return grpc::InsecureServerCredentials();
  }
  return credentials_.emplace_back(TlsCredentials(options.certificates));
}

absl::Status Server::Listen(const ServerOptions& options) {
  grpc::EnableDefaultHealthCheckService(false);
  grpc::ServerBuilder builder;
  SetChannelOptions(options, builder);
  std::vector<int> ports(options.listen.size());
  for (std::size_t i = 0; i < options.listen.size(); ++i) {
    if (absl::Status status = CheckListenAddress(options.listen[i]); !status.ok()) return status;
    builder.AddListeningPort(options.listen[i], CredentialsFor(options.listen[i], options),
                             &ports[i]);
  }
  builder.RegisterService(&embedding_rpc_);
  builder.RegisterService(&inference_rpc_);
  builder.RegisterService(&health_rpc_);
  builder.RegisterService(&reflection_rpc_);
  const int threads = options.threads > 0 ? options.threads : std::max(1, engine_.options().cores);
  for (int i = 0; i < threads; ++i) {
    queues_.push_back(std::make_unique<CompletionQueue>(builder.AddCompletionQueue()));
  }
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    queues_.clear();
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("cannot listen on ", absl::StrJoin(options.listen, ", "),
                                  ": gRPC gives no reason (flag --listen)"));
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    addresses_.push_back(WithPort(options.listen[i], ports[i]));
  }
  for (const auto& queue : queues_) {
    embedding_rpc_.Accept(*queue, kOutstandingAccepts);
    inference_rpc_.Accept(*queue, kOutstandingAccepts);
    health_rpc_.Accept(*queue, kOutstandingAccepts);
    reflection_rpc_.Accept(*queue, /*outstanding=*/1);
  }
  for (const auto& queue : queues_) queue->Start();
  return absl::OkStatus();
}

absl::Status Server::ListenForHttp(const ServerOptions& options) {
  if (options.http_listen.empty()) return absl::OkStatus();
  auto bridge = HttpBridge::Start(engine_, models_,
                                  {.listen = options.http_listen,
                                   .timeout = options.http_timeout,
                                   .limits = options.limits,
                                   .max_receive_bytes = options.max_receive_bytes,
                                   .max_connections = options.max_calls,
                                   .threads = static_cast<int>(queues_.size()),
                                   .certificates = options.certificates,
                                   .tokens = options.tokens,
                                   .metrics = options.metrics});
  if (!bridge.ok()) return bridge.status();
  http_ = *std::move(bridge);
  return absl::OkStatus();
}

bool Server::Ready() const {
  return health_.Find("") == grpc::health::v1::HealthCheckResponse::SERVING;
}

absl::Status Server::ListenForScrapes(const ServerOptions& options) {
  if (options.metrics_listen.empty()) return absl::OkStatus();
  auto server = StartMetricsServer(
      options.metrics_listen, [this, metrics = options.metrics, max_calls = options.max_calls,
                               certificates = options.certificates] {
        Metrics::Moment moment{.engine = &engine_,
                               .models = models_.served(),
                               .calls = calls_.value(),
                               .max_calls = max_calls,
                               .ready = Ready()};
        if (certificates != nullptr) {
          moment.certificate_end = certificates->Get(std::chrono::steady_clock::now())->end;
        }
        return metrics->Exposition(moment);
      });
  if (!server.ok()) return server.status();
  metrics_server_ = *std::move(server);
  return absl::OkStatus();
}

Server::~Server() { (void)Stop(std::chrono::steady_clock::now()); }

void Server::AnnounceDrain() {
  health_.Drain();
  if (http_ != nullptr) http_->AnnounceDrain();
}

absl::Status Server::Stop(TimePoint deadline) {
  const std::lock_guard lock(stop_mutex_);
  if (server_ == nullptr) return absl::OkStatus();
  AnnounceDrain();
  draining_.request_stop();
  const std::size_t served = calls_.BeginDrain();
  models_.Close();
  absl::Status status = engine_.Drain(deadline);
  // What was cut off still hears that it was.
  const TimePoint last_word = std::max(deadline, std::chrono::steady_clock::now() + kLastWord);
  const std::size_t cut_off = calls_.WaitUntilServed(last_word);
  if (cut_off > 0 && status.ok()) {
    status = MakeError(Reason::kDeadlineExceeded,
                       absl::StrCat(cut_off, " calls were cut off at the drain deadline"));
  }
  if (http_ != nullptr) status.Update(http_->Stop(last_word));
  // Gracefully: a connection that is closed while its client still sends is reset, and takes
  // results with it that the client has not read. The price is that gRPC 1.51 answers a call that
  // arrives between this and its client's hearing of it with CANCELLED. A client that has had
  // answers may be slow, or its machine stopped for a while, and has until the deadline; one that
  // had no call has nothing to lose, and may never answer.
  const bool answered = served + calls_.value() > 0;
  const TimePoint now = std::chrono::steady_clock::now();
  const TimePoint closed = answered ? std::max(deadline, now + kLastWord) : now + kLastWord;
  server_->Shutdown(std::chrono::system_clock::now() + (closed - now));
  calls_.WaitUntilZero();
  queues_.clear();
  server_.reset();
  // Last, so that a scrape sees how the drain went. One that is cut off is nothing lost.
  if (metrics_server_ != nullptr) {
    (void)metrics_server_->Stop(std::chrono::steady_clock::now() + kLastWord);
  }
  return status;
}

}  // namespace pixembed
