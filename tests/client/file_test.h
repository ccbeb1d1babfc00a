// What tests of files that a client writes share.
#ifndef PIXEMBED_TESTS_CLIENT_FILE_TEST_H_
#define PIXEMBED_TESTS_CLIENT_FILE_TEST_H_

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed::client {

// The names of what lies in it, in alphabetical order.
inline std::vector<std::string> NamesIn(const TemporaryDirectory& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// With a directory of its own.
class FileTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (directory_.path() / name).string(); }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::vector<std::string> Files() const { return NamesIn(directory_); }

  TemporaryDirectory directory_;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_TESTS_CLIENT_FILE_TEST_H_
