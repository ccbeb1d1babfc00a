#include "client/cpp/image_files.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed::client {
namespace {

namespace fs = std::filesystem;

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string> kExtensions = {"jpg", "png"};

class ImageFiles : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes = "x") const {
    const fs::path path = directory_.path() / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  std::string root() const { return directory_.path().string(); }
  static std::vector<std::string> PathsOf(const absl::StatusOr<std::vector<ImageFile>>& images) {
    std::vector<std::string> paths;
    for (const ImageFile& image : images.value()) {
      paths.push_back(image.path);
    }
    return paths;
  }

  TemporaryDirectory directory_;
  std::istringstream no_input_;
};

TEST_F(ImageFiles, ADirectoryIsWalkedInTheOrderOfNamesByExtension) {
  const std::string c = Write("c.PNG");
  const std::string b = Write("b/2.jpg");
  const std::string a = Write("b/1/z.png");
  Write("b/notes.txt");
  Write("noextension");
  const auto images = ListImages({root()}, kExtensions);
  ASSERT_TRUE(images.ok()) << images.status();
  EXPECT_THAT(PathsOf(images), ElementsAre(a, b, c));
}

TEST_F(ImageFiles, AStarTakesEveryFile) {
  const std::string file = Write("noextension");
  EXPECT_THAT(PathsOf(ListImages({root()}, {"*"})), ElementsAre(file));
}

TEST_F(ImageFiles, ANamedFileIsTakenWhateverItIsCalledAndInItsPlace) {
  const std::string odd = Write("odd.bin");
  const std::string plain = Write("plain.png");
  EXPECT_THAT(PathsOf(ListImages({plain, odd, kStandardInput, plain}, kExtensions)),
              ElementsAre(plain, odd, kStandardInput, plain));
}

TEST_F(ImageFiles, ExtensionsMayHaveADotAndAnyCase) {
  const std::string a = Write("a.jpg");
  const std::string b = Write("b.JPG");
  Write("c.png");
  for (const char* extension : {"jpg", ".jpg", "JPG", ".Jpg"}) {
    EXPECT_THAT(PathsOf(ListImages({root()}, {extension})), ElementsAre(a, b)) << extension;
  }
}

TEST_F(ImageFiles, LinksAreWalkedAsWhatTheyLeadTo) {
  const TemporaryDirectory elsewhere;
  std::ofstream(elsewhere.path() / "z.png") << "x";
  const std::string file = Write("a.png");
  fs::create_symlink(file, directory_.path() / "b.png");
  fs::create_directory_symlink(elsewhere.path(), directory_.path() / "c");
  fs::create_directory_symlink(elsewhere.path(), directory_.path() / "d");
  EXPECT_THAT(PathsOf(ListImages({root()}, kExtensions)),
              ElementsAre(file, root() + "/b.png", root() + "/c/z.png", root() + "/d/z.png"));
}

TEST_F(ImageFiles, ADirectoryThatHoldsItselfIsNotEnteredAgain) {
  const std::string file = Write("sub/a.png");
  const TemporaryDirectory elsewhere;
  fs::create_directory_symlink(directory_.path(), directory_.path() / "sub" / "loop");
  fs::create_directory_symlink(elsewhere.path(), directory_.path() / "sub" / "other");
  fs::create_directory_symlink(directory_.path() / "sub", elsewhere.path() / "back");
  EXPECT_THAT(PathsOf(ListImages({root()}, kExtensions)), ElementsAre(file));
}

TEST_F(ImageFiles, ALinkThatLeadsNowhereFailsAloneWhereItCouldBeAnImageOrADirectory) {
  const std::string file = Write("a.png");
  for (const char* name : {"b.png", "c", "notes.txt"}) {
    fs::create_symlink("/none/gone", directory_.path() / name);
  }
  fs::create_symlink("d.png", directory_.path() / "d.png");  // leads to itself
  const auto images = ListImages({root()}, kExtensions);
  ASSERT_THAT(PathsOf(images),
              ElementsAre(file, root() + "/b.png", root() + "/c", root() + "/d.png"));
  EXPECT_TRUE((*images)[0].status.ok());
  EXPECT_TRUE(absl::IsNotFound((*images)[1].status));
  EXPECT_TRUE(absl::IsNotFound((*images)[2].status));
  EXPECT_FALSE((*images)[3].status.ok());
  EXPECT_EQ(ReadImage((*images)[1], 100, no_input_).status(), (*images)[1].status);
}

