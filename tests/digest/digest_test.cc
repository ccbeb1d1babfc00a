#include "src/digest/digest.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace pixembed {
namespace {

std::string HexOf(std::string_view text) { return Hex(Sha256(std::as_bytes(std::span(text)))); }

// Source: FIPS 180-4, the examples of NIST's "SHA-256" sheet.
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(HexOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HexOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(SameDigest, EveryByteCounts) {
  const Sha256Digest digest = Sha256({});
  EXPECT_TRUE(SameDigest(digest, Sha256({})));
  for (std::size_t i = 0; i < digest.size(); ++i) {
    Sha256Digest other = digest;
    other[i] ^= std::byte{1};
    EXPECT_FALSE(SameDigest(digest, other)) << i;
  }
}

}  // namespace
}  // namespace pixembed
