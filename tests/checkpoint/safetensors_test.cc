#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "tests/checkpoint/safetensors_bytes.h"
#include "tests/checkpoint/status_matchers.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Pair;
using ::testing::SizeIs;

absl::StatusOr<Weights> ParseBytes(std::string_view bytes) {
  const auto owner = std::make_shared<std::string>(bytes);
  return Weights::Parse(std::as_bytes(std::span(*owner)), owner, "m.safetensors");
}

absl::StatusOr<Weights> ParseFile(std::string_view header, std::string_view data) {
  return ParseBytes(SafetensorsBytes(header, data));
}

constexpr std::string_view kTwoTensors =
    R"({"__metadata__":{"format":"pt"},)"
    R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
    R"("a":{"dtype":"U8","shape":[3,1],"data_offsets":[8,11]}}   )";

std::string CountingBytes(std::size_t count) {
  std::string bytes(count, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  return bytes;
}

TEST(Safetensors, GivesTheMetadataOfTheFile) {
  const auto weights = ParseFile(R"({"__metadata__":{"format":"pt","b":"\u00fc","":"no name"},)"
                                 R"("t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
                                 "");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->metadata(),
              ElementsAre(Pair("", "no name"), Pair("b", "\u00fc"), Pair("format", "pt")));
  const auto without = ParseFile(R"({"__metadata__":null})", "");
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_THAT(without->metadata(), IsEmpty());
}

TEST(Safetensors, GivesTypeShapeAndBytesOfEveryTensor) {
  const auto weights = ParseFile(kTwoTensors, CountingBytes(11));
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->tensors(), SizeIs(2));
  const Tensor* const a = weights->Find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->type, TensorType::kU8);
  EXPECT_THAT(a->shape, ElementsAre(3, 1));
  EXPECT_THAT(a->bytes, ElementsAre(std::byte{8}, std::byte{9}, std::byte{10}));
  const Tensor* const b = weights->Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->type, TensorType::kF32);
  EXPECT_EQ(b->bytes.size(), 8);
  EXPECT_EQ(weights->Find("c"), nullptr);
}

TEST(Safetensors, EveryTypeOfTheFormatIsKnownByNameAndSize) {
  for (int i = 0; i <= static_cast<int>(TensorType::kF64); ++i) {
    const auto type = static_cast<TensorType>(i);
    const std::size_t size = TensorTypeSize(type);
    const std::string header = R"({"t":{"dtype":")" + std::string(TensorTypeName(type)) +
                               R"(","shape":[3],"data_offsets":[0,)" + std::to_string(3 * size) +
                               "]}}";
    const auto weights = ParseFile(header, CountingBytes(3 * size));
    ASSERT_TRUE(weights.ok()) << weights.status();
    EXPECT_EQ(weights->Find("t")->type, type);
  }
}

TEST(Safetensors, ScalarsAndEmptyTensorsAreTensors) {
  const auto weights = ParseFile(R"({"empty":{"dtype":"F32","shape":[4,0],"data_offsets":[4,4]},)"
                                 R"("scalar":{"dtype":"I32","shape":[],"data_offsets":[0,4]}})",
                                 CountingBytes(4));
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->Find("scalar")->shape, IsEmpty());
  EXPECT_EQ(weights->Find("scalar")->bytes.size(), 4);
  EXPECT_THAT(weights->Find("empty")->bytes, IsEmpty());
}

TEST(Safetensors, AFileWithoutTensorsHasNone) {
  const auto weights = ParseFile("{}      ", "");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->tensors(), IsEmpty());
  EXPECT_THAT(Weights().tensors(), IsEmpty());
}

TEST(Safetensors, FieldsThatTheFormatDoesNotKnowAreSkipped) {
  const auto weights =
      ParseFile(R"({"t":{"note":{"a":[1,{"b":null}],"dtype":"x"},"n":-1.5,"dtype":"U8","l":[[]],)"
                R"("shape":[1],"b":true,"data_offsets":[0,1],"s":"text"}})",
                "x");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->Find("t")->shape, ElementsAre(1));
}

