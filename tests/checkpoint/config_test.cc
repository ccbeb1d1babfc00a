#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/checkpoint/status_matchers.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

Config Parsed(std::string_view text) {
  absl::StatusOr<Config> config = Config::Parse(text, "config.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return *std::move(config);
}

TEST(Config, GivesTheValueOfAPresentKey) {
  const Config config =
      Parsed(R"({"i":7,"d":1e-6,"b":false,"s":"gelu","n":[0.5,1],"p":[2,3],"o":{"i":8}})");
  EXPECT_EQ(*config.Int("i", 1, 0, 10), 7);
  EXPECT_EQ(*config.Double("d", 1, 0, 1), 1e-6);
  EXPECT_EQ(*config.Double("i", 1, 0, 10), 7.0);
  EXPECT_EQ(*config.Bool("b", true), false);
  EXPECT_EQ(*config.String("s", "relu"), "gelu");
  EXPECT_THAT(*config.Numbers("n", {}, 0, 1), ElementsAre(0.5, 1.0));
  EXPECT_THAT(*config.Numbers("i", {}, 0, 9), ElementsAre(7.0));
  EXPECT_EQ(*config.SquareOrPair("p", {1, 1}, 1, 9), (Size{2, 3}));
  EXPECT_EQ(*config.SquareOrPair("i", {1, 1}, 1, 9), (Size{7, 7}));
  EXPECT_EQ(*config.Section("o")->Int("i", 1, 0, 10), 8);
  EXPECT_EQ(config.origin(), "config.json");
}

TEST(Config, AbsentAndNullKeysGiveTheFallback) {
  const Config config = Parsed(R"({"null":null})");
  constexpr std::array kNumbers = {0.25};
  for (const std::string_view key : {"null", "absent"}) {
    EXPECT_FALSE(config.Has(key));
    EXPECT_EQ(*config.Int(key, 5, 0, 1), 5);
    EXPECT_EQ(*config.Double(key, 0.5, 1, 2), 0.5);
    EXPECT_EQ(*config.Bool(key, true), true);
    EXPECT_EQ(*config.String(key, "x"), "x");
    EXPECT_THAT(*config.Numbers(key, kNumbers, 1, 2), ElementsAre(0.25));
    EXPECT_EQ(*config.SquareOrPair(key, {4, 5}, 1, 2), (Size{4, 5}));
    EXPECT_THAT(config.Section(key)->Keys(), ElementsAre());
  }
}

TEST(Config, KnowsTheKindOfEveryValue) {
  const Config config = Parsed(R"({"a":null,"b":true,"i":-1,"u":1,"f":1.0,"s":"","l":[],"o":{}})");
  EXPECT_EQ(config.KindOf("x"), Config::Kind::kAbsent);
  EXPECT_EQ(config.KindOf("a"), Config::Kind::kNull);
  EXPECT_EQ(config.KindOf("b"), Config::Kind::kBool);
  EXPECT_EQ(config.KindOf("i"), Config::Kind::kInt);
  EXPECT_EQ(config.KindOf("u"), Config::Kind::kInt);
  EXPECT_EQ(config.KindOf("f"), Config::Kind::kFloat);
  EXPECT_EQ(config.KindOf("s"), Config::Kind::kString);
  EXPECT_EQ(config.KindOf("l"), Config::Kind::kList);
  EXPECT_EQ(config.KindOf("o"), Config::Kind::kObject);
  EXPECT_THAT(config.Keys(), ElementsAre("b", "f", "i", "l", "o", "s", "u"));
}

TEST(Config, OfAKeyGivenTwiceTheLastCountsAsInPython) {
  EXPECT_EQ(*Parsed(R"({"i":1,"i":2})").Int("i", 0, 0, 9), 2);
}

TEST(Config, AnOutOfRangeNumberNamesFileKeyValueAndRange) {
  const Config config = Parsed(R"({"hidden_size":-3,"eps":1e300,"big":18446744073709551615,
                                   "image_size":[224,100000],"mean":[0.5,-7]})");
  EXPECT_THAT(config.Int("hidden_size", 768, 1, 65536),
              IsCorrupt("config.json: hidden_size = -3 must be an integer from 1 to 65536"));
  EXPECT_THAT(config.Double("eps", 1e-6, 0, 1),
              IsCorrupt("config.json: eps = 1e+300 must be a number from 0 to 1"));
  EXPECT_THAT(config.Int("big", 1, 0, kMaxInt64),
              IsCorrupt(AllOf(HasSubstr("18446744073709551615"), HasSubstr("at least 0"))));
  EXPECT_THAT(config.SquareOrPair("image_size", {}, 1, 65536),
              IsCorrupt(AllOf(HasSubstr("image_size = 100000"), HasSubstr("1 to 65536"))));
  EXPECT_THAT(config.Numbers("mean", {}, -1, 1), IsCorrupt(HasSubstr("mean[1] = -7")));
}

