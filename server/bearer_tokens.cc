#include "server/bearer_tokens.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "src/digest/digest.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

constexpr absl::string_view kScheme = "Bearer";

// RFC 6750's b68token.
bool IsToken(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-._~+/=", static_cast<char>(c));
  });
}

Sha256Digest DigestOf(absl::string_view token) {
  return Sha256(std::as_bytes(std::span(token.data(), token.size())));
}

absl::Status Refuse(absl::string_view why) {
  return MakeError(
      Reason::kInvalidToken,
      absl::StrCat(why,
                   "; wanted is \"authorization: Bearer TOKEN\" with a token of the file that "
                   "the server's --auth_token_file names"));
}

}  // namespace

absl::StatusOr<TokenList> ReadTokens(const FlagFile& file, std::string_view content) {
  TokenList tokens;
  int number = 0;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(content.data(), content.size()), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    if (!IsToken(line)) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat(file.Text(), ": line ", number,
                                    " is no token; one has letters, digits and -._~+/= only"));
    }
    tokens.digests.push_back(DigestOf(line));
  }
  if (tokens.digests.empty()) {
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat(file.Text(), " holds no token: nobody could call"));
  }
  tokens.about = absl::StrCat(tokens.digests.size(), " tokens");
  return tokens;
}

BearerTokens::BearerTokens(std::shared_ptr<Reloaded<TokenList>> tokens)
    : tokens_(std::move(tokens)) {}

absl::StatusOr<std::shared_ptr<BearerTokens>> BearerTokens::Open(const std::string& path,
                                                                 const Log& log) {
  const FlagFile file{.flag = "auth_token_file", .path = path};
  auto tokens = Reloaded<TokenList>::Open(
      {file},
      [file](const std::vector<std::string>& contents) {
        return ReadTokens(file, contents.front());
      },
      log, std::chrono::steady_clock::now());
  if (!tokens.ok()) return tokens.status();
  return std::shared_ptr<BearerTokens>(new BearerTokens(*std::move(tokens)));
}

absl::Status BearerTokens::Check(std::span<const std::string_view> authorization, TimePoint now) {
  if (authorization.empty()) return Refuse("the call shows no token");
  if (authorization.size() > 1) {
    return Refuse(absl::StrCat("the call has ", authorization.size(), " values of authorization"));
  }
  const absl::string_view value(authorization.front().data(), authorization.front().size());
  // The scheme's case does not matter (RFC 9110, 11.1).
  if (!absl::StartsWithIgnoreCase(value, kScheme) || value.size() == kScheme.size() ||
      value[kScheme.size()] != ' ') {
    return Refuse("the call's authorization is no bearer token");
  }
  const Sha256Digest shown = DigestOf(absl::StripAsciiWhitespace(value.substr(kScheme.size() + 1)));
  bool known = false;
  for (const Sha256Digest& digest : tokens_->Get(now)->digests) {
    known |= SameDigest(digest, shown);
  }
  return known ? absl::OkStatus() : Refuse("the call's token is not one that is in force");
}

}  // namespace pixembed
