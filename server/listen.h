// Addresses to listen on.
#ifndef PIXEMBED_SERVER_LISTEN_H_
#define PIXEMBED_SERVER_LISTEN_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace pixembed {

// Whether `address` ("host:port", "unix:path") can be listened on now, found by trying. gRPC itself
// only says that something failed, and silently takes the path of a live unix socket away.
// Errors: INVALID_OPTION with the address and the system's reason.
absl::Status CheckListenAddress(const std::string& address);

// The address with the port that was chosen for port 0.
std::string WithPort(std::string_view address, int port);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_LISTEN_H_
