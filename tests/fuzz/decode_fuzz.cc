// Any bytes through ReadHeader and Decode, one target per codec (PIXEMBED_FUZZ_CODEC), so that each
// grows a corpus of its own. What must hold: a failure has a reason and is never INTERNAL; what the
// header says of size and of memory is true; nothing larger than the limits comes out; decoding
// some of the columns gives the same pixels there, and the same answer. All of it under the default
// policy, and upright on a background.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "tests/image/heap_meter.h"

namespace {

using pixembed::Columns;
using pixembed::DecodeLimits;
using pixembed::DecodePolicy;
using pixembed::HeapMeter;
using pixembed::Size;

// Small, so that a run is short.
constexpr DecodeLimits kLimits = {
    .max_encoded_bytes = std::size_t{1} << 20, .max_pixels = 1 << 18, .max_side = 1 << 12};

void Require(bool holds, const char* what, const absl::Status& status) {
  if (holds) return;
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  std::abort();
}

void RequireReason(const absl::Status& status) {
  Require(status.ok() || pixembed::ReasonOf(status).has_value(), "a failure has a reason", status);
  Require(status.code() != absl::StatusCode::kInternal, "never INTERNAL", status);
}

void RequireHeapBelow(const HeapMeter& meter, std::size_t bytes, const char* what) {
  // Statuses, and what sanitizers and libraries keep from call to call.
  constexpr std::size_t kAside = std::size_t{1} << 18;
  if (meter.peak() <= bytes + kAside) return;
  std::fprintf(stderr, "%s holds %zu bytes, more than the %zu that it may\n", what, meter.peak(),
               bytes);
  std::abort();
}

void Check(const std::uint8_t* data, std::size_t size, const DecodePolicy& policy) {
  const auto encoded = std::as_bytes(std::span(data, size));
  const HeapMeter header_meter;
  const auto header = pixembed::ReadHeader(encoded, kLimits, policy);
  RequireHeapBelow(header_meter, pixembed::HeaderMemory(size), "reading the header");
  const HeapMeter meter;
  const auto image = pixembed::Decode(encoded, kLimits, policy);
  RequireHeapBelow(meter, header.ok() ? header->decoded_bytes : pixembed::HeaderMemory(size),
                   "decoding");
  RequireReason(header.status());
  RequireReason(image.status());
  Require(header.ok() || !image.ok(), "what decodes has a header", header.status());
  if (!header.ok()) return;
  const auto pixels = std::int64_t{header->width} * header->height;
  Require(header->width > 0 && header->width <= kLimits.max_side && header->height > 0 &&
              header->height <= kLimits.max_side && pixels <= kLimits.max_pixels,
          "the size is within the limits", header.status());
  Columns needed;
  const auto part = pixembed::DecodeColumns(
      encoded, kLimits,
      [&](Size image_size) {
        const int rest = image_size.width - 1 - data[size - 1] * image_size.width / 256;
        needed.begin = image_size.width - 1 - rest;
        needed.end = needed.begin + 1 + data[size / 2] * rest / 255;
        return needed;
      },
      policy);
  Require(part.status() == image.status(), "needed columns do not change the answer",
          part.status());
  if (!image.ok()) return;
  Require(!policy.background.has_value() || image->transparency() == pixembed::Transparency(),
          "on a background nothing is transparent", header.status());
  Require(part->transparency() == image->transparency(),
          "needed columns do not change transparency", header.status());
  Require(image->width() == header->width && image->height() == header->height,
          "the image has the header's size", header.status());
  for (int y = 0; y < image->height(); ++y) {
    Require(std::equal(image->row(y) + std::ptrdiff_t{needed.begin} * 3,
                       image->row(y) + std::ptrdiff_t{needed.end} * 3,
                       part->row(y) + std::ptrdiff_t{needed.begin} * 3),
            "the needed columns have the pixels of the whole picture", header.status());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (!pixembed::PIXEMBED_FUZZ_CODEC.accepts({data, size})) return 0;
  Check(data, size, {});
  Check(data, size, {.apply_exif_orientation = true, .background = pixembed::Color{201, 17, 96}});
  return 0;
}
