// The servers that a client talks to.
#ifndef PIXEMBED_CLIENT_CPP_CONNECTIONS_H_
#define PIXEMBED_CLIENT_CPP_CONNECTIONS_H_

#include <atomic>
#include <cstddef>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "client/cpp/channel.h"
#include "client/cpp/retry.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {

struct Connection {
  std::string address;
  std::unique_ptr<v1::EmbeddingService::Stub> embedding;
  std::unique_ptr<grpc::health::v1::Health::Stub> health;
};

// Thread-safe.
class Connections {
 public:
  // REQUIRES: there is a channel.
  explicit Connections(const std::vector<NamedChannel>& channels);

  // Each in turn.
  const Connection& Next();
  // Each in turn, but those to `avoided` addresses only when there is no other.
  const Connection& NextBut(const std::set<std::string>& avoided);

  // Whether a server has answered a call, be it with an error of its own. Told by those who call.
  bool answered() const { return answered_; }
  void TellAnswered() { answered_ = true; }

  // How many addresses there are.
  std::size_t addresses() const { return addresses_; }

  // Blocks until a server answers, the time is over, or a stop. The connection to the server;
  // nothing if there is none.
  const Connection* WaitUntilAnswered(RetryClock::time_point deadline,
                                      const std::stop_token& stop) const;

 private:
  std::vector<Connection> all_;
  std::size_t addresses_ = 0;
  std::atomic<std::size_t> turn_ = 0;
  std::atomic<bool> answered_ = false;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_CONNECTIONS_H_
