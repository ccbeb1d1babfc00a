// From the bytes of a file to the model's input, against the real Pillow and the real image
// processors of every family, in both backends and every format. See make_families.py. What is
// counted is also left in build/golden/families_report.md; docs/pixels.md shows it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "tests/golden/decode_cases.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

struct Row {
  std::string families;
  std::string backend;
  PreprocessSpec spec;
  std::map<std::string, std::pair<int, int>> formats;  // images, and those that differ
};

// Nothing where the input has the digest, or both refuse the picture.
std::string Difference(const Row& row, const Tensor& encoded, const std::string& expected) {
  const auto description = DescribeImage(encoded.bytes, kPillowLimits, row.spec);
  const std::string actual = description.ok() ? description->input_sha256 : "refused";
  if (actual == expected) return "";
  return absl::StrCat(actual, " instead of ", expected, ", ", description.status().ToString());
}

std::string Report(const std::vector<Row>& rows, const std::set<std::string>& formats) {
  std::string text = "| families | backend |";
  std::string line = "| --- | --- |";
  for (const std::string& format : formats) {
    absl::StrAppend(&text, " ", absl::AsciiStrToUpper(format), " |");
    absl::StrAppend(&line, " --- |");
  }
  absl::StrAppend(&text, " differing |\n", line, " --- |\n");
  for (const Row& row : rows) {
    absl::StrAppend(&text, "| ", row.families, " | ", row.backend, " |");
    int differing = 0;
    for (const auto& [format, counts] : row.formats) {
      absl::StrAppend(&text, " ", counts.first, " |");
      differing += counts.second;
    }
    absl::StrAppend(&text, " ", differing, " |\n");
  }
  return text;
}

TEST(FamiliesGolden, EveryFileOfEveryFormatGivesTheReferencesInputInBothBackends) {
  const Weights files = GoldenTensors("corpus.safetensors");
  std::vector<Row> rows;
  std::set<std::string> formats;
  for (const absl::string_view line :
       absl::StrSplit(GoldenBytes("families.txt"), '\n', absl::SkipEmpty())) {
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    if (fields[0] == "processor") {
      ASSERT_THAT(fields, SizeIs(5));
      const absl::StatusOr<PreprocessSpec> spec = SpecOf(fields[4], fields[3]);
      ASSERT_TRUE(spec.ok()) << fields[2] << ": " << spec.status();
      rows.push_back({.families = fields[2], .backend = fields[3], .spec = *spec, .formats = {}});
      continue;
    }
    ASSERT_THAT(fields, SizeIs(4));
    Row& row = rows.at(std::stoul(fields[1]));
    const Tensor* const encoded = files.Find(fields[2] + ".encoded");
    ASSERT_NE(encoded, nullptr) << fields[2] << ": run tests/golden/make.sh";
    const std::string format = fields[2].substr(0, fields[2].find('/'));
    formats.insert(format);
    const std::string difference = Difference(row, *encoded, fields[3]);
    EXPECT_EQ(difference, "") << row.families << ", " << row.backend << ", " << fields[2];
    auto& [images, differing] = row.formats[format];
    ++images;
    differing += difference.empty() ? 0 : 1;
  }
  EXPECT_THAT(formats, SizeIs(7));
  EXPECT_GE(rows.size(), 24U);
  const std::string report = Report(rows, formats);
  std::cout << report;
  std::ofstream(GoldenPath("families_report.md")) << report;
  EXPECT_THAT(GoldenBytes("../../docs/pixels.md"), HasSubstr(report)) << "its table is another";
}

}  // namespace
}  // namespace pixembed
