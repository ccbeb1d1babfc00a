#include "client/cpp/atomic_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/file_test.h"

namespace pixembed::client {
namespace {

using ::testing::ElementsAre;

using AtomicFileTest = FileTest;

TEST_F(AtomicFileTest, HasItsNameAndTheUsualRightsOnceItIsWhole) {
  const mode_t mask = umask(0027);
  auto file = *AtomicFile::Create(Path("a"));
  umask(mask);
  ASSERT_TRUE(file->Write("abc").ok());
  ASSERT_TRUE(file->Overwrite("A").ok());
  EXPECT_FALSE(std::filesystem::exists(Path("a")));
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(Read(Path("a")), "Abc");
  struct stat status {};
  ASSERT_EQ(stat(Path("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640);
  file.reset();
  EXPECT_THAT(Files(), ElementsAre("a"));
}

TEST_F(AtomicFileTest, TwoOfOneNameDoNotMeet) {
  auto first = *AtomicFile::Create(Path("a"));
  auto second = *AtomicFile::Create(Path("a"));
  ASSERT_TRUE(first->Write("first").ok());
  ASSERT_TRUE(second->Write("second").ok());
  ASSERT_TRUE(second->Commit().ok());
  EXPECT_EQ(Read(Path("a")), "second");
  ASSERT_TRUE(first->Commit().ok());
  EXPECT_EQ(Read(Path("a")), "first");
}

using AtomicFileDeathTest = AtomicFileTest;

TEST_F(AtomicFileDeathTest, ASignalThatEndsTheProgramLeavesOnlyWhatIsWhole) {
  for (const int signal : {SIGHUP, SIGINT, SIGPIPE, SIGTERM}) {
    const auto end = [&] {
      std::signal(signal, SIG_DFL);  // whoever runs the tests may ignore some
      const auto whole = *AtomicFile::Create(Path("whole"));
      AtomicFile::Create(Path("dropped")).value().reset();
      const auto a = *AtomicFile::Create(Path("a"));
      const auto b = *AtomicFile::Create(Path("b"));
      if (whole->Commit().ok() && Files().size() == 3) {
        std::raise(signal);
      }
    };
    EXPECT_EXIT(end(), testing::KilledBySignal(signal), "");
    EXPECT_THAT(Files(), ElementsAre("whole"));
  }
}

TEST_F(AtomicFileDeathTest, ASignalThatTheProgramIgnoresStaysIgnored) {
  const auto go_on = [&] {
    std::signal(SIGHUP, SIG_IGN);
    const auto file = *AtomicFile::Create(Path("a"));
    std::raise(SIGHUP);
    std::exit(file->Commit().ok() ? 0 : 1);
  };
  EXPECT_EXIT(go_on(), testing::ExitedWithCode(0), "");
  EXPECT_THAT(Files(), ElementsAre("a"));
}

}  // namespace
}  // namespace pixembed::client
