#include "src/model/program_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <string>

#include "src/error/error.h"
#include "tests/model/package_bytes.h"

namespace pixembed {
namespace {

TEST(ProgramArchive, GivesItsEntries) {
  auto archive = ProgramArchive::Open(InMemory(ArchiveBytes({{"code/a.py", "def"}, {"b", ""}})));
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_THAT(archive->Names(), testing::IsSupersetOf({"code/a.py", "b"}));
  EXPECT_TRUE(archive->Has("code/a.py"));
  EXPECT_FALSE(archive->Has("code/b.py"));
  EXPECT_EQ(*archive->Read("code/a.py"), "def");
  EXPECT_EQ(*archive->Read("b"), "");
  EXPECT_EQ(ReasonOf(archive->Read("c").status()), Reason::kCheckpointCorrupt);
}

TEST(ProgramArchive, BytesThatAreNoArchiveAreCorrupt) {
  const std::string whole = ArchiveBytes({{"data/a", std::string(1000, 'a')}});
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    const auto archive = ProgramArchive::Open(InMemory(whole.substr(0, size)));
    ASSERT_FALSE(archive.ok()) << "the first " << size << " of " << whole.size() << " bytes";
    EXPECT_EQ(ReasonOf(archive.status()), Reason::kCheckpointCorrupt);
  }
  EXPECT_FALSE(ProgramArchive::Open(InMemory(std::string(4096, 'x'))).ok());
}

TEST(ProgramArchive, AnEntryOutsideItsFolderIsCorrupt) {
  std::string bytes = ArchiveBytes({{"archive/a", "1"}});
  // The writer puts all into a folder; a name of the same length is not in one.
  const std::string inside = "archive/archive/a";
  const std::string outside = "archive_archive_a";
  for (std::size_t at = bytes.find(inside); at != std::string::npos; at = bytes.find(inside)) {
    bytes.replace(at, inside.size(), outside);
  }
  EXPECT_EQ(ReasonOf(ProgramArchive::Open(InMemory(bytes)).status()), Reason::kCheckpointCorrupt);
}

TEST(MappedFileReader, NeverReadsPastTheEnd) {
  const MappedFileReader reader(InMemory("0123456789"));
  EXPECT_EQ(reader.size(), 10U);
  std::array<char, 8> buffer{};
  EXPECT_EQ(reader.read(0, buffer.data(), 8, ""), 8U);
  EXPECT_EQ(reader.read(7, buffer.data(), 8, ""), 3U);
  EXPECT_EQ(std::string(buffer.data(), 3), "789");
  EXPECT_EQ(reader.read(10, buffer.data(), 8, ""), 0U);
  EXPECT_EQ(reader.read(~std::uint64_t{0}, buffer.data(), 8, ""), 0U);
}

}  // namespace
}  // namespace pixembed
