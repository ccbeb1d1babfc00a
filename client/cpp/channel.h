// Connections to one or several servers.
#ifndef PIXEMBED_CLIENT_CPP_CHANNEL_H_
#define PIXEMBED_CLIENT_CPP_CHANNEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "grpcpp/channel.h"

namespace pixembed::client {

struct NamedChannel {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
};

// Whether each address may be one: host:port with a port from 1 to 65535, unix:PATH,
// dns:///name:port, or one of xds:/// and google-c2p:///, which only gRPC can judge. gRPC itself
// takes port 443 where there is none, and others for what is no port.
// Errors: INVALID_ARGUMENT names the address, and what is expected; there is none.
absl::Status CheckAddresses(const std::vector<std::string>& addresses);

// Whether connections may be made to these. Errors: those of CheckAddresses; INVALID_ARGUMENT names
// an option that is out of range, or a token that would travel in plain text.
absl::Status CheckClientOptions(const std::vector<std::string>& addresses,
                                const ClientOptions& options);

// REQUIRES: CheckClientOptions of both is well.
// `channels_per_address` connections to each address, address by address, none shared between two
// channels. gRPC tries nothing again (retry.h does) but what no server has seen.
std::vector<NamedChannel> MakeChannels(const std::vector<std::string>& addresses,
                                       const ClientOptions& options);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_CHANNEL_H_