TEST(Safetensors, CopiesShareTheBytesAndOutliveTheOriginal) {
  Weights copy;
  {
    const auto weights = ParseFile(kTwoTensors, CountingBytes(11));
    ASSERT_TRUE(weights.ok()) << weights.status();
    copy = *weights;
  }
  EXPECT_EQ(copy.Find("a")->bytes[2], std::byte{10});
}

// --- Hostile headers: each names the file, the tensor and the numbers
// -----------------------------

TEST(SafetensorsHostile, AnEmptyFileIsCorrupt) {
  EXPECT_THAT(ParseBytes(""), IsCorrupt(AllOf(HasSubstr("m.safetensors"), HasSubstr("0 bytes"))));
  EXPECT_THAT(ParseBytes("1234567"), IsCorrupt(HasSubstr("7 bytes")));
}

TEST(SafetensorsHostile, AHeaderLongerThanTheFileIsCorrupt) {
  std::string bytes = SafetensorsBytes(kTwoTensors, CountingBytes(11));
  bytes[1] = 1;  // 256 bytes more
  EXPECT_THAT(ParseBytes(bytes),
              IsCorrupt(AllOf(HasSubstr(std::to_string(kTwoTensors.size() + 256)),
                              HasSubstr(std::to_string(bytes.size() - 8)))));
}

TEST(SafetensorsHostile, AHeaderAboveTheReferencesBoundIsCorruptWithoutBeingRead) {
  std::string bytes(8, '\xFF');
  EXPECT_THAT(ParseBytes(bytes),
              IsCorrupt(AllOf(HasSubstr("18446744073709551615"), HasSubstr("100000000"))));
}

TEST(SafetensorsHostile, ATruncatedFileIsCorrupt) {
  const std::string bytes = SafetensorsBytes(kTwoTensors, CountingBytes(11));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(ParseBytes(bytes.substr(0, size)), IsCorrupt(HasSubstr("m.safetensors"))) << size;
  }
}

TEST(SafetensorsHostile, AFileThatIsCutShortSaysWhatToDo) {
  const std::string bytes = SafetensorsBytes(kTwoTensors, CountingBytes(11));
  for (const std::size_t size : {std::size_t{8}, std::size_t{20}, bytes.size() - 1}) {
    EXPECT_THAT(ParseBytes(bytes.substr(0, size)), IsCorrupt(HasSubstr("copy it again"))) << size;
  }
}

TEST(SafetensorsHostile, APointerOfGitLfsSaysWhatToDo) {
  EXPECT_THAT(ParseBytes("version https://git-lfs.github.com/spec/v1\n"
                         "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e"
                         "2393\nsize 346293852\n"),
              IsCorrupt("m.safetensors: is a pointer of Git LFS, not the file itself: run git lfs "
                        "pull"));
}

struct BadHeader {
  std::string_view promise;
  std::string_view header;
  std::size_t data_bytes;
  std::string_view text;  // part of the error
};

// How ctest lists the parameter.
void PrintTo(const BadHeader& bad, std::ostream* out) { *out << bad.text; }

class SafetensorsBadHeader : public ::testing::TestWithParam<BadHeader> {};

TEST_P(SafetensorsBadHeader, IsCorrupt) {
  EXPECT_THAT(
      ParseFile(GetParam().header, CountingBytes(GetParam().data_bytes)),
      IsCorrupt(AllOf(HasSubstr("m.safetensors"), HasSubstr(std::string(GetParam().text)))));
}

