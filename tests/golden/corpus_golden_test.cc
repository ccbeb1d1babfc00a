// Decode against Pillow over every picture of Pillow's own tests: what make_corpus.py wrote.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/golden/decode_cases.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

struct Exception {
  std::string_view name;
  std::string_view why;
};
// Files of which Decode says something else than Pillow. Shrinks only.
constexpr std::string_view kLab =
    "CIELAB: Pillow converts it with LittleCMS, whose 8-bit transform is a table of its version's "
    "own making; refused with UNSUPPORTED_FORMAT rather than read almost the same";
constexpr Exception kExceptions[] = {
    {"tiff/hopper.Lab.tif", kLab},
    {"tiff/lab-green.tif", kLab},
    {"tiff/lab-red.tif", kLab},
    {"tiff/lab.tif", kLab},
};

const Exception* FindException(std::string_view name) {
  const auto* const found = std::ranges::find(kExceptions, name, &Exception::name);
  return found == std::end(kExceptions) ? nullptr : found;
}

struct Count {
  int files = 0;
  int decoded = 0;
  int refused = 0;
  int exceptions = 0;
};

// Also what is printed and left in build/golden/corpus_report.txt.
std::string Report(const std::map<std::string, Count>& counts) {
  std::ostringstream text;
  text << "format files same-pixels both-refuse exceptions\n";
  Count sum;
  const auto line = [&text](std::string_view format, const Count& count) {
    text << format << ' ' << count.files << ' ' << count.decoded << ' ' << count.refused << ' '
         << count.exceptions << '\n';
  };
  for (const auto& [format, count] : counts) {
    line(format, count);
    sum.files += count.files;
    sum.decoded += count.decoded;
    sum.refused += count.refused;
    sum.exceptions += count.exceptions;
  }
  line("all", sum);
  for (const auto& [name, why] : kExceptions) text << "exception " << name << ": " << why << '\n';
  return text.str();
}

TEST(CorpusGolden, EveryFileGivesPillowsPixelsOrIsRefusedAsPillowDoes) {
  const Weights golden = GoldenTensors("corpus.safetensors");
  const std::vector<DecodeCase> cases = CasesOf(golden, "");
  std::map<std::string, Count> counts;
  for (const DecodeCase& decode_case : cases) {
    Count& count = counts[decode_case.name.substr(0, decode_case.name.find('/'))];
    ++count.files;
    const std::string difference =
        Difference(decode_case, Decode(decode_case.encoded, kPillowLimits));
    if (FindException(decode_case.name) != nullptr) {
      ++count.exceptions;
      EXPECT_FALSE(difference.empty()) << decode_case.name << " agrees: no exception any more";
      continue;
    }
    EXPECT_TRUE(difference.empty()) << decode_case.name << ": " << difference;
    ++(decode_case.rgb != nullptr ? count.decoded : count.refused);
  }
  const std::string report = Report(counts);
  std::cout << report;
  std::ofstream(GoldenPath("corpus_report.txt")) << report;
  for (const Exception& exception : kExceptions) {
    EXPECT_TRUE(std::ranges::any_of(
        cases, [&](const DecodeCase& decode_case) { return decode_case.name == exception.name; }))
        << exception.name << " is not in the corpus";
  }
}

// Of the corpus, that is: 348 files.
TEST(CorpusGolden, FilesOfOtherFormatsAreUnsupported) {
  const Weights golden = GoldenTensors("corpus.safetensors");
  const std::vector<DecodeCase> cases = CasesOf(golden, "other/");
  EXPECT_GT(cases.size(), 300);
  for (const DecodeCase& decode_case : cases) {
    const Reason expected =
        decode_case.encoded.empty() ? Reason::kEmptyImage : Reason::kUnsupportedFormat;
    EXPECT_EQ(ReasonOf(Decode(decode_case.encoded, kPillowLimits).status()), expected)
        << decode_case.name;
  }
}

}  // namespace
}  // namespace pixembed
