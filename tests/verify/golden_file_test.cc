// Reading a golden file, and every way in which one can be wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/verify/verify.h"
#include "tests/checkpoint/status_matchers.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/test_images.h"
#include "tests/verify/golden_bytes.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

GoldenParts GoodParts() {
  GoldenParts parts;
  parts.Add("b", "two", std::string(32, '\x02'), std::vector<float>{4.0F, 5.0F});
  parts.Add("a", "first", std::string(32, '\x01'), std::vector<float>{1.0F, -2.0F});
  return parts;
}

TEST(GoldenFile, HoldsImagesDigestsVectorsAndWhatMadeThem) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(HasGoldenFile(directory.path()));
  GoldenParts parts = GoodParts();
  parts.metadata["backend"] = "pil";
  parts.Write(directory.path());
  EXPECT_TRUE(HasGoldenFile(directory.path()));
  const absl::StatusOr<GoldenFile> golden = OpenGoldenFile(directory.path());
  ASSERT_TRUE(golden.ok()) << golden.status();
  EXPECT_EQ(golden->backend, Backend::kPil);
  EXPECT_EQ(golden->made_with, "transformers 5.23.0, torch 2.11.0, pillow 13.0.0");
  ASSERT_THAT(golden->images, SizeIs(2));
  EXPECT_EQ(golden->images[0].name, "a");
  EXPECT_THAT(golden->images[0].encoded, SizeIs(5));
  EXPECT_EQ(golden->images[0].pixel_values.front(), std::byte{1});
  EXPECT_THAT(golden->images[0].vector, ElementsAre(1.0F, -2.0F));
  EXPECT_EQ(golden->images[1].name, "b");
}

TEST(GoldenFile, AbsentIsMissing) {
  const TemporaryDirectory directory;
  EXPECT_THAT(OpenGoldenFile(directory.path()),
              IsMissing(HasSubstr("pixembed_golden.safetensors does not exist")));
}

struct Damage {
  std::string name;
  std::function<void(GoldenParts&)> change;
  std::string text;
};

class DamagedGoldenFile : public testing::TestWithParam<Damage> {};

TEST_P(DamagedGoldenFile, IsCorruptAndSaysWhere) {
  const TemporaryDirectory directory;
  GoldenParts parts = GoodParts();
  GetParam().change(parts);
  parts.Write(directory.path());
  EXPECT_THAT(
      OpenGoldenFile(directory.path()),
      IsCorrupt(AllOf(HasSubstr("pixembed_golden.safetensors: "), HasSubstr(GetParam().text))));
}

INSTANTIATE_TEST_SUITE_P(
    Every, DamagedGoldenFile,
    testing::Values(
        Damage{"NoMetadata", [](GoldenParts& p) { p.metadata.clear(); }, "\"format\" = \"\""},
        Damage{"OtherVersion", [](GoldenParts& p) { p.metadata["version"] = "2"; },
               "\"version\" = \"2\"; only \"1\" is read"},
        Damage{"OtherType", [](GoldenParts& p) { p.metadata["dtype"] = "float16"; },
               "\"dtype\" = \"float16\""},
        Damage{"OtherPooling", [](GoldenParts& p) { p.metadata["pooling"] = "cls"; },
               "\"pooling\" = \"cls\""},
        Damage{"UnknownBackend", [](GoldenParts& p) { p.metadata["backend"] = "\\n\\u001b[2J"; },
               "\"backend\" = \"\\n\\x1b[2J\""},
        Damage{"LongText",
               [](GoldenParts& p) { p.metadata["backend"] = std::string(100'000, 'x'); },
               "xxx...\"; there is torchvision and pil"},
        Damage{"NoImage", [](GoldenParts& p) { p.tensors.clear(); }, "it holds no image"},
        Damage{"NoDigest", [](GoldenParts& p) { p.tensors.erase("a.pixel_values_sha256"); },
               "tensor \"a.pixel_values_sha256\" is missing"},
        Damage{"NoVector", [](GoldenParts& p) { p.tensors.erase("b.vector"); },
               "tensor \"b.vector\" is missing"},
        Damage{"ShortDigest",
               [](GoldenParts& p) {
                 p.tensors["a.pixel_values_sha256"] = {"U8", "2", "xx"};
               },
               "tensor \"a.pixel_values_sha256\" is U8 [2]; wanted is U8 [32]"},
        Damage{"VectorOfBytes",
               [](GoldenParts& p) {
                 p.tensors["a.vector"] = {"U8", "1", "x"};
               },
               "is U8 [1]; wanted is F32 [any size]"},
        Damage{"VectorOfTwoDimensions",
               [](GoldenParts& p) { p.tensors["a.vector"].shape = "1, 2"; }, "is F32 [1, 2]"},
        Damage{"EmptyVector",
               [](GoldenParts& p) {
                 p.tensors["a.vector"] = {"F32", "0", ""};
               },
               "is F32 [0]"},
        Damage{"EmptyImage",
               [](GoldenParts& p) {
                 p.tensors["a.encoded"] = {"U8", "0", ""};
               },
               "\"a.encoded\" is U8 [0]"},
        Damage{"NoNumber",
               [](GoldenParts& p) {
                 p.Add("a", "first", std::string(32, '\x01'),
                       std::vector<float>{std::numeric_limits<float>::quiet_NaN()});
               },
               "\"a.vector\" holds infinity or what is no number"},
        Damage{"StrangeTensor",
               [](GoldenParts& p) {
                 p.tensors["stranger"] = {"U8", "1", "x"};
               },
               "it holds 7 tensors, but 2 images have 6"}),
    [](const auto& damage) { return damage.param.name; });

TEST(GoldenFile, BytesThatAreNoSafetensorsAreCorrupt) {
  const TemporaryDirectory directory;
  WriteFile(directory.path() / kGoldenFileName, "not one");
  EXPECT_THAT(OpenGoldenFile(directory.path()), IsCorrupt(HasSubstr("at least 8")));
  const std::string whole = GoodParts().Bytes();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    WriteFile(directory.path() / kGoldenFileName, whole.substr(0, size));
    EXPECT_THAT(OpenGoldenFile(directory.path()), IsCorrupt(HasSubstr("pixembed_golden")));
  }
}

}  // namespace
}  // namespace pixembed
