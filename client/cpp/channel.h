// Connections to one or several servers.
#ifndef PIXEMBED_CLIENT_CPP_CHANNEL_H_
#define PIXEMBED_CLIENT_CPP_CHANNEL_H_

#include <memory>
#include <string>
#include <vector>

#include "client/cpp/client.h"
#include "grpcpp/channel.h"

namespace pixembed::client {

struct NamedChannel {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
};

// `channels_per_address` connections to each address, address by address, none shared between two
// channels. With one address UNAVAILABLE is retried by gRPC itself, in every method but
// EmbedStream.
std::vector<NamedChannel> MakeChannels(const std::vector<std::string>& addresses,
                                       const ClientOptions& options);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_CHANNEL_H_
