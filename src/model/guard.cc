#include "src/model/guard.h"

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "src/error/error.h"

namespace pixembed {

namespace {

// LibTorch explains itself in paragraphs; a log takes lines.
std::string InOneLine(std::string_view text) {
  return absl::StrJoin(
      absl::StrSplit(absl::string_view(text.data(), text.size()), '\n', absl::SkipWhitespace()),
      "; ");
}

}  // namespace

absl::Status CurrentExceptionAsStatus(Reason reason) {
  try {
    throw;
  } catch (const c10::OutOfMemoryError& error) {
    return MakeError(Reason::kOutOfMemory, InOneLine(error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    return MakeError(reason, absl::StrCat("LibTorch: ", InOneLine(error.what_without_backtrace())));
  } catch (const std::bad_alloc&) {
    return MakeError(Reason::kOutOfMemory, "out of host memory");
  } catch (const std::exception& error) {
    return MakeError(reason, InOneLine(error.what()));
  } catch (...) {
    return MakeError(reason, "an exception of an unknown type");
  }
}

}  // namespace pixembed
