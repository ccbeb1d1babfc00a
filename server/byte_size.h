// A flag type for numbers of bytes: "1000", "64MiB", "2GiB".
#ifndef PIXEMBED_SERVER_BYTE_SIZE_H_
#define PIXEMBED_SERVER_BYTE_SIZE_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace pixembed {

struct ByteSize {
  std::size_t bytes = 0;
};

// Found by Abseil: a number, perhaps followed by KiB, MiB or GiB.
bool AbslParseFlag(absl::string_view text, ByteSize* size, std::string* error);
// With the largest unit that divides it.
std::string AbslUnparseFlag(ByteSize size);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_BYTE_SIZE_H_
