// The name of a vector space. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_FINGERPRINT_H_
#define PIXEMBED_SRC_MODEL_FINGERPRINT_H_

#include <functional>
#include <map>
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
  std::string weights_digest;  // of DigestWeights
  std::string architecture;    // NetworkInfo::architecture
  PreprocessSpec preprocess;   // with its backend
  Pooling pooling = Pooling::kMean;
  std::string precision;  // "float32"
};

// SHA-256 over name, type, shape and bytes of every tensor, 64 hexadecimal digits.
std::string DigestWeights(const std::map<std::string, const Tensor*, std::less<>>& tensors);

// SHA-256 over all parts and kNumericsVersion, 64 hexadecimal digits.
std::string Fingerprint(const FingerprintParts& parts);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FINGERPRINT_H_