TEST(Config, AWrongTypeNamesFileKeyAndValue) {
  const Config config =
      Parsed(R"({"s":"768","f":7.0,"b":1,"o":[],"t":true,"l":[1,2,3],"m":["x"]})");
  EXPECT_THAT(config.Int("s", 1, 0, 9), IsCorrupt(HasSubstr(R"(s = "768" must be an integer)")));
  EXPECT_THAT(config.Int("f", 1, 0, 9), IsCorrupt(HasSubstr("f = 7.0 must be an integer")));
  EXPECT_THAT(config.Int("t", 1, 0, 9), IsCorrupt(HasSubstr("t = true must be an integer")));
  EXPECT_THAT(config.Double("s", 1, 0, 9), IsCorrupt(HasSubstr("must be a number")));
  EXPECT_THAT(config.Double("t", 1, 0, 9), IsCorrupt(HasSubstr("must be a number")));
  EXPECT_THAT(config.Bool("b", true), IsCorrupt(HasSubstr("b = 1 must be true or false")));
  EXPECT_THAT(config.String("f", ""), IsCorrupt(HasSubstr("f = 7.0 must be a string")));
  EXPECT_THAT(config.Section("o"), IsCorrupt(HasSubstr("o = [0 values] must be an object")));
  EXPECT_THAT(config.SquareOrPair("l", {}, 1, 9), IsCorrupt(HasSubstr("[height, width]")));
  EXPECT_THAT(config.SquareOrPair("s", {}, 1, 9), IsCorrupt(HasSubstr("[height, width]")));
  EXPECT_THAT(config.Numbers("m", {}, 0, 9), IsCorrupt(HasSubstr(R"(m[0] = "x")")));
}

TEST(Config, ListsOfBooleans) {
  const Config config = Parsed(R"({"l":[true,false],"e":[],"b":true,"m":[true,1],"n":null})");
  EXPECT_THAT(*config.Bools("l", {}), ElementsAre(true, false));
  EXPECT_THAT(*config.Bools("e", {true}), ElementsAre());
  for (const std::string_view key : {"n", "absent"}) {
    EXPECT_THAT(*config.Bools(key, {false, true}), ElementsAre(false, true));
  }
  for (const std::string_view key : {"b", "m"}) {
    EXPECT_THAT(config.Bools(key, {}), IsCorrupt(HasSubstr("a list of true and false")));
  }
}

TEST(Config, ErrorsInASectionNameTheWholePath) {
  const Config config = Parsed(R"({"vision_config":{"hidden_size":0,"inner":{"x":"y"}}})");
  const auto section = config.Section("vision_config");
  ASSERT_TRUE(section.ok()) << section.status();
  EXPECT_THAT(section->Int("hidden_size", 1, 1, 2),
              IsCorrupt(HasSubstr("config.json: vision_config.hidden_size = 0")));
  EXPECT_THAT(section->Section("inner")->Int("x", 1, 1, 2),
              IsCorrupt(HasSubstr("vision_config.inner.x")));
}

TEST(Config, DescribesAKeyForOthersErrors) {
  const Config config = Parsed(R"({"a":{"s":"x\u0000y","n":null,"l":[1,2],"o":{},"f":0.5}})");
  const auto section = config.Section("a");
  ASSERT_TRUE(section.ok()) << section.status();
  EXPECT_EQ(section->Describe("s"), R"(config.json: a.s = "x\x00y")");
  EXPECT_EQ(section->Describe("n"), "config.json: a.n = null");
  EXPECT_EQ(section->Describe("l"), "config.json: a.l = [2 values]");
  EXPECT_EQ(section->Describe("o"), "config.json: a.o = {0 keys}");
  EXPECT_EQ(section->Describe("f"), "config.json: a.f = 0.5");
  EXPECT_EQ(section->Describe("x"), "config.json: a.x (absent)");
}

TEST(Config, DescribesWhatTheFileChosePrintably) {
  const auto config = Config::Parse(R"({"k\u001b":1})", "archive/\n.json");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->Describe("k\x1b"), R"(archive/\n.json: k\x1b = 1)");
  EXPECT_EQ(config->Describe(std::string(1000, 'x')),
            R"(archive/\n.json: )" + std::string(kMaxPrintableBytes, 'x') + "... (absent)");
}

