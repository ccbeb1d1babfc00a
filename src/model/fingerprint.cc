#include "src/model/fingerprint.h"

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

// SHA-256 over fields, each preceded by its length, so that no two lists of fields give the same
// stream of bytes.
class Digest {
 public:
  Digest() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
      throw std::runtime_error("libcrypto gives no SHA-256");
    }
  }

  void Add(std::span<const std::byte> field) {
    AddInt(static_cast<std::int64_t>(field.size()));
    EVP_DigestUpdate(context_.get(), field.data(), field.size());
  }
  void Add(std::string_view field) { Add(std::as_bytes(std::span(field.data(), field.size()))); }
  void AddInt(std::int64_t value) { EVP_DigestUpdate(context_.get(), &value, sizeof(value)); }
  void AddDouble(double value) { EVP_DigestUpdate(context_.get(), &value, sizeof(value)); }
  void AddSize(std::optional<Size> size) {
    AddInt(size.has_value() ? 1 : 0);
    AddInt(size.value_or(Size{}).height);
    AddInt(size.value_or(Size{}).width);
  }

  std::string Hex() {
    std::array<char, EVP_MAX_MD_SIZE> bytes{};
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(bytes.data()), &size);
    return absl::BytesToHexString(absl::string_view(bytes.data(), size));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

void AddPreprocess(const PreprocessSpec& spec, Digest& digest) {
  digest.Add(BackendName(spec.backend));
  const ResizeTarget resize = spec.resize.value_or(ResizeTarget{});
  digest.AddInt(spec.resize.has_value() ? 1 : 0);
  digest.AddSize(resize.exact);
  digest.AddInt(resize.shortest_edge);
  digest.AddInt(resize.longest_edge);
  digest.AddInt(static_cast<std::int64_t>(spec.filter));
  digest.AddSize(spec.crop);
  digest.AddInt(spec.rescale ? 1 : 0);
  digest.AddDouble(spec.rescale_factor);
  digest.AddInt(spec.normalize ? 1 : 0);
  for (const double mean : spec.mean) digest.AddDouble(mean);
  for (const double deviation : spec.std) digest.AddDouble(deviation);
}

}  // namespace

std::string DigestWeights(const std::map<std::string, const Tensor*, std::less<>>& tensors) {
  Digest digest;
  for (const auto& [name, tensor] : tensors) {
    digest.Add(name);
    digest.Add(TensorTypeName(tensor->type));
    digest.AddInt(static_cast<std::int64_t>(tensor->shape.size()));
    for (const std::int64_t size : tensor->shape) digest.AddInt(size);
    digest.Add(tensor->bytes);
  }
  return digest.Hex();
}

std::string Fingerprint(const FingerprintParts& parts) {
  Digest digest;
  digest.AddInt(kNumericsVersion);
  digest.Add(parts.weights_digest);
  digest.Add(parts.architecture);
  AddPreprocess(parts.preprocess, digest);
  digest.Add(PoolingName(parts.pooling));
  digest.Add(parts.precision);
  return digest.Hex();
}

}  // namespace pixembed
