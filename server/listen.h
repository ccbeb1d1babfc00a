// Addresses to listen on.
#ifndef PIXEMBED_SERVER_LISTEN_H_
#define PIXEMBED_SERVER_LISTEN_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pixembed {

// Whether `address` ("host:port", "unix:path") can be listened on now, found by trying. gRPC itself
// only says that something failed, and silently takes the path of a live unix socket away.
// Errors: INVALID_OPTION with the address and the system's reason.
absl::Status CheckListenAddress(const std::string& address);

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
