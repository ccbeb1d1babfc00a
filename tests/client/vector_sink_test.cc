#include "client/cpp/vector_sink.h"

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/file_test.h"

namespace pixembed::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

Result Vector(const std::vector<float>& floats, std::string fingerprint = "f") {
  Embedding embedding{.dimensions = static_cast<int>(floats.size())};
  embedding.data.assign(reinterpret_cast<const char*>(floats.data()),
                        floats.size() * sizeof(float));
  return Result{.embedding = std::move(embedding), .fingerprint = std::move(fingerprint)};
}

Result Failure() { return Result{.embedding = absl::InvalidArgumentError("it ends early")}; }

using VectorFile = FileTest;

// numpy itself reads such a file in tests/e2e.
TEST_F(VectorFile, NpyHoldsTheVectorsInOrderAndTheIdsBeside) {
  auto sink = *OpenVectorFile(Path("v.npy"), 2);
  ASSERT_TRUE(sink->Add("a \"quoted\".png", Vector({1, 2})).ok());
  ASSERT_TRUE(sink->Add("broken.png", Failure()).ok());
  ASSERT_TRUE(sink->Add("c.png", Vector({3, 4})).ok());
  ASSERT_TRUE(sink->Finish().ok());

  const std::string bytes = Read(Path("v.npy"));
  ASSERT_THAT(bytes, SizeIs(128 + 16));
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  EXPECT_EQ(bytes.substr(8, 2), std::string("\x76\x00", 2));  // 118 = 128 - 10
  EXPECT_THAT(bytes.substr(10, 118),
              StartsWith("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"));
  EXPECT_EQ(bytes[127], '\n');
  std::vector<float> rows(4);
  std::memcpy(rows.data(), bytes.data() + 128, 16);
  EXPECT_EQ(rows, (std::vector<float>{1, 2, 3, 4}));

  const auto ids = nlohmann::json::parse(Read(Path("v.ids.json")));
  EXPECT_EQ(ids, nlohmann::json({{"ids", {"a \"quoted\".png", "c.png"}}, {"fingerprint", "f"}}));
}

TEST_F(VectorFile, NpyWithoutARowKnowsItsWidth) {
  auto sink = *OpenVectorFile(Path("v.npy"), 384);
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_THAT(Read(Path("v.npy")), HasSubstr("'shape': (0, 384)"));
  EXPECT_THAT(nlohmann::json::parse(Read(Path("v.ids.json")))["ids"], IsEmpty());
}

TEST_F(VectorFile, NpyRefusesToMixTwoSpaces) {
  auto sink = *OpenVectorFile(Path("v.npy"), 2);
  ASSERT_TRUE(sink->Add("a", Vector({1, 2})).ok());
  EXPECT_TRUE(absl::IsDataLoss(sink->Add("b", Vector({1, 2}, "other"))));
  EXPECT_TRUE(absl::IsDataLoss(sink->Add("c", Vector({1, 2, 3}))));
}

TEST_F(VectorFile, JsonlHasALineForEveryImage) {
  auto sink = *OpenVectorFile(Path("v.jsonl"), 2);
  ASSERT_TRUE(sink->Add("a", Vector({0.1F, -2})).ok());
  ASSERT_TRUE(sink->Add("not \xff utf-8", Failure()).ok());
  ASSERT_TRUE(sink->Finish().ok());
  std::istringstream lines(Read(Path("v.jsonl")));
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(line, R"({"embedding":[0.1,-2.0],"id":"a"})");
  ASSERT_TRUE(std::getline(lines, line));
  const auto failed = nlohmann::json::parse(line);
  EXPECT_EQ(failed["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(failed["error"]["message"], "it ends early");
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(VectorFile, NothingAppearsBeforeFinishAndNothingStaysWithoutIt) {
  std::ofstream(Path("v.npy")) << "old";
  {
    auto sink = *OpenVectorFile(Path("v.npy"), 2);
    ASSERT_TRUE(sink->Add("a", Vector({1, 2})).ok());
    EXPECT_EQ(Read(Path("v.npy")), "old");
  }
  EXPECT_THAT(Files(), testing::ElementsAre("v.npy"));
  EXPECT_EQ(Read(Path("v.npy")), "old");
}

TEST_F(VectorFile, FinishReplacesTheOldFile) {
  std::ofstream(Path("v.jsonl")) << "old";
  auto sink = *OpenVectorFile(Path("v.jsonl"), 2);
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_EQ(Read(Path("v.jsonl")), "");
  EXPECT_THAT(Files(), testing::ElementsAre("v.jsonl"));
}

TEST_F(VectorFile, AnUnknownExtensionAndAMissingFolderAreErrors) {
  EXPECT_TRUE(absl::IsInvalidArgument(OpenVectorFile(Path("v.txt"), 2).status()));
  const auto sink = OpenVectorFile(Path("none/v.npy"), 2);
  EXPECT_TRUE(absl::IsNotFound(sink.status()));
  EXPECT_THAT(std::string(sink.status().message()), HasSubstr("none/v.npy"));
}

TEST(HeadPrinter, PrintsIdDimensionAndTheFirstNumbers) {
  std::ostringstream out;
  const auto sink = NewHeadPrinter(out);
  ASSERT_TRUE(sink->Add("a.png", Vector({1, -2, 3, 4, 5})).ok());
  ASSERT_TRUE(sink->Add("broken.png", Failure()).ok());
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_EQ(out.str(), "a.png\t5\t  1.0000\t -2.0000\t  3.0000\t  4.0000\n");
}

TEST(NeighbourPrinter, NamesTheNearestByCosineWhateverTheLengths) {
  std::ostringstream out;
  const auto sink = NewNeighbourPrinter(out);
  ASSERT_TRUE(sink->Add("a", Vector({1, 0})).ok());
  ASSERT_TRUE(sink->Add("b", Vector({10, 1})).ok());
  ASSERT_TRUE(sink->Add("long", Vector({0, 3})).ok());
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_THAT(out.str(), AllOf(HasSubstr("a        2 [  1.0000   0.0000 ...]  nearest b    cosine"),
                               HasSubstr("nearest a    cosine 0.9950\nlong"),
                               HasSubstr("nearest b    cosine 0.0995\n")));
}

TEST(NeighbourPrinter, OneImageHasNone) {
  std::ostringstream out;
  const auto sink = NewNeighbourPrinter(out);
  ASSERT_TRUE(sink->Add("a", Vector({1, 0})).ok());
  ASSERT_TRUE(sink->Finish().ok());
  EXPECT_THAT(out.str(), HasSubstr("has no other"));
}

}  // namespace
}  // namespace pixembed::client
