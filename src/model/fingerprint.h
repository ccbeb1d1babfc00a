// The name of a vector space. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_FINGERPRINT_H_
#define PIXEMBED_SRC_MODEL_FINGERPRINT_H_

#include <cstddef>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// Raised when a release changes vectors by more than the stated tolerance for the same model.
inline constexpr int kNumericsVersion = 1;

// Everything but the weights that decides where a vector lies.
struct FingerprintParts {
  std::string weights_digest;  // of DigestWeights or DigestProgram
  std::string architecture;    // NetworkInfo::architecture
  PreprocessSpec preprocess;   // with its backend
  VectorSpace space;
  std::string precision;  // "float32"
};

// 64 hexadecimal digits: SHA-256 over a line per tensor, in the order of the names: SHA-256 of its
// bytes, type, shape, name.
std::string DigestWeights(const std::map<std::string, const Tensor*, std::less<>>& tensors);

// 64 hexadecimal digits, over the bytes of a program's file: its code and its weights. Never those
// of DigestWeights.
std::string DigestProgram(std::span<const std::byte> file);

// The text that a fingerprint is taken over: a line per part. docs/fingerprint.md describes it, so
// that others can compute it; the same on every host.
std::string FingerprintText(const FingerprintParts& parts);

// SHA-256 of FingerprintText, 64 hexadecimal digits.
std::string Fingerprint(const FingerprintParts& parts);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FINGERPRINT_H_
