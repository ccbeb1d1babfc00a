// Options in words: what they mean, and what is said of the others.
#include "server/option_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "pixembed/v1/embedding.pb.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(OptionText, EveryOptionHasAWord) {
  v1::EmbedOptions options;
  EXPECT_TRUE(SetOption("pooling", "cls", options).ok());
  EXPECT_TRUE(SetOption("layers", "-2,0,11", options).ok());
  EXPECT_TRUE(SetOption("exif_orientation", "apply", options).ok());
  EXPECT_TRUE(SetOption("background", "255,0,7", options).ok());
  EXPECT_TRUE(SetOption("normalize", "true", options).ok());
  EXPECT_TRUE(SetOption("dimensions", "64", options).ok());
  EXPECT_TRUE(SetOption("lane", "bulk", options).ok());
  EXPECT_TRUE(SetOption("expected_fingerprint", "abc", options).ok());
  EXPECT_EQ(options.pooling(), v1::POOLING_CLS);
  EXPECT_THAT(options.layers(), ElementsAre(-2, 0, 11));
  EXPECT_EQ(options.exif_orientation(), v1::EXIF_ORIENTATION_APPLY);
  EXPECT_EQ(options.background().red(), 255U);
  EXPECT_EQ(options.background().green(), 0U);
  EXPECT_EQ(options.background().blue(), 7U);
  EXPECT_TRUE(options.normalize());
  EXPECT_EQ(options.dimensions(), 64U);
  EXPECT_EQ(options.lane(), v1::LANE_BULK);
  EXPECT_EQ(options.expected_fingerprint(), "abc");
}

TEST(OptionText, CaseDoesNotMatterAndAColorMayBeHexadecimal) {
  v1::EmbedOptions options;
  EXPECT_TRUE(SetOption("pooling", "MAX", options).ok());
  EXPECT_TRUE(SetOption("background", "00c8FF", options).ok());
  EXPECT_EQ(options.pooling(), v1::POOLING_MAX);
  EXPECT_EQ(options.background().red(), 0U);
  EXPECT_EQ(options.background().green(), 0xC8U);
  EXPECT_EQ(options.background().blue(), 0xFFU);
}

TEST(OptionText, NoLayersAreTheDefault) {
  v1::EmbedOptions options;
  options.add_layers(3);
  EXPECT_TRUE(SetOption("layers", "", options).ok());
  EXPECT_TRUE(options.layers().empty());
}

TEST(OptionText, IsOptionKnowsWhatSetOptionKnows) {
  EXPECT_TRUE(IsOption("pooling"));
  EXPECT_TRUE(IsOption("expected_fingerprint"));
  EXPECT_FALSE(IsOption("model"));
  EXPECT_FALSE(IsOption(""));
}

struct Refused {
  const char* name;
  const char* text;
  const char* said;
};

class OptionTextRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(OptionTextRefuses, WithWhatIsPossible) {
  v1::EmbedOptions options;
  const absl::Status status = SetOption(GetParam().name, GetParam().text, options);
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidOption);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().said));
  EXPECT_EQ(options.ByteSizeLong(), 0U);
}

INSTANTIATE_TEST_SUITE_P(
    All, OptionTextRefuses,
    ::testing::Values(
        Refused{"pooling", "average", "pooling is \"average\"; possible: mean, cls, max"},
        Refused{"pooling", "unspecified", "possible: mean, cls, max"},
        Refused{"layers", "1,two", "layers is \"1,two\""}, Refused{"layers", "1,", "integers"},
        Refused{"exif_orientation", "auto", "possible: ignore, apply"},
        Refused{"background", "1,2", "RRGGBB, or red,green,blue"},
        Refused{"background", "1,2,-3", "RRGGBB, or red,green,blue"},
        Refused{"normalize", "yes", "true and false"},
        Refused{"dimensions", "-1", "dimensions is \"-1\""},
        Refused{"dimensions", "4294967296", "0 (all) to 4294967295"},
        Refused{"lane", "fast", "possible: online, bulk"},
        Refused{"poolng", "cls", "there is no option \"poolng\"; there are pooling, layers"},
        Refused{"a\n\x1b[2J", "", R"(there is no option "a\n\x1b[2J"; there are)"},
        Refused{"lane", "\xff\n", R"(lane is "\xff\n"; possible)"},
        Refused{"data_type", "int8", "there is no option"}, Refused{"", "", "there is no option"}));

}  // namespace
}  // namespace pixembed
