// WebP, first frame, through libwebp.
//
// Pillow always uses WebPAnimDecoder, which demands a complete file and paints the first frame on a
// transparent canvas. The demuxer underneath gives the same answers, and the frame can go straight
// into RGB rows.
// Source: Pillow 13.0.0 src/PIL/WebPImagePlugin.py, src/_webp.c; libwebp 1.2.4
// src/demux/anim_decode.c.
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

bool HasTag(Bytes bytes, std::size_t at, std::string_view tag) {
  return bytes.size() >= at + tag.size() &&
         std::memcmp(bytes.data() + at, tag.data(), tag.size()) == 0;
}

bool AcceptsWebp(Bytes bytes) {
  return HasTag(bytes, 0, "RIFF") && HasTag(bytes, 8, "WEBP") &&
         (HasTag(bytes, 12, "VP8 ") || HasTag(bytes, 12, "VP8L") || HasTag(bytes, 12, "VP8X"));
}

absl::Status Corrupt() {
  return MakeError(Reason::kCorruptImage, "WebP: the chunks or the image data are malformed");
}

struct DemuxerDeleter {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
using Demuxer = std::unique_ptr<WebPDemuxer, DemuxerDeleter>;

// The first frame of a demuxer, released at the end.
class FirstFrame {
 public:
  explicit FirstFrame(const WebPDemuxer* demuxer)
      : found_(WebPDemuxGetFrame(demuxer, 1, &iterator_) != 0) {}
  FirstFrame(const FirstFrame&) = delete;
  FirstFrame& operator=(const FirstFrame&) = delete;
  ~FirstFrame() { WebPDemuxReleaseIterator(&iterator_); }

  bool found() const { return found_; }
  const WebPIterator& operator*() const { return iterator_; }
  const WebPIterator* operator->() const { return &iterator_; }

 private:
  WebPIterator iterator_ = {};
  bool found_;
};

// The first chunk of a name, released at the end; empty where there is none.
class Chunk {
 public:
  Chunk(const WebPDemuxer* demuxer, const char* name)
      : found_(WebPDemuxGetChunk(demuxer, name, 1, &iterator_) != 0) {}
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;
  ~Chunk() { WebPDemuxReleaseChunkIterator(&iterator_); }

  Bytes bytes() const {
    return found_ ? Bytes(iterator_.chunk.bytes, iterator_.chunk.size) : Bytes();
  }

 private:
  WebPChunkIterator iterator_ = {};
  bool found_;
};

absl::StatusOr<Demuxer> Demux(Bytes bytes) {
  const WebPData data = {bytes.data(), bytes.size()};
  Demuxer demuxer(WebPDemux(&data));
  if (demuxer != nullptr) return demuxer;
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  demuxer.reset(WebPDemuxPartial(&data, &state));  // only to say why not
  if (state == WEBP_DEMUX_PARSING_HEADER || state == WEBP_DEMUX_PARSED_HEADER) {
    return MakeError(Reason::kTruncatedImage,
                     absl::StrCat("WebP: the data ends early, after ", bytes.size(), " bytes"));
  }
  return Corrupt();
}

// What the library may reserve for the prefix codes of a lossless picture or alpha plane: a set of
// tables for every 4 x 4 pixels, if the data has the bits to describe them. Encoders stay far
// below, but only decoding could tell. Source: libwebp 1.2.4 src/dec/vp8l_dec.c ReadHuffmanCodes,
// kTableSize.
std::size_t PrefixCodeBytes(const WebPIterator& frame) {
  WebPBitstreamFeatures features;
  const bool readable =
      WebPGetFeatures(frame.fragment.bytes, frame.fragment.size, &features) == VP8_STATUS_OK;
  constexpr int kLossless = 2;
  if (!readable || (features.format != kLossless && features.has_alpha == 0)) return 0;
  constexpr std::size_t kBytes = std::size_t{5004} * 4 + 640;  // tables and their index
  constexpr std::size_t kMinBits = std::size_t{5} * 4;         // five codes of one symbol
  constexpr std::size_t kUnmapped = 1000;  // up to here codes that no pixel uses count, too
  const auto width = static_cast<std::size_t>(features.width);
  const auto height = static_cast<std::size_t>(features.height);
  const std::size_t used =
      std::max(std::min(kUnmapped, width * height), ((width + 3) / 4) * ((height + 3) / 4));
  return std::min({std::size_t{65536}, used, frame.fragment.size * 8 / kMinBits + 1}) * kBytes;
}

// What makes Pillow's mode RGBA; the flag of the container may say otherwise.
bool HasAlpha(Bytes bytes) {
  WebPBitstreamFeatures features;
  return WebPGetFeatures(bytes.data(), bytes.size(), &features) == VP8_STATUS_OK &&
         features.has_alpha != 0;
}

absl::StatusOr<ImageHeader> ReadWebpHeader(Bytes bytes, const DecodeLimits& limits) {
  const absl::StatusOr<Demuxer> demuxer = Demux(bytes);
  if (!demuxer.ok()) return demuxer.status();
  const auto width = std::int64_t{WebPDemuxGetI(demuxer->get(), WEBP_FF_CANVAS_WIDTH)};
  const auto height = std::int64_t{WebPDemuxGetI(demuxer->get(), WEBP_FF_CANVAS_HEIGHT)};
  if (absl::Status status = CheckSize(Format::kWebp, width, height, limits); !status.ok()) {
    return status;
  }
  // The library decodes lossless images and alpha into whole pictures of its own, 4 and 1 bytes a
  // pixel, with 16 rows to spare; of lossy images it keeps some rows.
  const auto pixels = static_cast<std::size_t>(width * (height + 17));
  constexpr std::size_t kTables = std::size_t{4} << 20;
  const FirstFrame frame(demuxer->get());
  const std::size_t codes = frame.found() ? PrefixCodeBytes(*frame) : 0;
  const std::size_t index = 4 * bytes.size();  // the demuxer's, of chunks and frames
  return HeaderFor(Format::kWebp, HasAlpha(bytes) ? "RGBA" : "RGB", width, height,
                   pixels * 5 + kTables + codes + index, limits);
}

absl::Status Failure(VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return MakeError(Reason::kOutOfMemory, "WebP: no memory for the pixels");
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return MakeError(Reason::kTruncatedImage, "WebP: the image data ends early");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return MakeError(Reason::kUnsupportedFormat,
                       "WebP: a feature that the library does not read");
    default:
      return Corrupt();
  }
}

