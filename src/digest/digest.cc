#include "src/digest/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <cstddef>
#include <new>
#include <span>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace pixembed {

Sha256Digest Sha256(std::span<const std::byte> bytes) {
  Sha256Digest digest{};
  // The algorithm is always there: what can fail is the allocation of its state.
  if (EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()),
                 nullptr, EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
  return digest;
}

bool SameDigest(const Sha256Digest& a, const Sha256Digest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string Hex(const Sha256Digest& digest) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

}  // namespace pixembed