TEST(Config, NanAndInfinityAreNamedWithTheirKey) {
  for (const std::string value : {"NaN", "Infinity", "-Infinity", "1e999", "nan"}) {
    EXPECT_THAT(Config::Parse(R"({"a":1,"layer_norm_eps": )" + value + R"(,"b":2})", "config.json"),
                IsCorrupt(AllOf(HasSubstr("config.json"), HasSubstr(R"(key "layer_norm_eps")"),
                                HasSubstr('"' + value + '"'), HasSubstr("finite"))))
        << value;
  }
}

TEST(Config, WhatIsNoJsonObjectIsCorrupt) {
  for (const std::string_view text :
       {std::string_view(""), std::string_view("{"), std::string_view("[]"), std::string_view("1"),
        std::string_view("null"), std::string_view("\"x\""), std::string_view("{} {}"),
        std::string_view("{}\0", 3), std::string_view("\xEF\xBB\xBF{}"),
        std::string_view("{\"a\":\"\xFF\"}"), std::string_view("{'a':1}"),
        std::string_view("{\"a\":1,}"), std::string_view("{/**/}"), std::string_view("\x89PNG")}) {
    EXPECT_THAT(Config::Parse(text, "config.json"), IsCorrupt(HasSubstr("config.json")))
        << std::string(text);
  }
}

TEST(Config, WhereTheTextIsNoJsonIsSaid) {
  EXPECT_THAT(Config::Parse(R"({"a": "b" "c": 2})", "config.json"),
              IsCorrupt("config.json: is not JSON: syntax error at byte 12 of 17"));
  EXPECT_THAT(Config::Parse(R"({"a": 1 2})", "config.json"),
              IsCorrupt("config.json: is not JSON: syntax error at byte 8 of 10"));
}

TEST(Config, ATextThatIsCutShortSaysWhatToDo) {
  const std::string whole = R"({"a": {"b": [1, "two"]}})";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Config::Parse(std::string_view(whole).substr(0, size), "config.json"),
                IsCorrupt(absl::StrCat("config.json: is not JSON: it ends too early, after ", size,
                                       " bytes; if the file is cut short, copy it again")));
  }
}

TEST(Config, DeepNestingEndsInAnErrorNotInTheStack) {
  for (const std::string_view open : {"[", R"({"a":)"}) {
    std::string text = R"({"a":)";
    for (int i = 0; i < 1'000'000; ++i) text += open;
    EXPECT_THAT(Config::Parse(text, "config.json"), IsCorrupt(HasSubstr("nested deeper than 64")));
  }
}

TEST(Config, HugeDocumentsAreRefusedBeforeMemoryIsSpent) {
  std::string many = R"({"a":[)";
  for (int i = 0; i < 300'000; ++i) many += "0,";
  EXPECT_THAT(Config::Parse(many + "0]}", "config.json"),
              IsCorrupt(HasSubstr("more than 262144 values")));
  const std::string large = R"({"a":")" + std::string(9 << 20, 'x') + R"("})";
  EXPECT_THAT(Config::Parse(large, "config.json"), IsCorrupt(HasSubstr("more than 8388608")));
}

TEST(Config, RandomMutationsEndInAValueOrANamedError) {
  const std::string original =
      R"({"hidden_size":384,"layer_norm_eps":1e-06,"image_size":[518,518],"act":"gelu",)"
      R"("qkv_bias":true,"mean":[0.485,0.456],"vision_config":{"hidden_size":7},"n":null})";
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&random](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  constexpr std::string_view kTokens = "0123456789{}[]\":,-.eEtrufalsn \\";
  const auto is_named = [](const absl::Status& status) {
    return status.ok() || ReasonOf(status) == Reason::kCheckpointCorrupt;
  };
  for (int round = 0; round < 10'000; ++round) {
    std::string text = original;
    for (std::size_t edits = below(4) + 1; edits > 0; --edits) {
      text[below(text.size())] = kTokens[below(kTokens.size())];
    }
    const auto config = Config::Parse(text, "config.json");
    ASSERT_TRUE(is_named(config.status())) << config.status();
    if (!config.ok()) continue;
    ASSERT_TRUE(is_named(config->Int("hidden_size", 1, 1, 9).status()));
    ASSERT_TRUE(is_named(config->Double("layer_norm_eps", 1, 0, 9).status()));
    ASSERT_TRUE(is_named(config->SquareOrPair("image_size", {}, 1, 9).status()));
    ASSERT_TRUE(is_named(config->String("act", "").status()));
    ASSERT_TRUE(is_named(config->Bool("qkv_bias", true).status()));
    ASSERT_TRUE(is_named(config->Numbers("mean", {}, 0, 1).status()));
    ASSERT_TRUE(is_named(config->Section("vision_config").status()));
  }
}

}  // namespace
}  // namespace pixembed
