#include "server/model_directories.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ModelDirectoriesTest : public ::testing::Test {
 protected:
  ModelDirectoriesTest() {
    fs::create_directories(root_ / "b");
    fs::create_directories(root_ / "a-1.0_x");
    fs::create_directories(directory_.path() / "outside");
  }

  void ExpectUnknown(const std::string& name) {
    EXPECT_EQ(ReasonOf(ModelDirectories({}, root_).Find(name).status()), Reason::kUnknownModel)
        << name;
  }

  const TemporaryDirectory directory_;
  const fs::path root_ = directory_.path() / "repository";
};

TEST_F(ModelDirectoriesTest, OwnModelsComeFirstAndThoseOfTheRepositoryByName) {
  const ModelDirectories models(
      {{.name = "z", .directory = "/m/z"}, {.name = "y", .directory = "/m"}}, root_);
  EXPECT_THAT(models.Names(), ElementsAre("z", "y", "a-1.0_x", "b"));
  EXPECT_EQ(models.Find("z")->directory, "/m/z");
  EXPECT_EQ(models.Find("b")->directory, root_ / "b");
  EXPECT_EQ(models.Find("b")->name, "b");
}

TEST_F(ModelDirectoriesTest, AnOwnModelHidesOneOfTheRepository) {
  const ModelDirectories models({{.name = "b", .directory = "/elsewhere"}}, root_);
  EXPECT_THAT(models.Names(), ElementsAre("b", "a-1.0_x"));
  EXPECT_EQ(models.Find("b")->directory, "/elsewhere");
}

TEST_F(ModelDirectoriesTest, WithoutARepositoryThereAreTheOwnModelsOnly) {
  const ModelDirectories models({{.name = "z", .directory = "/m/z"}}, "");
  EXPECT_THAT(models.Names(), ElementsAre("z"));
  EXPECT_EQ(ReasonOf(models.Find("b").status()), Reason::kUnknownModel);
}

TEST_F(ModelDirectoriesTest, ARepositoryThatIsNotThereHasNoNamesAndIsRefused) {
  const ModelDirectories models({}, root_ / "missing");
  EXPECT_THAT(models.Names(), IsEmpty());
  EXPECT_THAT(models.AllLeftOut(), IsEmpty());
  EXPECT_FALSE(models.Find("b").ok());
  const absl::Status status = models.CheckRepository();
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidOption);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("--model_repository=" + (root_ / "missing").string()),
                    HasSubstr("No such file or directory")));
}

TEST_F(ModelDirectoriesTest, AFileIsNoRepository) {
  std::ofstream(root_ / "file") << "models";
  EXPECT_THAT(std::string(ModelDirectories({}, root_ / "file").CheckRepository().message()),
              HasSubstr("cannot be read: Not a directory"));
  EXPECT_TRUE(ModelDirectories({}, root_).CheckRepository().ok());
  EXPECT_TRUE(ModelDirectories({}, "").CheckRepository().ok());
}

TEST_F(ModelDirectoriesTest, WhatIsNotAmongTheNamesIsLeftOutForAReason) {
  fs::create_directories(root_ / "with space");
  fs::create_directories(root_ / ".hidden");
  fs::create_directory_symlink(directory_.path() / "outside", root_ / "out");
  fs::create_directory_symlink("nowhere", root_ / "dangling");
  std::ofstream(root_ / "README") << "models";
  fs::create_symlink("README", root_ / "README.link");
  const ModelDirectories models({{.name = "b", .directory = "/elsewhere"}}, root_);
  std::vector<std::string> lines;
  for (const ModelDirectories::LeftOut& left : models.AllLeftOut()) {
    lines.push_back(left.name + ": " + left.why);
  }
  const std::string letters =
      "a name is letters, digits, '.', '_' and '-', and does not begin with '.'";
  EXPECT_THAT(
      lines,
      ElementsAre("b: --model names another directory so", "dangling: No such file or directory",
                  "out: it is a link that leads to no directory within the repository",
                  "with space: " + letters));
}

TEST_F(ModelDirectoriesTest, WhatComesAndGoesIsSeen) {
  const ModelDirectories models({}, root_);
  fs::create_directory(root_ / "c");
  fs::remove(root_ / "b");
  EXPECT_THAT(models.Names(), ElementsAre("a-1.0_x", "c"));
  EXPECT_TRUE(models.Find("c").ok());
  EXPECT_FALSE(models.Find("b").ok());
}

TEST_F(ModelDirectoriesTest, NamesThatAreNoOrdinaryComponentAreUnknown) {
  fs::create_directories(root_ / ".hidden");
  fs::create_directories(root_ / "with space");
  fs::create_directories(root_ / "b" / "inner");
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("../outside"),
        std::string("b/../../outside"), std::string("b/inner"), std::string("b/"),
        std::string("/etc"), (directory_.path() / "outside").string(), std::string(".hidden"),
        std::string("with space"), std::string("b\0", 2), std::string("b\n"), std::string("b\\"),
        std::string("%2e%2e"), std::string("~"), std::string("*"), std::string(300, 'b'),
        std::string("\xff\xfe")}) {
    ExpectUnknown(name);
  }
  EXPECT_THAT(ModelDirectories({}, root_).Names(), ElementsAre("a-1.0_x", "b"));
}

TEST_F(ModelDirectoriesTest, ALinkIsFollowedWithinTheRepositoryOnly) {
  fs::create_directory_symlink(root_ / "b", root_ / "current");
  fs::create_directory_symlink(directory_.path() / "outside", root_ / "out");
  fs::create_directory_symlink("../outside", root_ / "relative");
  fs::create_directory_symlink(".", root_ / "itself");
  fs::create_directory_symlink("loop", root_ / "loop");
  fs::create_directory_symlink("nowhere", root_ / "dangling");
  EXPECT_TRUE(ModelDirectories({}, root_).Find("current").ok());
  for (const char* const name : {"out", "relative", "itself", "loop", "dangling"}) {
    ExpectUnknown(name);
  }
  EXPECT_THAT(ModelDirectories({}, root_).Names(), ElementsAre("a-1.0_x", "b", "current"));
}

// A repository that is itself a link is one all the same.
TEST_F(ModelDirectoriesTest, TheRepositoryMayBeALink) {
  fs::create_directory_symlink(root_, directory_.path() / "link");
  EXPECT_THAT(ModelDirectories({}, directory_.path() / "link").Names(),
              ElementsAre("a-1.0_x", "b"));
}

TEST_F(ModelDirectoriesTest, AFileIsNoModel) {
  std::ofstream(root_ / "README") << "models";
  ExpectUnknown("README");
}

}  // namespace
}  // namespace pixembed
