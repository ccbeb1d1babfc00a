#include "client/cpp/image_files.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<std::string> kExtensions = {"jpg", "png"};

class ImageFiles : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes = "x") const {
    const std::filesystem::path path = directory_.path() / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  std::string root() const { return directory_.path().string(); }

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
  EXPECT_THAT(*images, ElementsAre(a, b, c));
}

TEST_F(ImageFiles, AStarTakesEveryFile) {
  const std::string file = Write("noextension");
  EXPECT_THAT(*ListImages({root()}, {"*"}), ElementsAre(file));
}

TEST_F(ImageFiles, ANamedFileIsTakenWhateverItIsCalledAndInItsPlace) {
  const std::string odd = Write("odd.bin");
  const std::string plain = Write("plain.png");
  EXPECT_THAT(*ListImages({plain, odd, kStandardInput, plain}, kExtensions),
              ElementsAre(plain, odd, kStandardInput, plain));
}

TEST_F(ImageFiles, ALinkToADirectoryIsNotFollowed) {
  const std::string file = Write("sub/a.png");
  std::filesystem::create_directory_symlink(directory_.path(), directory_.path() / "sub" / "loop");
  EXPECT_THAT(*ListImages({root()}, kExtensions), ElementsAre(file));
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
  EXPECT_EQ(*ReadImage(Write("a.png", bytes), 1 << 20, no_input_), bytes);
  EXPECT_EQ(*ReadImage(Write("empty.png", ""), 1 << 20, no_input_), "");
}

TEST_F(ImageFiles, ReadsStandardInput) {
  std::istringstream input(std::string("ab\0cd", 5));
  EXPECT_EQ(*ReadImage(kStandardInput, 100, input), std::string("ab\0cd", 5));
}

TEST_F(ImageFiles, AFileAboveTheLimitIsRefusedAtTheLimit) {
  EXPECT_TRUE(ReadImage(Write("a.png", std::string(100, 'x')), 100, no_input_).ok());
  const auto image = ReadImage(Write("b.png", std::string(101, 'x')), 100, no_input_);
  EXPECT_TRUE(absl::IsInvalidArgument(image.status()));
  EXPECT_THAT(std::string(image.status().message()), HasSubstr("100 bytes"));
}

TEST_F(ImageFiles, AnUnreadableFileIsAnErrorThatNamesIt) {
  EXPECT_TRUE(absl::IsNotFound(ReadImage(root() + "/gone.png", 100, no_input_).status()));
  const auto directory = ReadImage(root(), 100, no_input_);
  EXPECT_FALSE(directory.ok());
  EXPECT_THAT(std::string(directory.status().message()), HasSubstr(root()));
}

TEST(ReadPaths, OneALineWithoutEmptyOnes) {
  std::istringstream list("a b.png\n\n/c.jpg");
  EXPECT_THAT(ReadPaths(list), ElementsAre("a b.png", "/c.jpg"));
}

}  // namespace
}  // namespace pixembed::client
