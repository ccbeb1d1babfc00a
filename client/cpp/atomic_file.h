// A file that appears under its name whole or not at all.
#ifndef PIXEMBED_CLIENT_CPP_ATOMIC_FILE_H_
#define PIXEMBED_CLIENT_CPP_ATOMIC_FILE_H_

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pixembed::client {

struct PartialName;

// Errors are those of the system, naming the path. One thread at a time.
class AtomicFile {
 public:
  // Until Commit it is PATH.partial-XXXXXXXX. The destructor removes that, and so does a signal
  // that ends the program (SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM), unless the program handles
  // it or ignores it when the first file is created.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  absl::Status Write(std::string_view bytes);
  // At the beginning of the file, over what is there.
  absl::Status Overwrite(std::string_view bytes);
  // Gives it its name, in place of what has that. Once, and nothing after it.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, PartialName& partial, std::FILE* file);

  absl::Status Failure() const;

  const std::string path_;
  PartialName& partial_;
  std::FILE* file_;  // null once closed
};

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_ATOMIC_FILE_H_
