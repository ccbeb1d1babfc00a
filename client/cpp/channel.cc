#include "client/cpp/channel.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/cpp/client.h"
#include "grpc/impl/codegen/grpc_types.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/client_interceptor.h"
#include "grpcpp/support/interceptor.h"

namespace pixembed::client {
namespace {

using grpc::experimental::ClientInterceptorFactoryInterface;
using grpc::experimental::Interceptor;

int ToInt(std::size_t bytes) {
  return static_cast<int>(std::min<std::size_t>(bytes, std::numeric_limits<int>::max()));
}

// Adds the token to every call. gRPC's own credentials of a call want TLS, which a mesh may have in
// our place.
class TokenAdder final : public ClientInterceptorFactoryInterface, public Interceptor {
 public:
  explicit TokenAdder(const std::string& token) : value_("Bearer " + token) {}

  Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* /*call*/) override {
    return new TokenAdder(*this);  // gRPC owns it
  }
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", value_);
    }
    methods->Proceed();
  }

 private:
  std::string value_;
};

bool IsPort(absl::string_view text) {
  constexpr std::uint32_t kMaxPort = 65'535;
  std::uint32_t port = 0;
  return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
         absl::SimpleAtoi(text, &port) && port > 0 && port <= kMaxPort;
}

bool IsIpv6(absl::string_view text) {
  return absl::StrContains(text, ':') && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isxdigit(c) || c == ':' || c == '.';
         });
}

bool IsHostName(absl::string_view text) {
  return !text.empty() && std::none_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_iscntrl(c) || absl::StrContains(" :/,[]@?#%\\", c);
  });
}

// "host:port" or "[IPv6]:port".
bool IsHostAndPort(absl::string_view address) {
  const std::size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos || !IsPort(address.substr(colon + 1))) return false;
  absl::string_view host = address.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) return absl::ConsumeSuffix(&host, "]") && IsIpv6(host);
  return IsHostName(host);
}

// One of gRPC's schemes whose rest is not host:port, and only its to judge.
bool HasOtherScheme(absl::string_view address) {
  return (absl::ConsumePrefix(&address, "xds:///") ||
          absl::ConsumePrefix(&address, "google-c2p:///")) &&
         !address.empty();
}

bool IsAddress(absl::string_view address) {
  if (HasOtherScheme(address)) return true;
  if (absl::ConsumePrefix(&address, "unix:") || absl::ConsumePrefix(&address, "unix-abstract:")) {
    return !address.empty();
  }
  if (absl::ConsumePrefix(&address, "dns:") && absl::ConsumePrefix(&address, "//")) {
    address.remove_prefix(std::min(address.find('/'), address.size()));  // the name server
    if (!absl::ConsumePrefix(&address, "/")) return false;
  }
  return IsHostAndPort(address);
}

// gRPC ends the process where it is to send a token that no header may hold.
bool IsToken(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isgraph);
}

// What gRPC only finds out, and logs, when it connects.
absl::Status CheckPem(const Tls& tls) {
  const auto check = [](absl::string_view field, absl::string_view pem, absl::string_view what) {
    if (pem.empty() || absl::StrContains(pem, what)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("tls.", field, " has ", pem.size(),
                                                   " bytes, and none is PEM: it has no \"", what,
                                                   "-----\""));
  };
  absl::Status status = check("ca", tls.ca, "CERTIFICATE");
  status.Update(check("certificate", tls.certificate, "CERTIFICATE"));
  status.Update(check("private_key", tls.private_key, "PRIVATE KEY"));
  return status;
}

}  // namespace

absl::Status CheckAddresses(const std::vector<std::string>& addresses) {
  constexpr char kExpected[] =
      "host:port with a port from 1 to 65535, unix:PATH or dns:///name:port";
  if (addresses.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no address to connect to; expected is ", kExpected));
  }
  for (const std::string& address : addresses) {
    if (IsAddress(address)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the address \"", address, "\" is not ", kExpected));
  }
  return absl::OkStatus();
}

absl::Status CheckClientOptions(const std::vector<std::string>& addresses,
                                const ClientOptions& options) {
  if (absl::Status status = CheckAddresses(addresses); !status.ok()) {
    return status;
  }
  if (options.tls.has_value() &&
      options.tls->certificate.empty() != options.tls->private_key.empty()) {
    return absl::InvalidArgumentError("tls has one of certificate and private_key; it needs both");
  }
  if (options.tls.has_value()) {
    if (absl::Status status = CheckPem(*options.tls); !status.ok()) return status;
  }
  if (!IsToken(options.token)) {
    return absl::InvalidArgumentError(
        "token has a character that no header holds, as a space or the end of a line");
  }
  if (!options.token.empty() && !options.tls.has_value() && !options.insecure_token) {
    return absl::InvalidArgumentError(
        "token would travel in plain text: set tls, or insecure_token where nobody listens");
  }
  if (options.timeout.count() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("timeout is ", options.timeout.count(), " ms; it must not be negative"));
  }
  if (options.max_attempts && *options.max_attempts < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_attempts is ", *options.max_attempts, "; it must be at least 1"));
  }
  if (options.channels_per_address < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "channels_per_address is ", options.channels_per_address, "; it must be at least 1"));
  }
  return absl::OkStatus();
}

std::vector<NamedChannel> MakeChannels(const std::vector<std::string>& addresses,
                                       const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(ToInt(options.max_message_bytes));
  // Without a retryPolicy: gRPC's gives up after 5 attempts, within a second. Attempts is ours.
  arguments.SetServiceConfigJSON(R"({"loadBalancingConfig": [{"round_robin": {}}]})");
  // gRPC itself sends again what no server has seen, if it fits here; its default is 256 KiB.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, ToInt(options.max_message_bytes));
  // A server that is starting is found soon; gRPC's defaults are 1 s and 2 minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Otherwise channels to the same address share one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);

  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (options.tls.has_value()) {
    credentials = grpc::SslCredentials({.pem_root_certs = options.tls->ca,
                                        .pem_private_key = options.tls->private_key,
                                        .pem_cert_chain = options.tls->certificate});
    if (!options.tls->server_name.empty()) {
      arguments.SetSslTargetNameOverride(options.tls->server_name);
    }
  }

  std::vector<NamedChannel> channels;
  for (const std::string& address : addresses) {
    for (int i = 0; i < options.channels_per_address; ++i) {
      std::vector<std::unique_ptr<ClientInterceptorFactoryInterface>> interceptors;
      if (!options.token.empty()) {
        interceptors.push_back(std::make_unique<TokenAdder>(options.token));
      }
      channels.push_back({address, grpc::experimental::CreateCustomChannelWithInterceptors(
                                       address, credentials, arguments, std::move(interceptors))});
    }
  }
  return channels;
}

}  // namespace pixembed::client
