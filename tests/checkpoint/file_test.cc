#include "src/checkpoint/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "tests/checkpoint/safetensors_bytes.h"
#include "tests/checkpoint/status_matchers.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed {
namespace {

TEST(MapFile, TheBytesOutliveTheFile) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory.path() / "part");
  WriteFile(directory.path() / "part/a", "text");
  const auto mapped = MapFile(directory.path(), "part/a");
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  std::filesystem::remove(directory.path() / "part/a");
  EXPECT_EQ(mapped->text(), "text");
}

TEST(MapFile, AnEmptyFileHasNoBytes) {
  const TemporaryDirectory directory;
  WriteFile(directory.path() / "a", "");
  const auto mapped = MapFile(directory.path(), "a");
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  EXPECT_EQ(mapped->text(), "");
}

TEST(MapFile, ErrorsNameTheFileAsItIsCalledInTheDirectory) {
  const TemporaryDirectory directory;
  EXPECT_THAT(MapFile(directory.path(), "part/a"), IsMissing("part/a does not exist"));
  WriteFile(directory.path() / "part", "");
  EXPECT_THAT(MapFile(directory.path(), "part/a"), IsMissing("part/a does not exist"));
  std::filesystem::create_symlink("a", directory.path() / "a");
  EXPECT_THAT(MapFile(directory.path(), "a"),
              IsMissing("a cannot be read: Too many levels of symbolic links"));
  std::filesystem::create_directory(directory.path() / "b");
  EXPECT_THAT(MapFile(directory.path(), "b"), IsCorrupt("b is not a regular file"));
}

// Whoever runs the tests may be allowed everything.
TEST(CannotRead, WhereTheUserMayNotItIsSaidWhoThatIs) {
  EXPECT_THAT(absl::StatusOr<MappedFile>(CannotRead("config.json", EACCES)),
              IsMissing(absl::StrCat("config.json cannot be read: Permission denied; this process "
                                     "runs as user ",
                                     geteuid())));
}

}  // namespace
}  // namespace pixembed
