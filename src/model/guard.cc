#include "src/model/guard.h"

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {

absl::Status CurrentExceptionAsStatus(Reason reason) {
  try {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    return MakeError(Reason::kOutOfMemory, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    return MakeError(reason, absl::StrCat("LibTorch: ", error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return MakeError(Reason::kOutOfMemory, "out of host memory");
  } catch (const std::exception& error) {
    return MakeError(reason, error.what());
  } catch (...) {
    return MakeError(reason, "an exception of an unknown type");
  }
}

}  // namespace pixembed
