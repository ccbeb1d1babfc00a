// A directory that lives as long as its object.
#ifndef PIXEMBED_TESTS_CHECKPOINT_TEMPORARY_DIRECTORY_H_
#define PIXEMBED_TESTS_CHECKPOINT_TEMPORARY_DIRECTORY_H_

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace pixembed {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "pixembed-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_CHECKPOINT_TEMPORARY_DIRECTORY_H_
