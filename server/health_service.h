// grpc.health.v1, over our own copy of its proto: gRPC 1.51's built-in service has no descriptor,
// so reflection could not describe it.
#ifndef PIXEMBED_SERVER_HEALTH_SERVICE_H_
#define PIXEMBED_SERVER_HEALTH_SERVICE_H_

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "server/call.h"
#include "server/completion_queue.h"

namespace pixembed {

// A status per name: "" (the server), service names, model names. Every name is NOT_SERVING before
// Serve and after Drain. Thread-safe.
class HealthService {
 public:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  // `names` are up. When `closing` is requested, watches end with UNAVAILABLE.
  HealthService(const std::vector<std::string>& names, std::stop_token closing);

  // Whether a name, which may be new, is up. It and the next two tell the watches.
  void Set(const std::string& name, bool up);
  // The names that are up are SERVING from now on; once.
  void Serve();
  // For good.
  void Drain();

  // Of a name, if it is known.
  std::optional<Status> Find(const std::string& name) const;

  // Check and Watch, which are open: probes have no token. The service outlives their calls.
  std::vector<Method> Methods();

 private:
  void WakeWatches() const;  // REQUIRES: mutex_ is held
  Task Check(Call& call) const;
  Task Watch(Call& call);

  const std::stop_token closing_;
  mutable std::mutex mutex_;
  // All below are guarded by mutex_.
  bool serving_ = false;
  std::map<std::string, bool> up_;
  std::set<std::shared_ptr<Event>> watches_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_HEALTH_SERVICE_H_
