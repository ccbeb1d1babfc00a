// grpc.reflection.v1alpha, as grpcurl and its like ask: what is served, from the descriptors of the
// program. Ours, and no plug-in of gRPC's, so that it asks for a token as every other service does.
#ifndef PIXEMBED_SERVER_REFLECTION_SERVICE_H_
#define PIXEMBED_SERVER_REFLECTION_SERVICE_H_

#include <stop_token>
#include <string>
#include <vector>

#include "server/call.h"

namespace pixembed {

class ReflectionService {
 public:
  // `services` are listed, by their full names. When `draining` is requested streams are cancelled.
  ReflectionService(std::vector<std::string> services, std::stop_token draining);

  // ServerReflectionInfo. The service outlives its calls.
  std::vector<Method> Methods();

 private:
  Task Answer(Call& call) const;

  const std::vector<std::string> services_;
  const std::stop_token draining_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_REFLECTION_SERVICE_H_
