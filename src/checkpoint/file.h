// Internal to checkpoint/: what it says of a file that it cannot read.
#ifndef PIXEMBED_SRC_CHECKPOINT_FILE_H_
#define PIXEMBED_SRC_CHECKPOINT_FILE_H_

#include <string_view>

#include "absl/status/status.h"

namespace pixembed {

// CHECKPOINT_MISSING for what a system call refused with `error` (errno). `name`, Printable, begins
// the text: "config.json cannot be read: Permission denied; this process runs as user 65532".
absl::Status CannotRead(std::string_view name, int error);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_CHECKPOINT_FILE_H_
