// What the tests of this room expect of a failure: its reason, and what its text names.
#ifndef PIXEMBED_TESTS_CHECKPOINT_STATUS_MATCHERS_H_
#define PIXEMBED_TESTS_CHECKPOINT_STATUS_MATCHERS_H_

#include <gmock/gmock.h>

#include <string>

#include "absl/status/statusor.h"
#include "src/error/error.h"

namespace pixembed {

// A StatusOr that failed for `reason`, with a message that matches `text`.
MATCHER_P2(Fails, reason, text, "") {
  if (arg.ok()) {
    *result_listener << "is OK";
    return false;
  }
  const std::string message(arg.status().message());
  *result_listener << message;
  return ReasonOf(arg.status()) == reason &&
         ::testing::ExplainMatchResult(text, message, result_listener);
}

template <typename Text>
auto IsCorrupt(Text text) {
  return Fails(Reason::kCheckpointCorrupt, text);
}

template <typename Text>
auto IsMissing(Text text) {
  return Fails(Reason::kCheckpointMissing, text);
}

template <typename Text>
auto IsUnsupported(Text text) {
  return Fails(Reason::kUnsupportedProcessor, text);
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_CHECKPOINT_STATUS_MATCHERS_H_