// Decodes the frame into pixels of the size that `mode` has, of a canvas `canvas_width` wide.
absl::Status DecodeFrame(const WebPIterator& frame, WEBP_CSP_MODE mode, int canvas_width,
                         std::span<std::uint8_t> canvas) {
  const int pixel_bytes = mode == MODE_RGBA ? 4 : 3;
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) return Corrupt();
  config.output.colorspace = mode;
  config.output.is_external_memory = 1;
  const std::span<std::uint8_t> rest = canvas.subspan(
      (static_cast<std::size_t>(frame.y_offset) * static_cast<std::size_t>(canvas_width) +
       static_cast<std::size_t>(frame.x_offset)) *
      static_cast<std::size_t>(pixel_bytes));
  config.output.u.RGBA.rgba = rest.data();
  config.output.u.RGBA.stride = canvas_width * pixel_bytes;
  config.output.u.RGBA.size = rest.size();
  const VP8StatusCode code = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config);
  WebPFreeDecBuffer(&config.output);
  return code == VP8_STATUS_OK ? absl::OkStatus() : Failure(code);
}

// Whether the file may have alpha, by the rule of _webp.c. Where it may not, pixels that no frame
// covers are black rather than transparent.
bool MayBeTransparent(Bytes bytes) {
  WebPBitstreamFeatures features;
  return WebPGetFeatures(bytes.data(), bytes.size(), &features) != VP8_STATUS_OK ||
         features.has_alpha != 0;
}

absl::StatusOr<Image> DecodeWebp(Bytes bytes, const ImageHeader& header, const DecodeLimits&,
                                 const Needed& needed) {
  const absl::StatusOr<Demuxer> demuxer = Demux(bytes);
  if (!demuxer.ok()) return demuxer.status();
  const FirstFrame frame(demuxer->get());
  if (!frame.found()) return Corrupt();
  Image image(header.width, header.height);
  if (!needed.background.has_value() || !MayBeTransparent(bytes)) {
    const bool covers = frame->width == image.width() && frame->height == image.height();
    if (!covers) std::ranges::fill(image.pixels(), std::uint8_t{0});  // transparent black
    absl::Status status = DecodeFrame(*frame, MODE_RGB, image.width(), image.pixels());
    if (!status.ok()) return status;
    return image;
  }
  const std::size_t pixels = image.size_bytes() / 3;
  std::vector<std::uint8_t> rgba(pixels * 4);
  if (absl::Status status = DecodeFrame(*frame, MODE_RGBA, image.width(), rgba); !status.ok()) {
    return status;
  }
  for (std::size_t i = 0; i < pixels; ++i) {
    std::memcpy(&image.pixels()[3 * i], &rgba[4 * i], 3);
    rgba[i] = rgba[4 * i + 3];  // the alphas move together; i <= 4 * i
  }
  CompositeOnto(*needed.background, std::span(rgba).first(pixels), image.pixels());
  return image;
}

absl::StatusOr<int> ReadWebpOrientation(Bytes bytes) {
  const absl::StatusOr<Demuxer> demuxer = Demux(bytes);
  if (!demuxer.ok()) return demuxer.status();
  const Chunk exif(demuxer->get(), "EXIF");
  if (!exif.bytes().empty()) {
    const absl::StatusOr<std::optional<int>> orientation = OrientationOfExif(exif.bytes());
    if (!orientation.ok()) return orientation.status();
    if (orientation->has_value()) return **orientation;
  }
  const Chunk xmp(demuxer->get(), "XMP ");
  return OrientationOfXmp({reinterpret_cast<const char*>(xmp.bytes().data()), xmp.bytes().size()});
}

}  // namespace

const Codec kWebpCodec = {.format = Format::kWebp,
                          .accepts = AcceptsWebp,
                          .read_header = ReadWebpHeader,
                          .decode = DecodeWebp,
                          .read_orientation = ReadWebpOrientation};

}  // namespace pixembed
