// The README's tables are those of the program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "server/config.h"

namespace pixembed {
namespace {

using ::testing::HasSubstr;

std::string Readme() {
  std::ifstream file(README);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(Documentation, TheReadmesTableOfFlagsIsWhatHelpMarkdownPrints) {
  EXPECT_THAT(Readme(),
              HasSubstr("<!-- flags: begin -->\n" + FlagsMarkdown() + "<!-- flags: end -->"))
      << "run pixembed-server --help_markdown and put its first table there";
}

TEST(Documentation, TheReadmesTableOfReasonsIsWhatHelpMarkdownPrints) {
  EXPECT_THAT(Readme(),
              HasSubstr("<!-- reasons: begin -->\n" + ReasonsMarkdown() + "<!-- reasons: end -->"))
      << "run pixembed-server --help_markdown and put its second table there";
}

}  // namespace
}  // namespace pixembed
