#include "server/listen.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr std::uint32_t kMaxPort = 65'535;

class Socket {
 public:
  explicit Socket(int family) : descriptor_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  Socket(Socket&& other) noexcept : descriptor_(other.Release()) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }
  int Release() { return std::exchange(descriptor_, -1); }

 private:
  int descriptor_;
};

absl::Status CannotListen(const std::string& address, std::string_view why, std::string_view flag) {
  return MakeError(Reason::kInvalidOption,
                   absl::StrCat("cannot listen on ", address, ": ", std::string(why), " (flag --",
                                std::string(flag), ")"));
}

std::string SystemError() { return std::generic_category().message(errno); }

bool IsUnix(const std::string& address, std::string_view flag) {
  return flag == kListenFlag && absl::StartsWith(address, "unix:");
}

// REQUIRES: CheckListenText found nothing wrong.
absl::Status CheckUnix(const std::string& address) {
  const std::string path = address.substr(kUnixPrefix.size());
  sockaddr_un target = {};
  target.sun_family = AF_UNIX;
  path.copy(static_cast<char*>(target.sun_path), path.size());
  const auto* const name = reinterpret_cast<const sockaddr*>(&target);
  const Socket client(AF_UNIX);
  if (connect(client.get(), name, sizeof target) == 0) {
    return CannotListen(address, "a server listens there", kListenFlag);
  }
  std::error_code error;
  if (std::filesystem::is_socket(path, error)) unlink(path.c_str());  // nobody answers: a leftover
  const Socket server(AF_UNIX);
  if (bind(server.get(), name, sizeof target) != 0) {
    return CannotListen(address, SystemError(), kListenFlag);
  }
  unlink(path.c_str());
  return absl::OkStatus();
}

// "host:port" and "[host]:port" in two, with a port that exists; false if it is neither.
bool Split(std::string_view address, std::string& host, std::string& port) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == address.size()) return false;
  port = address.substr(colon + 1);
  std::uint32_t number = 0;
  if (!absl::SimpleAtoi(port, &number) || number > kMaxPort) return false;
  std::string_view name = address.substr(0, colon);
  if (name.size() >= 2 && name.front() == '[' && name.back() == ']') {
    name = name.substr(1, name.size() - 2);
  } else if (name.find(':') != std::string_view::npos) {
    return false;
  }
  host = name;
  return !host.empty();
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// Where one listens for `host` and `port`, and getaddrinfo's error.
std::pair<Addresses, int> Resolve(const std::string& host, const std::string& port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  return {Addresses(error == 0 ? found : nullptr, &freeaddrinfo), error};
}

bool IsLoopback(const sockaddr& address) {
  if (address.sa_family == AF_INET6) {
    return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr);
  }
  constexpr std::uint32_t kLoopbackNetwork = 127;
  const auto& internet = reinterpret_cast<const sockaddr_in&>(address);
  return ntohl(internet.sin_addr.s_addr) >> 24 == kLoopbackNetwork;
}

// Errors: INVALID_OPTION, as ListenOnTcp.
absl::StatusOr<Socket> BindTcp(const std::string& address, std::string_view flag) {
  if (absl::Status status = CheckListenText(address, flag); !status.ok()) return status;
  std::string host;
  std::string port;
  Split(address, host, port);
  const auto [found, error] = Resolve(host, port);
  if (error != 0) return CannotListen(address, gai_strerror(error), flag);
  Socket socket(found->ai_family);
  const int on = 1;  // as gRPC binds: a port that is only in TIME_WAIT is free
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(socket.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      listen(socket.get(), SOMAXCONN) != 0) {
    return CannotListen(address, SystemError(), flag);
  }
  return socket;
}

// The port that a bound socket has.
int PortOf(const Socket& socket) {
  sockaddr_storage name = {};
  socklen_t size = sizeof name;
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
  // Both families have the port in the same place.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&name)->sin_port);
}

}  // namespace

absl::Status CheckListenText(const std::string& address, std::string_view flag) {
  if (IsUnix(address, flag)) {
    constexpr std::size_t kMost = sizeof sockaddr_un::sun_path - 1;
    const std::size_t size = address.size() - kUnixPrefix.size();
    if (size >= 1 && size <= kMost) return absl::OkStatus();
    return CannotListen(
        address, absl::StrCat("the path has ", size, " bytes; 1 to ", kMost, " are possible"),
        flag);
  }
  std::string host;
  std::string port;
  if (Split(address, host, port)) return absl::OkStatus();
  return CannotListen(address,
                      flag == kListenFlag ? "it is not host:port, [IPv6]:port or unix:path"
                                          : "it is not host:port or [IPv6]:port",
                      flag);
}

absl::Status CheckListenAddress(const std::string& address, std::string_view flag) {
  if (!IsUnix(address, flag)) return BindTcp(address, flag).status();
  if (absl::Status status = CheckListenText(address, flag); !status.ok()) return status;
  return CheckUnix(address);
}

absl::StatusOr<Listener> ListenOnTcp(const std::string& address, std::string_view flag) {
  absl::StatusOr<Socket> socket = BindTcp(address, flag);
  if (!socket.ok()) return socket.status();
  const int port = PortOf(*socket);
  return Listener{.descriptor = socket->Release(), .address = WithPort(address, port)};
}

bool IsLocal(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) return true;
  std::string host;
  std::string port;
  if (!Split(address, host, port)) return false;
  const auto [found, error] = Resolve(host, port);
  return error == 0 && IsLoopback(*found->ai_addr);
}

std::string WithPort(std::string_view address, int port) {
  if (absl::StartsWith(absl::string_view(address.data(), address.size()), "unix:")) {
    return std::string(address);
  }
  return absl::StrCat(std::string(address.substr(0, address.rfind(':') + 1)), port);
}

}  // namespace pixembed