// A path longer than the system takes: unreadable for root, too, whom no permission keeps out.
TEST_F(ImageFiles, ADirectoryThatCannotBeReadFailsAlone) {
  const std::string before = Write("a.png");
  const std::string after = Write("z.png");
  const fs::path start = fs::current_path();
  fs::create_directory(directory_.path() / "deep");
  fs::current_path(directory_.path() / "deep");
  const std::string name(200, 'd');
  for (int i = 0; i < 25; ++i) {
    fs::create_directory(name);
    fs::current_path(name);
  }
  fs::current_path(start);
  const auto images = ListImages({root()}, kExtensions);
  ASSERT_TRUE(images.ok()) << images.status();
  ASSERT_EQ(images->size(), 3);
  EXPECT_EQ(images->front().path, before);
  EXPECT_EQ(images->back().path, after);
  EXPECT_FALSE((*images)[1].status.ok());
  EXPECT_THAT(std::string((*images)[1].status.message()), HasSubstr((*images)[1].path));
}

TEST_F(ImageFiles, APipeInADirectoryIsReportedAndNeverOpened) {
  const std::string pipe = root() + "/a.jpg";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ASSERT_EQ(mkfifo((root() + "/log.fifo").c_str(), 0600), 0);
  const std::string file = Write("b.jpg");
  const auto images = ListImages({root()}, kExtensions);
  ASSERT_THAT(PathsOf(images), ElementsAre(pipe, file));
  const auto data =
      ReadImage(images->front(), 100, no_input_);  // nobody writes: it would not return
  EXPECT_TRUE(absl::IsInvalidArgument(data.status()));
  EXPECT_THAT(std::string(data.status().message()), HasSubstr(pipe));
}

TEST_F(ImageFiles, AMissingPathIsNamed) {
  const auto images = ListImages({root() + "/none.png"}, kExtensions);
  EXPECT_TRUE(absl::IsNotFound(images.status()));
  EXPECT_THAT(std::string(images.status().message()), HasSubstr("/none.png"));
}

TEST_F(ImageFiles, ADirectoryWithoutImagesIsAnErrorThatNamesTheFlag) {
  Write("notes.txt");
  const auto images = ListImages({root()}, kExtensions);
  EXPECT_TRUE(absl::IsInvalidArgument(images.status()));
  EXPECT_THAT(std::string(images.status().message()), HasSubstr("--extensions"));
}

TEST_F(ImageFiles, ReadsAFileWhole) {
  const std::string bytes(200'000, '\xfe');
  EXPECT_EQ(*ReadImage({Write("a.png", bytes)}, 1 << 20, no_input_), bytes);
  EXPECT_EQ(*ReadImage({Write("empty.png", "")}, 1 << 20, no_input_), "");
}

TEST_F(ImageFiles, ReadsStandardInput) {
  std::istringstream input(std::string("ab\0cd", 5));
  EXPECT_EQ(*ReadImage({kStandardInput}, 100, input), std::string("ab\0cd", 5));
}

TEST_F(ImageFiles, AFileAboveTheLimitIsRefusedAtTheLimit) {
  EXPECT_TRUE(ReadImage({Write("a.png", std::string(100, 'x'))}, 100, no_input_).ok());
  const auto image = ReadImage({Write("b.png", std::string(101, 'x'))}, 100, no_input_);
  EXPECT_TRUE(absl::IsInvalidArgument(image.status()));
  EXPECT_THAT(std::string(image.status().message()), HasSubstr("100 bytes"));
}

TEST_F(ImageFiles, AnUnreadableFileIsAnErrorThatNamesIt) {
  EXPECT_TRUE(absl::IsNotFound(ReadImage({root() + "/gone.png"}, 100, no_input_).status()));
  const auto directory = ReadImage({root()}, 100, no_input_);
  EXPECT_FALSE(directory.ok());
  EXPECT_THAT(std::string(directory.status().message()), HasSubstr(root()));
}

TEST(ReadPaths, OneALineWithoutEmptyOnes) {
  std::istringstream list("a b.png\n\n/c.jpg");
  EXPECT_THAT(ReadPaths(list), ElementsAre("a b.png", "/c.jpg"));
}

}  // namespace
}  // namespace pixembed::client
