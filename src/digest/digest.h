// SHA-256: how this project says that two things are the same bytes, secrets among them.
#ifndef PIXEMBED_SRC_DIGEST_DIGEST_H_
#define PIXEMBED_SRC_DIGEST_DIGEST_H_

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace pixembed {

using Sha256Digest = std::array<std::byte, 32>;

// Thread-safe. Throws std::bad_alloc where libcrypto has no memory for it.
Sha256Digest Sha256(std::span<const std::byte> bytes);

// Whether two digests are the same, in a time that does not depend on where they differ: for those
// of secrets. Thread-safe.
bool SameDigest(const Sha256Digest& a, const Sha256Digest& b);

// 64 lower-case hexadecimal digits.
std::string Hex(const Sha256Digest& digest);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_DIGEST_DIGEST_H_
