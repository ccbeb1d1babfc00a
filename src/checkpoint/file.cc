#include "src/checkpoint/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

absl::Status CannotRead(std::string_view name, int error) {
  std::string text = Printable(name);
  if (error == ENOENT || error == ENOTDIR) {
    text += " does not exist";
  } else {
    absl::StrAppend(&text, " cannot be read: ", std::generic_category().message(error));
  }
  if (error == EACCES) absl::StrAppend(&text, "; this process runs as user ", geteuid());
  return MakeError(Reason::kCheckpointMissing, text);
}

absl::StatusOr<MappedFile> MapFile(const std::filesystem::path& directory, std::string_view name) {
  const std::filesystem::path file = directory / name;
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const FileDescriptor fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return CannotRead(name, errno);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return CannotRead(name, errno);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat(Printable(name), " is not a regular file"));
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size == 0) return MappedFile{};
  void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (address == MAP_FAILED) return CannotRead(name, errno);
  MappedFile mapped;
  mapped.owner = std::shared_ptr<const void>(
      address, [size](const void* start) { munmap(const_cast<void*>(start), size); });
  mapped.bytes = {static_cast<const std::byte*>(address), size};
  return mapped;
}

}  // namespace pixembed
