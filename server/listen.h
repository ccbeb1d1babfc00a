// Addresses to listen on.
#ifndef PIXEMBED_SERVER_LISTEN_H_
#define PIXEMBED_SERVER_LISTEN_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pixembed {

// Flags that give addresses. Only the first may give "unix:path".
inline constexpr std::string_view kListenFlag = "listen";
inline constexpr std::string_view kHttpListenFlag = "http_listen";
inline constexpr std::string_view kMetricsListenFlag = "metrics_listen";

// Whether `address` is written as one that `flag` may give, whatever the system says.
// Errors: INVALID_OPTION with the address, what is possible, and the flag.
absl::Status CheckListenText(const std::string& address, std::string_view flag = kListenFlag);

// Whether `address` ("host:port", "unix:path") can be listened on now, found by trying. gRPC itself
// only says that something failed, and silently takes the path of a live unix socket away.
// Errors: as CheckListenText; INVALID_OPTION with the address, the system's reason and the flag.
absl::Status CheckListenAddress(const std::string& address, std::string_view flag = kListenFlag);

// A socket that listens on `address` ("host:port"), for the caller to close, and the address with
// the port that was chosen for port 0.
struct Listener {
  int descriptor = -1;
  std::string address;
};
// Errors: INVALID_OPTION with the address, the system's reason and `flag`, which gave the address.
absl::StatusOr<Listener> ListenOnTcp(const std::string& address, std::string_view flag);

// Whether only this machine reaches what listens on `address`: a unix socket, or a host that is a
// loopback address.
bool IsLocal(const std::string& address);

// The address with the port that was chosen for port 0.
std::string WithPort(std::string_view address, int port);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_LISTEN_H_
