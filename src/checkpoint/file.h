// Internal to checkpoint/: the one way that a file of a model directory is read.
#ifndef PIXEMBED_SRC_CHECKPOINT_FILE_H_
#define PIXEMBED_SRC_CHECKPOINT_FILE_H_

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace pixembed {

// A file's bytes, mapped read-only. They live as long as `owner` or a copy of it.
struct MappedFile {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> bytes;

  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

// Maps the whole file; an empty file gives no bytes. Never blocks on a pipe or a device.
// REQUIRES: nobody shortens the file while it is mapped (the kernel would end the process).
// Errors: CHECKPOINT_MISSING (no such file, or it cannot be read), CHECKPOINT_CORRUPT (not a
// regular file).
absl::StatusOr<MappedFile> MapFile(const std::filesystem::path& file);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_CHECKPOINT_FILE_H_
