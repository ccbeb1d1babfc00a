#include "src/model/aot_package.h"

#include <c10/core/Device.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/program.h"
#include "src/model/program_archive.h"
#include "tests/model/package_bytes.h"

namespace pixembed {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Size kInput = {224, 320};
constexpr char kStem[] = "data/aotinductor/model/cabc.wrapper";

ProgramHost SomeHost() {
  return {.platform = "linux", .machine = "x86_64", .torch = "2.11.0", .level = X86Level::kV3};
}

// A package that fits SomeHost.
struct Package {
  std::map<std::string, std::string> metadata = {
      {"AOTI_DEVICE_KEY", "cpu"},    {"AOTI_PLATFORM", "linux"},      {"AOTI_MACHINE", "x86_64"},
      {"pixembed_torch", "2.11.0"},  {"pixembed_march", "x86-64-v3"}, {"pixembed_input", "224x320"},
      {"pixembed_class_token", "1"},
  };
  Entries entries = {{absl::StrCat(kStem, ".so"), "not a library"}, {"version", "1"}};

  std::string Bytes() const {
    Entries all = entries;
    const auto format = [](std::string* out, const auto& item) {
      absl::StrAppend(out, "\"", item.first, "\": \"", item.second, "\"");
    };
    all[absl::StrCat(kStem, "_metadata.json")] =
        absl::StrCat("{", absl::StrJoin(metadata, ", ", format), "}");
    return ArchiveBytes(all);
  }
};

absl::StatusOr<AotPackage> Check(const std::string& bytes, const ProgramHost& host = SomeHost()) {
  absl::StatusOr<ProgramArchive> archive = ProgramArchive::Open(InMemory(bytes));
  EXPECT_TRUE(archive.ok()) << archive.status();
  if (!archive.ok()) return archive.status();
  return CheckAotPackage(*archive, host, kInput);
}

void ExpectRefused(const absl::StatusOr<AotPackage>& package, Reason reason,
                   const testing::Matcher<const std::string&>& text) {
  ASSERT_FALSE(package.ok());
  EXPECT_EQ(ReasonOf(package.status()), reason) << package.status();
  EXPECT_THAT(std::string(package.status().message()), text);
}

TEST(AotPackage, OneThatWasBuiltForThisIsTaken) {
  const auto package = Check(Package().Bytes());
  ASSERT_TRUE(package.ok()) << package.status();
  EXPECT_EQ(package->library, absl::StrCat(kStem, ".so"));
  EXPECT_EQ(package->extern_nodes, "");
  EXPECT_EQ(package->march, "x86-64-v3");
  EXPECT_TRUE(package->class_token);
  EXPECT_TRUE(Check(Package().Bytes(), {"linux", "x86_64", "2.11.0", X86Level::kV4}).ok());
}

// What a package says, what the text of its refusal holds.
struct Mismatch {
  std::string key;
  std::string built;
  std::string text;
};

class AotPackageMismatch : public testing::TestWithParam<Mismatch> {};

TEST_P(AotPackageMismatch, IsRefusedWithBothSides) {
  Package package;
  package.metadata[GetParam().key] = GetParam().built;
  ExpectRefused(Check(package.Bytes()), Reason::kIncompatibleProgram,
                AllOf(HasSubstr(GetParam().built), HasSubstr(GetParam().text)));
}

TEST_P(AotPackageMismatch, IsRefusedWhereThePackageDoesNotSay) {
  Package package;
  package.metadata.erase(GetParam().key);
  ExpectRefused(Check(package.Bytes()), Reason::kIncompatibleProgram,
                AllOf(HasSubstr(GetParam().key), HasSubstr("deploy/export_aotinductor.py")));
}

INSTANTIATE_TEST_SUITE_P(
    Everything, AotPackageMismatch,
    testing::Values(Mismatch{"AOTI_DEVICE_KEY", "cuda", "this is cpu"},
                    Mismatch{"AOTI_PLATFORM", "win32", "this is linux"},
                    Mismatch{"AOTI_MACHINE", "aarch64", "this is x86_64"},
                    Mismatch{"pixembed_torch", "2.10.1\\n", R"(torch 2.10.1\n, this is 2.11.0)"},
                    Mismatch{"pixembed_march", "x86-64-v5", "x86-64-v3 and x86-64-v4"}),
    [](const testing::TestParamInfo<Mismatch>& mismatch) { return mismatch.param.key; });

TEST(AotPackage, AHigherInstructionSetThanTheCpusIsRefused) {
  Package package;
  package.metadata["pixembed_march"] = "x86-64-v4";
  ExpectRefused(Check(package.Bytes()), Reason::kIncompatibleProgram,
                AllOf(HasSubstr("x86-64-v4"), HasSubstr("AVX-512"), HasSubstr("--march")));
  ProgramHost old = SomeHost();
  old.level = X86Level::kV1;
  ExpectRefused(Check(Package().Bytes(), old), Reason::kIncompatibleProgram,
                AllOf(HasSubstr("x86-64-v3"), HasSubstr("AVX2")));
}

TEST(AotPackage, ImagesOfAnotherSizeAreRefusedWithBoth) {
  Package package;
  package.metadata["pixembed_input"] = "518x518";
  ExpectRefused(Check(package.Bytes()), Reason::kUnsupportedProcessor,
                AllOf(HasSubstr("518x518"), HasSubstr("224x320")));
}

TEST(AotPackage, OneThatWouldHaveToBeCompiledIsRefused) {
  Package package;
  package.entries = {{absl::StrCat(kStem, ".cpp"), "int main() {}"}};
  ExpectRefused(Check(package.Bytes()), Reason::kCheckpointCorrupt, HasSubstr(".so"));
}

TEST(AotPackage, AnArchiveWithoutMetadataIsCorrupt) {
  ExpectRefused(Check(ArchiveBytes({{"data/model.json", "{}"}})), Reason::kCheckpointCorrupt,
                HasSubstr("metadata"));
  Package package;
  package.metadata["pixembed_torch"] = "\\u12";
  ExpectRefused(Check(package.Bytes()), Reason::kCheckpointCorrupt, HasSubstr("metadata"));
}

TEST(AotPackage, AnEntryNeverLeavesItsFolder) {
  Package package;
  package.entries = {{"data/aotinductor/model/../../../../escaped.wrapper.so", "x"}};
  const auto loaded = LoadAotInductor(InMemory(package.Bytes()), kInput, c10::kCPU);
  // The library is none: what matters is that it was looked for, and found wanting, in the folder.
  ASSERT_FALSE(loaded.ok());
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("escaped.wrapper.so"));
  EXPECT_THAT(std::string(loaded.status().message()), testing::Not(HasSubstr("..")));
}

TEST(AotPackage, ALibraryThatIsNoneIsRefused) {
  const auto loaded = LoadAotInductor(InMemory(Package().Bytes()), kInput, c10::kCPU);
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(ReasonOf(loaded.status()), Reason::kUnsupportedModel) << loaded.status();
}

TEST(AotPackage, OtherDevicesThanTheCpuAreRefused) {
  const auto loaded =
      LoadAotInductor(InMemory(Package().Bytes()), kInput, c10::Device(c10::kCUDA, 0));
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(ReasonOf(loaded.status()), Reason::kIncompatibleProgram);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("cuda:0"));
}

TEST(AotPackage, ThisHostIsTheOneThatThisWasBuiltFor) {
  const ProgramHost host = ThisHost();
  EXPECT_EQ(host.platform, "linux");
  EXPECT_EQ(host.torch, "2.11.0");
#ifdef __x86_64__
  EXPECT_EQ(host.machine, "x86_64");
#endif
}

}  // namespace
}  // namespace pixembed
