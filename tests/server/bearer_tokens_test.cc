// Tokens: what a file may hold, what a call must show, and rotation.
#include "server/bearer_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "src/error/error.h"
#include "tests/checkpoint/temporary_directory.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class BearerTokensTest : public ::testing::Test {
 protected:
  std::string path() const { return (folder_.path() / "tokens").string(); }
  void Write(const std::string& content) const { std::ofstream(path()) << content; }

  std::shared_ptr<BearerTokens> Open() {
    auto tokens = BearerTokens::Open(
        path(), [this](LogLevel, const std::string& line) { log_.push_back(line); });
    EXPECT_TRUE(tokens.ok()) << tokens.status();
    return *tokens;
  }

  absl::Status Check(BearerTokens& tokens, const std::vector<std::string_view>& shown) const {
    return tokens.Check(shown, now_);
  }

  const TemporaryDirectory folder_;
  TimePoint now_ = std::chrono::steady_clock::now();
  std::vector<std::string> log_;
};

TEST_F(BearerTokensTest, EveryTokenOfTheFileIsTaken) {
  Write("# of the indexer\r\nfirst-token\r\n\n  Zm9v+/.~_== \n#old\n");
  const auto tokens = Open();
  EXPECT_TRUE(Check(*tokens, {"Bearer first-token"}).ok());
  EXPECT_TRUE(Check(*tokens, {"bearer  Zm9v+/.~_=="}).ok());  // RFC 9110: whatever its case
  EXPECT_THAT(log_, ::testing::ElementsAre(HasSubstr("2 tokens")));
}

TEST_F(BearerTokensTest, AnythingElseIsRefusedAndNeverRepeated) {
  Write("first-token\nsecond\n");
  const auto tokens = Open();
  for (const std::vector<std::string_view>& shown :
       std::vector<std::vector<std::string_view>>{{},
                                                  {""},
                                                  {"Bearer"},
                                                  {"Bearer "},
                                                  {"Bearer first-toke"},
                                                  {"Bearer first-token2"},
                                                  {"Bearer first-token second"},
                                                  {"Bearer FIRST-TOKEN"},
                                                  {"Bearerfirst-token"},
                                                  {"Basic first-token"},
                                                  {"first-token"},
                                                  {"Bearer first-token", "Bearer first-token"}}) {
    const absl::Status status = Check(*tokens, shown);
    const std::string what = shown.empty() ? "(none)" : std::string(shown.front());
    EXPECT_EQ(ReasonOf(status), Reason::kInvalidToken) << what;
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << what;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("Bearer TOKEN"), HasSubstr("--auth_token_file"),
                      Not(HasSubstr("toke2")), Not(HasSubstr("FIRST"))))
        << what;
  }
}

TEST_F(BearerTokensTest, ANewFileReplacesThem) {
  Write("old\n");
  const auto tokens = Open();
  Write("old\nnew\n");
  now_ += 2 * kLookInterval;
  EXPECT_TRUE(Check(*tokens, {"Bearer new"}).ok());
  EXPECT_TRUE(Check(*tokens, {"Bearer old"}).ok());
  Write("new\n");
  now_ += 2 * kLookInterval;
  EXPECT_TRUE(Check(*tokens, {"Bearer new"}).ok());
  EXPECT_FALSE(Check(*tokens, {"Bearer old"}).ok());
  Write("");  // as it is for a moment while someone writes it
  now_ += 2 * kLookInterval;
  EXPECT_TRUE(Check(*tokens, {"Bearer new"}).ok());
  EXPECT_THAT(log_.back(), AllOf(HasSubstr("stays in force"), HasSubstr("holds no token")));
}

TEST_F(BearerTokensTest, AFileThatLetsNobodyInOrHoldsNoTokensIsRefused) {
  for (const auto& [content, text] : std::vector<std::pair<std::string, std::string>>{
           {"", "holds no token"},
           {"# nothing\n\n", "holds no token"},
           {"good\nsecret with space\n", "line 2 is no token"},
           {"secret=\xC3\xBC", "line 1 is no token"}}) {
    Write(content);
    const auto tokens = BearerTokens::Open(path(), nullptr);
    EXPECT_EQ(ReasonOf(tokens.status()), Reason::kInvalidOption);
    EXPECT_THAT(
        std::string(tokens.status().message()),
        AllOf(HasSubstr("--auth_token_file=" + path()), HasSubstr(text), Not(HasSubstr("secret"))));
  }
}

}  // namespace
}  // namespace pixembed
