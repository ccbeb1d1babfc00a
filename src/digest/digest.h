// SHA-256: how this project says that two things are the same bytes.
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

// 64 lower-case hexadecimal digits.
std::string Hex(const Sha256Digest& digest);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_DIGEST_DIGEST_H_
