// The tokens of which a caller must show one.
#ifndef PIXEMBED_SERVER_BEARER_TOKENS_H_
#define PIXEMBED_SERVER_BEARER_TOKENS_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/reloaded.h"
#include "src/digest/digest.h"
#include "src/engine/engine.h"

namespace pixembed {

// What a token file holds. The tokens themselves are not kept.
struct TokenList {
  std::vector<Sha256Digest> digests;
  std::string about;
};

// Reads a token file: one token a line, of letters, digits and -._~+/= (RFC 6750); empty lines and
// those that begin with '#' are comments, white space around a token is none of it.
// Errors: INVALID_OPTION names `file`, and the line that is no token; there is no token at all.
absl::StatusOr<TokenList> ReadTokens(const FlagFile& file, std::string_view content);

// Those of a file, which may change. Thread-safe.
class BearerTokens {
 public:
  // `log` may be null. Errors: INVALID_OPTION names the flag and the file.
  static absl::StatusOr<std::shared_ptr<BearerTokens>> Open(const std::string& path,
                                                            const Log& log);

  // Whether a call with these values of `authorization` ("Bearer TOKEN") may be served. Takes a
  // time that does not depend on what the tokens are.
  // Errors: INVALID_TOKEN: there is not one value, it is no bearer token, or none of the file's.
  absl::Status Check(std::span<const std::string_view> authorization, TimePoint now);

 private:
  explicit BearerTokens(std::shared_ptr<Reloaded<TokenList>> tokens);

  const std::shared_ptr<Reloaded<TokenList>> tokens_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_BEARER_TOKENS_H_