const BadHeader kBadHeaders[] = {
    {"Overlap",
     R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
     R"("b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}})",
     7, R"(tensor "b": begins at byte 3 of the data, inside the tensor that ends at byte 4)"},
    {"SameRangeTwice",
     R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
     R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
     4, R"(tensor "b": begins at byte 0)"},
    {"Hole",
     R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
     R"("b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}})",
     9, R"(tensor "b": begins at byte 5 of the data, behind a hole)"},
    {"HoleAtTheStart", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5, "byte 1"},
    {"BytesBehindTheLastTensor", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 6,
     "end at byte 4 of the data, which has 6 bytes"},
    {"DataTooShort", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 3,
     R"(tensor "a": data_offsets [0, 4] end behind the data, which has 3 bytes)"},
    {"OffsetsBackwards", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", 4,
     "[4, 0] end before they begin"},
    {"HugeOffsets",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}})",
     1, "end behind the data"},
    {"OffsetAboveInt64",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]}})", 1,
     "18446744073709551615 is too large"},
    {"OffsetAboveUint64",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551616]}})", 1,
     "18446744073709551616"},
    {"ShapeAndRangeDisagree", R"({"a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,24]}})", 24,
     "hold 24 bytes, but F32 [2, 4] needs 32"},
    {"ShapeOverflows",
     R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
     "more bytes than 64 bits can count"},
    {"ShapeOverflowsToTheRightSize",
     R"({"a":{"dtype":"U8","shape":[4611686018427387905,4],"data_offsets":[0,4]}})", 4,
     "more bytes than 64 bits can count"},
    {"NegativeDimension", R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1,
     R"(tensor "a": "shape": unexpected the number -1)"},
    {"FloatDimension", R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1,
     R"(unexpected the number "1.0")"},
    {"NanDimension", R"({"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}})", 1, "not JSON"},
    {"NestedShape", R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1,
     "unexpected a list"},
    {"ShapeIsNoList", R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", 1,
     R"("shape": unexpected the number 1)"},
    {"TooManyDimensions",
     R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,)"
     R"(1,1,1],"data_offsets":[0,1]}})",
     1, "more than 32 numbers"},
    {"ThreeOffsets", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", 1,
     "more than 2 numbers"},
    {"OneOffset", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "has 1 numbers"},
    {"UnknownType", R"({"a":{"dtype":"F31","shape":[1],"data_offsets":[0,1]}})", 1,
     R"(unknown dtype "F31")"},
    {"TypeIsNoString", R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,1]}})", 1,
     R"("dtype": unexpected the number 4)"},
    {"NoType", R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, R"("dtype" is missing)"},
    {"NoShape", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, R"("shape" is missing)"},
    {"NoOffsets", R"({"a":{"dtype":"U8","shape":[1]}})", 0, R"("data_offsets" is missing)"},
    {"NullShape", R"({"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}})", 1,
     R"("shape": unexpected null)"},
    {"TensorTwice",
     R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
     R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
     1, R"(tensor "a": is there twice)"},
    {"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})", 0, "is there twice"},
    {"FieldTwice", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
     R"(has "dtype" twice)"},
    {"MetadataIsNoObject", R"({"__metadata__":3})", 0, "unexpected the number 3"},
    {"MetadataValueIsNoString", R"({"__metadata__":{"a":1}})", 0, "unexpected the number 1"},
    {"TensorIsNoObject", R"({"a":[]})", 0, R"(tensor "a": unexpected a list)"},
    {"RootIsAList", R"([])", 0, "unexpected a list"},
    {"RootIsANumber", R"(7)", 0, "unexpected the number 7"},
    {"NoJson", "GIF89a", 0, "not JSON"},
    {"NothingInTheHeader", "", 0, "not JSON"},
    {"TextBehindTheHeader", "{} {}", 0, "not JSON"},
    {"NulBehindTheHeader", std::string_view("{}\0\0{", 5), 0, "NUL at byte 2"},
    {"ByteOrderMark", "\xEF\xBB\xBF{}", 0, "byte order mark"},
    {"NotUtf8", "{\"\xFF\":{}}", 0, "not JSON"},
};

INSTANTIATE_TEST_SUITE_P(Each, SafetensorsBadHeader, ::testing::ValuesIn(kBadHeaders),
                         [](const auto& bad) { return std::string(bad.param.promise); });

TEST(SafetensorsHostile, DeepNestingEndsInAnErrorNotInTheStack) {
  std::string header = R"({"a":{"note":)";
  header.append(5'000'000, '[');
  EXPECT_THAT(ParseFile(header, ""), IsCorrupt(HasSubstr("nested deeper than 128")));
}

TEST(SafetensorsHostile, ALongNameIsCutInTheError) {
  const std::string header =
      R"({")" + std::string(1'000'000, 'x') + "\\u0007" + R"(":{"dtype":"?"}})";
  const auto weights = ParseFile(header, "");
  ASSERT_THAT(weights, IsCorrupt(HasSubstr("...")));
  EXPECT_LT(weights.status().message().size(), 500);
}

