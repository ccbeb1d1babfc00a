// Where LibTorch's exceptions end.
#ifndef PIXEMBED_SRC_MODEL_GUARD_H_
#define PIXEMBED_SRC_MODEL_GUARD_H_

#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "src/error/error.h"

namespace pixembed {

// The exception being handled, as a status: OUT_OF_MEMORY, or else of `reason`.
// REQUIRES: called inside a catch block.
absl::Status CurrentExceptionAsStatus(Reason reason = Reason::kDeviceFailure);

// Calls `function`, which returns a Status or StatusOr; what it throws is returned as a status.
template <typename Function>
std::invoke_result_t<Function> Guarded(Function&& function,
                                       Reason reason = Reason::kDeviceFailure) {
  try {
    return std::forward<Function>(function)();
  } catch (...) {
    return CurrentExceptionAsStatus(reason);
  }
}

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_GUARD_H_
