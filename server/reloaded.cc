#include "server/reloaded.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

class Descriptor {
 public:
  explicit Descriptor(const std::string& path)
      // Not blocking: the open of a pipe without a writer would wait for one.
      : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

absl::Status CannotRead(const FlagFile& file) {
  return MakeError(
      Reason::kInvalidOption,
      absl::StrCat(file.Text(), " cannot be read: ", std::generic_category().message(errno)));
}

absl::StatusOr<std::string> ReadFlagFile(const FlagFile& file) {
  const Descriptor descriptor(file.path);
  if (descriptor.get() < 0) return CannotRead(file);
  std::string content;
  for (;;) {
    char buffer[16'384];
    const ssize_t size = read(descriptor.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return CannotRead(file);
    if (size == 0) return content;
    content.append(buffer, static_cast<std::size_t>(size));
    if (content.size() > kMaxFlagFileBytes) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat(file.Text(), " has ", content.size(),
                                    " bytes or more; at most ", kMaxFlagFileBytes, " are read"));
    }
  }
}

}  // namespace

std::string FlagFile::Text() const { return absl::StrCat("--", std::string(flag), "=", path); }

absl::StatusOr<std::vector<std::string>> ReadFlagFiles(std::span<const FlagFile> files) {
  std::vector<std::string> contents;
  contents.reserve(files.size());
  for (const FlagFile& file : files) {
    absl::StatusOr<std::string> content = ReadFlagFile(file);
    if (!content.ok()) return content.status();
    contents.push_back(*std::move(content));
  }
  return contents;
}

}  // namespace pixembed