// Every mutation of a good file ends in tensors that lie inside the file, or in a named error.
TEST(SafetensorsHostile, RandomMutationsNeverReachOutsideTheFile) {
  const std::string original = SafetensorsBytes(kTwoTensors, CountingBytes(11));
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&random](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  constexpr std::string_view kTokens = "0123456789{}[]\":,-.eE aUFI\\";
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = original;
    for (std::size_t edits = below(4) + 1; edits > 0; --edits) {
      const std::size_t at = below(bytes.size());
      switch (below(4)) {
        case 0:
          bytes[at] = static_cast<char>(below(256));
          break;
        case 1:
          bytes[at] = kTokens[below(kTokens.size())];
          break;
        case 2:
          bytes.insert(at, 1, kTokens[below(kTokens.size())]);
          bytes[0] = static_cast<char>(bytes[0] + 1);
          break;
        default:
          bytes.erase(at, 1);
          bytes[0] = static_cast<char>(bytes[0] - 1);
          break;
      }
      if (bytes.empty()) break;
    }
    const auto weights = ParseBytes(bytes);
    if (!weights.ok()) {
      ASSERT_EQ(ReasonOf(weights.status()), Reason::kCheckpointCorrupt) << weights.status();
      continue;
    }
    ++accepted;
    std::size_t sum = 0;
    for (const auto& [name, tensor] : weights->tensors()) {
      for (const std::byte byte : tensor.bytes) sum += std::to_integer<std::size_t>(byte);
    }
    ASSERT_LE(sum, bytes.size() * 255);
  }
  EXPECT_GT(accepted, 0);  // the mutations also reach the accepting paths
}

// --- Files
// ----------------------------------------------------------------------------------------

TEST(SafetensorsFile, OpensAMappedFile) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "model.safetensors";
  WriteFile(file, SafetensorsBytes(kTwoTensors, CountingBytes(11)));
  const auto weights = Weights::Open(directory.path(), "model.safetensors");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->origin(), "model.safetensors");
  std::filesystem::remove(file);  // the mapping stays
  EXPECT_EQ(weights->Find("a")->bytes[1], std::byte{9});
}

TEST(SafetensorsFile, AMissingFileIsMissing) {
  const TemporaryDirectory directory;
  EXPECT_THAT(Weights::Open(directory.path(), "none.safetensors"),
              IsMissing("none.safetensors does not exist"));
}

TEST(SafetensorsFile, AnEmptyFileIsCorrupt) {
  const TemporaryDirectory directory;
  WriteFile(directory.path() / "model.safetensors", "");
  EXPECT_THAT(Weights::Open(directory.path(), "model.safetensors"),
              IsCorrupt(AllOf(HasSubstr("model.safetensors"), HasSubstr("0 bytes"))));
}

TEST(SafetensorsFile, ADirectoryOrAPipeIsNoFile) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory.path() / "folder");
  EXPECT_THAT(Weights::Open(directory.path(), "folder"), IsCorrupt("folder is not a regular file"));
  const auto pipe = directory.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(Weights::Open(directory.path(), "pipe"), IsCorrupt("pipe is not a regular file"));
}

class SafetensorsShards : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteFile(Path("one.safetensors"),
              SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "ab"));
    WriteFile(Path("two.safetensors"),
              SafetensorsBytes(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "c"));
  }
  std::filesystem::path Path(std::string_view name) const { return directory_.path() / name; }
  absl::StatusOr<Weights> OpenIndex(std::string_view text) const {
    WriteFile(Path("model.safetensors.index.json"), text);
    return Weights::OpenSharded(directory_.path(), "model.safetensors.index.json");
  }
  TemporaryDirectory directory_;
};

