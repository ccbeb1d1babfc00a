// AVIF, first frame, through libavif.
//
// Rotation and mirroring are not applied unasked: Pillow makes an EXIF orientation of them, in
// place of the one that the EXIF data say. Source: Pillow 13.0.0 src/PIL/AvifImagePlugin.py,
// src/_avif.c.
#include <avif/avif.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/alpha.h"
#include "src/image/byte_reader.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/orientation.h"

namespace pixembed {
namespace {

bool AcceptsAvif(Bytes bytes) {
  constexpr std::array<std::string_view, 4> kBrands = {"avif", "avis", "mif1", "msf1"};
  if (bytes.size() < 12 || std::memcmp(bytes.data() + 4, "ftyp", 4) != 0) return false;
  return std::ranges::any_of(kBrands, [bytes](std::string_view brand) {
    return std::memcmp(bytes.data() + 8, brand.data(), brand.size()) == 0;
  });
}

struct DecoderDeleter {
  void operator()(avifDecoder* decoder) const { avifDecoderDestroy(decoder); }
};
using Decoder = std::unique_ptr<avifDecoder, DecoderDeleter>;

// Whether an outermost box reaches past the end of the file. Only says why decoding failed.
bool IsCut(Bytes bytes) {
  ByteReader reader(bytes, std::endian::big);
  while (reader.tell() < bytes.size()) {
    const std::size_t start = reader.tell();
    const std::optional<std::uint32_t> size = reader.ReadNumber<std::uint32_t>();
    if (!size.has_value() || *size > bytes.size() - start) return true;
    if (*size < 8) return false;  // to the end of the file, or a size of 64 bits
    reader.Seek(start + *size);
  }
  return false;
}

absl::Status Failure(avifResult result, Bytes bytes) {
  const auto error = [result](Reason reason) {
    return MakeError(reason, absl::StrCat("AVIF: ", avifResultToString(result)));
  };
  switch (result) {
    case AVIF_RESULT_TRUNCATED_DATA:
      return error(Reason::kTruncatedImage);
    case AVIF_RESULT_OUT_OF_MEMORY:
      return error(Reason::kOutOfMemory);
    case AVIF_RESULT_INVALID_FTYP:  // a container of another codec, like HEIC's
    case AVIF_RESULT_NO_CODEC_AVAILABLE:
    case AVIF_RESULT_UNSUPPORTED_DEPTH:
    case AVIF_RESULT_NOT_IMPLEMENTED:
      return error(Reason::kUnsupportedFormat);
    default:
      return error(IsCut(bytes) ? Reason::kTruncatedImage : Reason::kCorruptImage);
  }
}

// What libavif 0.11 makes of the tables of a file before it knows whether they make sense: an item
// of 1.4 kB for every three bytes that name one, found by looking at all others, and 50 bytes for
// every frame that is announced. A grid of 256 tiles, as large as they come, has 12 kB of tables.
constexpr std::size_t kMaxItemBytes = std::size_t{16} << 10;
constexpr std::size_t kMaxProperties = 1024;
constexpr std::uint32_t kMaxFrames = 8192;

struct Tables {
  std::size_t item_bytes = 0;  // of the tables that name items
  std::size_t properties = 0;
};

struct Box {
  std::string_view type;
  Bytes payload;
};

// Takes the first box off `boxes`; a last one that is cut keeps what is there. Nothing where none
// follows. Source: ISO/IEC 14496-12, section 4.2.
std::optional<Box> TakeBox(Bytes& boxes) {
  if (boxes.size() < 8) return std::nullopt;
  std::size_t head = 8;
  std::uint64_t size = LoadNumber<std::uint32_t>(boxes, std::endian::big);
  if (size == 0) size = boxes.size();
  if (size == 1) {
    head = 16;
    if (boxes.size() < head) return std::nullopt;
    size = LoadNumber<std::uint64_t>(boxes.subspan(8), std::endian::big);
  }
  if (size < head) return std::nullopt;
  const auto there = static_cast<std::size_t>(std::min<std::uint64_t>(size, boxes.size()));
  const Box box = {.type = {reinterpret_cast<const char*>(boxes.data()) + 4, 4},
                   .payload = boxes.subspan(head, there - head)};
  boxes = boxes.subspan(there);
  return box;
}

// `depth`: how deep the boxes may hold others: file, moov, trak, meta, iprp.
void CountTables(Bytes boxes, int depth, Tables& tables) {
  constexpr std::array<std::string_view, 4> kNamingItems = {"iinf", "iloc", "iref", "ipma"};
  while (const std::optional<Box> box = TakeBox(boxes)) {
    Bytes inner = box->payload;
    if (std::ranges::find(kNamingItems, box->type) != kNamingItems.end()) {
      tables.item_bytes += inner.size();
    } else if (box->type == "ipco") {
      while (TakeBox(inner).has_value()) ++tables.properties;
    } else if (depth > 0 && box->type == "meta" && inner.size() >= 4) {
      CountTables(inner.subspan(4), depth - 1, tables);  // behind version and flags
    } else if (depth > 0 && (box->type == "moov" || box->type == "trak" || box->type == "iprp")) {
      CountTables(inner, depth - 1, tables);
    }
  }
}

absl::Status CheckTables(Bytes bytes) {
  Tables tables;
  CountTables(bytes, /*depth=*/4, tables);
  if (tables.item_bytes <= kMaxItemBytes && tables.properties <= kMaxProperties) {
    return absl::OkStatus();
  }
  return MakeError(
      Reason::kUnsupportedFormat,
      absl::StrCat("AVIF: ", tables.item_bytes, " bytes of tables of items and ", tables.properties,
                   " properties; at most ", kMaxItemBytes, " and ", kMaxProperties, " are read"));
}

// A decoder that has read the boxes. It decodes no frame of more than `max_pixels`, however small
// the boxes say that it is.
absl::StatusOr<Decoder> Parse(Bytes bytes, const DecodeLimits& limits, std::int64_t max_pixels) {
  if (absl::Status status = CheckTables(bytes); !status.ok()) return status;
  Decoder decoder(avifDecoderCreate());
  if (decoder == nullptr) return Failure(AVIF_RESULT_OUT_OF_MEMORY, bytes);
  decoder->imageCountLimit = kMaxFrames;
  decoder->maxThreads = 1;
  decoder->strictFlags &=
      ~static_cast<avifStrictFlags>(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
  decoder->imageSizeLimit = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(max_pixels, 1, AVIF_DEFAULT_IMAGE_SIZE_LIMIT));
  decoder->imageDimensionLimit = static_cast<std::uint32_t>(limits.max_side);
  avifResult result = avifDecoderSetIOMemory(decoder.get(), bytes.data(), bytes.size());
  if (result == AVIF_RESULT_OK) result = avifDecoderParse(decoder.get());
  // libavif has no result of its own for this.
  if (result != AVIF_RESULT_OK &&
      std::string_view(decoder->diag.error).find("imageCountLimit") != std::string_view::npos) {
    return MakeError(Reason::kUnsupportedFormat, absl::StrCat("AVIF: more than ", kMaxFrames,
                                                              " frames, of which none is read"));
  }
  if (result != AVIF_RESULT_OK) return Failure(result, bytes);
  return decoder;
}

// Source: Pillow 13.0.0 src/_avif.c AvifDecoderNew.
std::string_view ModeOf(const avifDecoder& decoder) {
  if (decoder.alphaPresent != AVIF_FALSE) return "RGBA";
  return decoder.image->yuvFormat == AVIF_PIXEL_FORMAT_YUV400 ? "L" : "RGB";
}

absl::StatusOr<ImageHeader> ReadAvifHeader(Bytes bytes, const DecodeLimits& limits) {
  // The limits are checked below, with a text that names them.
  const DecodeLimits none = {.max_side = std::numeric_limits<int>::max()};
  const absl::StatusOr<Decoder> decoder = Parse(bytes, none, AVIF_DEFAULT_IMAGE_SIZE_LIMIT);
  if (!decoder.ok()) return decoder.status();
  const avifImage& image = *(*decoder)->image;
  const std::int64_t width = image.width;
  const std::int64_t height = image.height;
  if (absl::Status status = CheckSize(Format::kAvif, width, height, limits); !status.ok()) {
    return status;
  }
  // Pillow reads the EXIF data as it opens the file.
  if (image.exif.size > 0) {
    const auto orientation = OrientationOfExif(Bytes(image.exif.data, image.exif.size));
    if (!orientation.ok()) return orientation.status();
  }
  // Three planes of 16-bit samples, an alpha plane, and again where tiles are put together or film
  // grain is added; the decoder's lines and motion vectors; the pixels before alpha is dropped.
  // Sides are rounded up to the decoder's largest block.
  constexpr std::int64_t kBlock = 256;
  constexpr std::size_t kBytesPerPixel = 24;
  constexpr std::size_t kTables = std::size_t{24} << 20;
  const std::size_t working =
      static_cast<std::size_t>((width + kBlock) * (height + kBlock)) * kBytesPerPixel;
  return HeaderFor(Format::kAvif, ModeOf(**decoder), width, height,
                   working + kTables + bytes.size(), limits);
}

absl::StatusOr<Image> DecodeAvif(Bytes bytes, const ImageHeader& header, const DecodeLimits& limits,
                                 const Needed& needed) {
  const absl::StatusOr<Decoder> decoder =
      Parse(bytes, limits, std::int64_t{header.width} * header.height);
  if (!decoder.ok()) return decoder.status();
  avifResult result = avifDecoderNthImage(decoder->get(), 0);
  if (result != AVIF_RESULT_OK) return Failure(result, bytes);
  const avifImage& decoded = *(*decoder)->image;
  if (decoded.width != static_cast<std::uint32_t>(header.width) ||
      decoded.height != static_cast<std::uint32_t>(header.height)) {
    return MakeError(Reason::kCorruptImage,
                     absl::StrCat("AVIF: a frame of ", decoded.width, " x ", decoded.height,
                                  " pixels in an image of ", header.width, " x ", header.height));
  }
  Image image(header.width, header.height);
  avifRGBImage rgb;
  avifRGBImageSetDefaults(&rgb, &decoded);
  rgb.depth = 8;
  // Colours that are stored multiplied by alpha are divided by it, so alpha has to be asked for.
  const bool has_alpha = (*decoder)->alphaPresent != AVIF_FALSE;
  rgb.format = has_alpha ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  std::vector<std::uint8_t> rgba(has_alpha ? image.size_bytes() / 3 * 4 : 0);
  rgb.pixels = has_alpha ? rgba.data() : image.pixels().data();
  rgb.rowBytes = static_cast<std::uint32_t>(image.width()) * (has_alpha ? 4U : 3U);
  result = avifImageYUVToRGB(&decoded, &rgb);
  if (result != AVIF_RESULT_OK) return Failure(result, bytes);
  for (std::size_t i = 0; i < rgba.size() / 4; ++i) {
    std::memcpy(&image.pixels()[3 * i], &rgba[4 * i], 3);
    rgba[i] = rgba[4 * i + 3];  // the alphas move together; i <= 4 * i
  }
  if (has_alpha && needed.background.has_value()) {
    CompositeOnto(*needed.background, std::span(rgba).first(rgba.size() / 4), image.pixels());
  }
  return image;
}

// Source: Pillow 13.0.0 src/_avif.c irot_imir_to_exif_orientation.
absl::StatusOr<int> ReadAvifOrientation(Bytes bytes) {
  // By quarter turns against the clock; mirrored: not, top to bottom, left to right.
  constexpr std::array<std::array<int, 3>, 4> kOrientations = {
      {{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}}};
  const DecodeLimits none = {.max_side = std::numeric_limits<int>::max()};
  const absl::StatusOr<Decoder> decoder = Parse(bytes, none, AVIF_DEFAULT_IMAGE_SIZE_LIMIT);
  if (!decoder.ok()) return decoder.status();
  const avifImage& image = *(*decoder)->image;
  const bool turned = (image.transformFlags & AVIF_TRANSFORM_IROT) != 0;
  const bool mirrored = (image.transformFlags & AVIF_TRANSFORM_IMIR) != 0;
  return kOrientations[turned ? image.irot.angle % 4 : 0][mirrored ? 1 + image.imir.mode % 2 : 0];
}

}  // namespace

const Codec kAvifCodec = {.format = Format::kAvif,
                          .accepts = AcceptsAvif,
                          .read_header = ReadAvifHeader,
                          .decode = DecodeAvif,
                          .read_orientation = ReadAvifOrientation};

}  // namespace pixembed
