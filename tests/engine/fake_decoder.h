// A decoder for engine tests: an "image" is a few bytes of text, and decodes can be held.
//
//   "7"         decodes to pixels that are all 7
//   "7 mb=3"    the same, and claims 3 MiB of memory to decode
//   "broken"    has no header
//   "corrupt"   has a header and no pixels
//
// On a background every pixel is the background's red: all is transparent.
#ifndef PIXEMBED_TESTS_ENGINE_FAKE_DECODER_H_
#define PIXEMBED_TESTS_ENGINE_FAKE_DECODER_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "src/engine/start.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/model/fake_model.h"

namespace pixembed {

class FakeDecoder {
 public:
  // Refers to this object.
  Decoder decoder() {
    return {
        [](std::span<const std::byte> bytes, const DecodeLimits&, const DecodePolicy&) {
          return Header(bytes);
        },
        [this](std::span<const std::byte> bytes, const DecodeLimits&, const PreprocessSpec& spec,
               const DecodePolicy& policy) { return Decode(bytes, spec, policy); },
        [this](std::span<const std::byte> bytes, const DecodeLimits&, const PreprocessSpec& spec,
               const DecodePolicy& policy) { return Describe(bytes, spec, policy); }};
  }

  Gate& gate() { return gate_; }
  int decodes() const { return decodes_; }

 private:
  static std::string_view Text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  static absl::StatusOr<ImageHeader> Header(std::span<const std::byte> bytes) {
    const std::string text(Text(bytes));
    if (text.empty()) return MakeError(Reason::kEmptyImage, "no bytes");
    if (text == "broken") return MakeError(Reason::kUnsupportedFormat, "broken");
    ImageHeader header;
    const std::size_t mb = text.find("mb=");
    if (mb != std::string::npos) {
      header.decoded_bytes = std::strtoull(text.c_str() + mb + 3, nullptr, 10) << 20;
    }
    return header;
  }

  absl::StatusOr<Image> Decode(std::span<const std::byte> bytes, const PreprocessSpec& spec,
                               const DecodePolicy& policy) {
    ++decodes_;
    gate_.Pass();
    const std::string text(Text(bytes));
    if (text == "corrupt") return MakeError(Reason::kCorruptImage, "corrupt");
    const Size size = spec.resize->exact.value();
    Image image(size.width, size.height);
    const int value = std::atoi(text.c_str());
    std::ranges::fill(
        image.pixels(),
        static_cast<std::uint8_t>(policy.background.has_value() ? policy.background->red : value));
    return image;
  }

  absl::StatusOr<ImageDescription> Describe(std::span<const std::byte> bytes,
                                            const PreprocessSpec& spec,
                                            const DecodePolicy& policy) {
    const absl::StatusOr<Image> image = Decode(bytes, spec, policy);
    if (!image.ok()) return image.status();
    ImageDescription description;
    description.mode = "RGB";
    description.decoded_sha256 = Text(bytes);
    return description;
  }

  Gate gate_;
  std::atomic<int> decodes_ = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_ENGINE_FAKE_DECODER_H_
