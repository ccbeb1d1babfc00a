// The open loop of load.h: requests (stream: images) leave when they are due, whatever became of
// those before.
#ifndef PIXEMBED_CLIENT_CPP_OPEN_LOAD_H_
#define PIXEMBED_CLIENT_CPP_OPEN_LOAD_H_

#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/channel.h"
#include "client/cpp/load.h"

namespace pixembed::client {

// REQUIRES: the options are in range, the channels connected. Errors: the first one of a call.
absl::StatusOr<LoadReport> RunOpenLoad(const std::vector<NamedChannel>& channels,
                                       const LoadOptions& options);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_OPEN_LOAD_H_
