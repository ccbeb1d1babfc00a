// Files that change while the server runs: a good change is taken, a bad one is said once and
// changes nothing, and they are not looked at more often than promised.
#include "server/reloaded.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Text {
  std::string value;
  std::string about;
};

class ReloadedTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }

  void Write(const std::string& name, const std::string& content) const {
    std::ofstream(Path(name), std::ios::binary) << content;
  }

  // Of the files "a" and "b", joined; "bad" makes none.
  absl::StatusOr<std::shared_ptr<Reloaded<Text>>> Open() {
    return Reloaded<Text>::Open(
        {{.flag = "first", .path = Path("a")}, {.flag = "second", .path = Path("b")}},
        [](const std::vector<std::string>& contents) -> absl::StatusOr<Text> {
          if (contents[0] == "bad") return MakeError(Reason::kInvalidOption, "a is bad");
          const std::string joined = contents[0] + contents[1];
          return Text{.value = joined, .about = "made " + joined};
        },
        [this](LogLevel severity, const std::string& line) {
          (severity == LogLevel::kWarning ? warnings_ : lines_).push_back(line);
        },
        now_);
  }

  // What it holds when the files may be looked at again.
  std::string Next(Reloaded<Text>& reloaded) {
    now_ += kLookInterval;
    return reloaded.Get(now_)->value;
  }

  const TemporaryDirectory folder_;
  TimePoint now_;
  std::vector<std::string> lines_;
  std::vector<std::string> warnings_;
};

TEST_F(ReloadedTest, AChangeIsTakenAtTheNextLookAndSaid) {
  Write("a", "1");
  Write("b", "2");
  const auto reloaded = Open();
  ASSERT_TRUE(reloaded.ok()) << reloaded.status();
  EXPECT_EQ((*reloaded)->Get(now_)->value, "12");
  Write("b", "3");
  EXPECT_EQ((*reloaded)->Get(now_ + kLookInterval / 2)->value, "12");
  EXPECT_EQ(Next(**reloaded), "13");
  EXPECT_EQ(Next(**reloaded), "13");
  EXPECT_THAT(lines_, ElementsAre("--first=" + Path("a") + ": made 12",
                                  "--first=" + Path("a") + ": made 13"));
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(ReloadedTest, ABadChangeIsSaidOnceAndLeavesTheOldInForce) {
  Write("a", "1");
  Write("b", "2");
  const auto reloaded = Open();
  ASSERT_TRUE(reloaded.ok()) << reloaded.status();
  Write("a", "bad");
  EXPECT_EQ(Next(**reloaded), "12");
  EXPECT_EQ(Next(**reloaded), "12");
  EXPECT_THAT(warnings_, ElementsAre(AllOf(HasSubstr("stays in force"), HasSubstr("a is bad"))));
  std::filesystem::remove(Path("b"));
  EXPECT_EQ(Next(**reloaded), "12");
  EXPECT_EQ(Next(**reloaded), "12");
  ASSERT_EQ(warnings_.size(), 2U);
  EXPECT_THAT(warnings_[1],
              HasSubstr("--second=" + Path("b") + " cannot be read: No such file or directory"));
  Write("a", "4");
  Write("b", "5");
  EXPECT_EQ(Next(**reloaded), "45");
}

// As Kubernetes mounts a secret: a -> ..data/a, ..data -> a folder, which another one replaces.
TEST_F(ReloadedTest, ASymbolicLinkThatPointsElsewhereIsAChange) {
  for (const char* const version : {"v1", "v2"}) {
    std::filesystem::create_directory(Path(version));
    Write(std::string(version) + "/a", version);
    Write(std::string(version) + "/b", "");
  }
  std::filesystem::create_directory_symlink("v1", Path("..data"));
  std::filesystem::create_symlink("..data/a", Path("a"));
  std::filesystem::create_symlink("..data/b", Path("b"));
  const auto reloaded = Open();
  ASSERT_TRUE(reloaded.ok()) << reloaded.status();
  EXPECT_EQ((*reloaded)->Get(now_)->value, "v1");
  std::filesystem::create_directory_symlink("v2", Path("..new"));
  std::filesystem::rename(Path("..new"), Path("..data"));
  EXPECT_EQ(Next(**reloaded), "v2");
}

TEST_F(ReloadedTest, WhatCannotBeReadAtStartIsRefusedByFlagAndFile) {
  Write("a", "1");
  EXPECT_EQ(ReasonOf(Open().status()), Reason::kInvalidOption);
  EXPECT_EQ(Open().status().message(),
            "--second=" + Path("b") + " cannot be read: No such file or directory");
  std::filesystem::create_directory(Path("b"));
  EXPECT_EQ(Open().status().message(), "--second=" + Path("b") + " cannot be read: Is a directory");
  std::filesystem::remove(Path("b"));
  Write("b", std::string(kMaxFlagFileBytes + 1, 'x'));
  EXPECT_THAT(std::string(Open().status().message()),
              AllOf(HasSubstr("1048577 bytes"), HasSubstr("at most 1048576")));
}

}  // namespace
}  // namespace pixembed
