#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/byte_reader.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/orientation.h"

namespace pixembed {
namespace {

// Every format, once. The order carries no meaning but for files that begin like two formats:
// AVIF's signature stands four bytes behind the start.
constexpr std::array kCodecs = {&kJpegCodec, &kPngCodec,  &kWebpCodec, &kGifCodec,
                                &kBmpCodec,  &kTiffCodec, &kAvifCodec};

Bytes AsBytes(std::span<const std::byte> encoded) {
  return {reinterpret_cast<const std::uint8_t*>(encoded.data()), encoded.size()};
}

absl::StatusOr<const Codec*> FindCodec(Bytes bytes, const DecodeLimits& limits) {
  if (bytes.empty()) return MakeError(Reason::kEmptyImage, "the image has no bytes");
  if (bytes.size() > limits.max_encoded_bytes) {
    return MakeError(Reason::kTooManyBytes,
                     absl::StrCat("the encoded image has ", bytes.size(), " bytes, more than the ",
                                  limits.max_encoded_bytes, " that --max_image_bytes allows"));
  }
  const auto* const codec = std::ranges::find_if(
      kCodecs, [bytes](const Codec* candidate) { return candidate->accepts(bytes); });
  if (codec == kCodecs.end()) {
    return MakeError(
        Reason::kUnsupportedFormat,
        "the first bytes are not those of a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF image");
  }
  return *codec;
}

absl::Status OutOfMemory(Format format) {
  const std::string_view name = FormatName(format);
  return MakeError(Reason::kOutOfMemory, absl::StrCat("no memory for the pixels of the ",
                                                      absl::string_view(name.data(), name.size()),
                                                      " image; lower --max_image_pixels"));
}

absl::StatusOr<int> ReadOrientation(const Codec& codec, Bytes bytes) {
  if (codec.read_orientation == nullptr) return kUpright;
  return codec.read_orientation(bytes);
}

absl::StatusOr<int> OrientationToApply(const Codec& codec, Bytes bytes,
                                       const DecodePolicy& policy) {
  if (!policy.apply_exif_orientation) return kUpright;
  return ReadOrientation(codec, bytes);
}

}  // namespace

absl::Status CheckSize(Format format, std::int64_t width, std::int64_t height,
                       const DecodeLimits& limits) {
  const std::string_view name_view = FormatName(format);
  const absl::string_view name(name_view.data(), name_view.size());
  if (width <= 0 || height <= 0) {
    return MakeError(Reason::kCorruptImage,
                     absl::StrCat(name, ": the header says ", width, " x ", height, " pixels"));
  }
  if (std::max(width, height) > limits.max_side) {
    return MakeError(
        Reason::kTooManyPixels,
        absl::StrCat(name, ": the header says ", width, " x ", height,
                     " pixels; --max_image_side allows ", limits.max_side, " on a side"));
  }
  if (width * height > limits.max_pixels) {
    return MakeError(
        Reason::kTooManyPixels,
        absl::StrCat(name, ": the header says ", width, " x ", height, " = ", width * height,
                     " pixels; --max_image_pixels allows ", limits.max_pixels));
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageHeader> HeaderFor(Format format, std::string_view mode, std::int64_t width,
                                      std::int64_t height, std::size_t working_bytes,
                                      const DecodeLimits& limits) {
  if (absl::Status status = CheckSize(format, width, height, limits); !status.ok()) return status;
  return ImageHeader{.format = format,
                     .mode = mode,
                     .width = static_cast<int>(width),
                     .height = static_cast<int>(height),
                     .decoded_bytes = static_cast<std::size_t>(width * height * 3) + working_bytes};
}

absl::StatusOr<ImageHeader> ReadHeader(std::span<const std::byte> encoded,
                                       const DecodeLimits& limits, const DecodePolicy& policy) {
  const Bytes bytes = AsBytes(encoded);
  const absl::StatusOr<const Codec*> codec = FindCodec(bytes, limits);
  if (!codec.ok()) return codec.status();
  try {
    absl::StatusOr<ImageHeader> header = (*codec)->read_header(bytes, limits);
    if (!header.ok()) return header;
    const absl::StatusOr<int> orientation = OrientationToApply(**codec, bytes, policy);
    if (!orientation.ok()) return orientation.status();
    // Decode reads it too, before it has pixels.
    if (policy.apply_exif_orientation) {
      header->decoded_bytes = std::max(header->decoded_bytes, HeaderMemory(bytes.size()));
    }
    const auto pixels = static_cast<std::size_t>(header->width) * header->height;
    if (*orientation != kUpright) header->decoded_bytes += 3 * pixels;
    if (policy.background.has_value()) header->decoded_bytes += 4 * pixels;
    if (SwapsSides(*orientation)) std::swap(header->width, header->height);
    return header;
  } catch (const std::bad_alloc&) {
    return OutOfMemory((*codec)->format);
  }
}

absl::StatusOr<int> OptionalOrientation(std::span<const std::byte> encoded,
                                        const DecodeLimits& limits) {
  const Bytes bytes = AsBytes(encoded);
  const absl::StatusOr<const Codec*> codec = FindCodec(bytes, limits);
  if (!codec.ok()) return codec.status();
  try {
    return ReadOrientation(**codec, bytes);
  } catch (const std::bad_alloc&) {
    return OutOfMemory((*codec)->format);
  }
}

absl::StatusOr<Image> Decode(std::span<const std::byte> encoded, const DecodeLimits& limits,
                             const DecodePolicy& policy) {
  return DecodeColumns(
      encoded, limits,
      [](Size size) {
        return Columns{0, size.width};
      },
      policy);
}

absl::StatusOr<Image> DecodeColumns(std::span<const std::byte> encoded, const DecodeLimits& limits,
                                    absl::FunctionRef<absl::StatusOr<Columns>(Size size)> needed,
                                    const DecodePolicy& policy) {
  const Bytes bytes = AsBytes(encoded);
  const absl::StatusOr<const Codec*> codec = FindCodec(bytes, limits);
  if (!codec.ok()) return codec.status();
  try {
    const absl::StatusOr<ImageHeader> header = (*codec)->read_header(bytes, limits);
    if (!header.ok()) return header.status();
    const absl::StatusOr<int> orientation = OrientationToApply(**codec, bytes, policy);
    if (!orientation.ok()) return orientation.status();
    const bool swapped = SwapsSides(*orientation);
    absl::StatusOr<Columns> columns = needed({.height = swapped ? header->width : header->height,
                                              .width = swapped ? header->height : header->width});
    if (!columns.ok()) return columns.status();
    // Of an image that is turned other pixels than these columns are looked at.
    if (*orientation != kUpright) *columns = {0, header->width};
    absl::StatusOr<Image> image =
        (*codec)->decode(bytes, *header, limits, {*columns, policy.background});
    if (!image.ok()) return image;
    return Oriented(*std::move(image), *orientation);
  } catch (const std::bad_alloc&) {
    return OutOfMemory((*codec)->format);
  }
}

}  // namespace pixembed