TEST_F(SafetensorsShards, AreReadAsOne) {
  const auto weights = OpenIndex(R"({"metadata":{"total_size":3},)"
                                 R"("weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_THAT(weights->tensors(), SizeIs(2));
  EXPECT_EQ(weights->Find("b")->bytes[0], std::byte{'c'});
  EXPECT_EQ(weights->origin(), "model.safetensors.index.json");
}

TEST_F(SafetensorsShards, AMissingShardIsMissing) {
  EXPECT_THAT(OpenIndex(R"({"weight_map":{"a":"three.safetensors"}})"),
              IsMissing("model.safetensors.index.json: weight_map: three.safetensors does not "
                        "exist"));
}

TEST_F(SafetensorsShards, APromisedTensorThatIsNotThereIsCorrupt) {
  EXPECT_THAT(OpenIndex(R"({"weight_map":{"a":"one.safetensors","x":"two.safetensors"}})"),
              IsCorrupt(HasSubstr(R"(tensor "x" is not in "two.safetensors")")));
}

TEST_F(SafetensorsShards, ATensorInTwoShardsIsCorrupt) {
  WriteFile(Path("again.safetensors"),
            SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("c":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                             "xy"));
  EXPECT_THAT(OpenIndex(R"({"weight_map":{"a":"one.safetensors","c":"again.safetensors"}})"),
              IsCorrupt(HasSubstr(R"(tensor "a" is in "again.safetensors" and in another)")));
}

TEST_F(SafetensorsShards, FilesOutsideTheDirectoryAreNeverOpened) {
  for (const std::string name : {"/etc/passwd", "../one.safetensors", "x/../../one.safetensors", "",
                                 "one.safetensors\\u0000x", "..", "sub/"}) {
    EXPECT_THAT(OpenIndex(R"({"weight_map":{"a":")" + name + R"("}})"),
                IsCorrupt(HasSubstr("is not inside the model directory")))
        << name;
  }
}

// A name that writes lines of its own into a log and commands to a terminal.
TEST_F(SafetensorsShards, AHostileNameOfAShardIsPrintableAndBoundedInEveryError) {
  const std::string rest(50, 'x');
  const std::string hostile = "a\n2026 info: all is well\x1b[2J\xc2\x9b" + rest;
  const std::string in_json = R"(a\n2026 info: all is well\u001b[2J\u009b)" + rest;
  const std::string escaped = R"(a\\n2026 info: all is well\\x1b\[2J\\xc2\\x9b)" + rest;
  const auto index = [](const std::string& name) {
    return R"({"weight_map":{"a":")" + name + R"("}})";
  };
  const auto refused = [&](const std::string& what) {
    const auto weights = OpenIndex(index(in_json));
    EXPECT_THAT(std::string(weights.status().message()), MatchesRegex(what));
  };
  refused("model.safetensors.index.json: weight_map: " + escaped + " does not exist");
  std::filesystem::create_directory(Path(hostile));
  refused(".*weight_map: " + escaped + " is not a regular file");
  std::filesystem::remove(Path(hostile));
  WriteFile(Path(hostile), "x");
  refused(".*weight_map: " + escaped + ": has 1 bytes.*");
  WriteFile(Path(hostile), SafetensorsBytes(R"({"a":{"dtype":"\n"}})", ""));
  refused(".*weight_map: " + escaped + R"(: tensor "a": unknown dtype "\\n")");
  WriteFile(Path(hostile),
            SafetensorsBytes(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  refused(R"(.*tensor "a" is not in ")" + escaped + "\"");

  const auto too_long = OpenIndex(index(std::string(1'000'000, 'x') + R"(\n)"));
  ASSERT_THAT(too_long, IsMissing(HasSubstr("... cannot be read: File name too long")));
  EXPECT_LT(too_long.status().message().size(), 500);
}

TEST_F(SafetensorsShards, AMalformedIndexIsCorrupt) {
  EXPECT_THAT(OpenIndex(""), IsCorrupt(HasSubstr("index.json")));
  EXPECT_THAT(OpenIndex("[]"), IsCorrupt(HasSubstr("not a JSON object")));
  EXPECT_THAT(OpenIndex("{}"), IsCorrupt(HasSubstr("weight_map")));
  EXPECT_THAT(OpenIndex(R"({"weight_map":[]})"), IsCorrupt(HasSubstr("weight_map")));
  EXPECT_THAT(OpenIndex(R"({"weight_map":{}})"), IsCorrupt(HasSubstr("names no tensors")));
  EXPECT_THAT(OpenIndex(R"({"weight_map":{"a":1}})"), IsCorrupt(HasSubstr("names no file")));
}

}  // namespace
}  // namespace pixembed
