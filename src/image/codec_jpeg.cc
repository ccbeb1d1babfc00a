// JPEG, through libjpeg-turbo.
//
// Source: Pillow 13.0.0 src/PIL/JpegImagePlugin.py (which markers a file may have before its first
// scan) and src/libImaging/JpegDecode.c (how the library is driven). The second matters most for
// truncation: Pillow's source manager suspends at the end of the data, where the library's own
// would invent an end-of-image marker and give gray pixels.
#include <algorithm>
#include <array>
#include <bit>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

// jpeglib.h uses FILE and size_t without including them, jerror.h uses jpeglib.h.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/byte_reader.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/orientation.h"
#include "src/image/raw_mode.h"

namespace pixembed {
namespace {

// A progressive file may refine its coefficients in any number of scans, each a pass over the whole
// image at the price of a few bytes. No encoder writes a hundred.
constexpr int kMaxScans = 500;

// The bytes that the library gets at once. It makes a difference: arithmetic coding cannot suspend,
// so Pillow refuses such a file where a scan crosses the end of a block. Source: ImageFile.py
// MAXBLOCK.
constexpr std::size_t kBlock = 65536;

// Columns around the needed ones that are decoded too. The library lets chroma samples of the
// neighbouring column into a pixel, and takes the edge of what it decodes for that of the picture.
constexpr int kMargin = 16;

// Rows offered to the library in one call; it fills as many as its upsampling step gives.
constexpr int kRowsAtOnce = 8;

bool AcceptsJpeg(Bytes bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

absl::Status TruncatedHeader() {
  return MakeError(Reason::kTruncatedImage, "JPEG: the data ends inside the header");
}

bool StartsWith(Bytes bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), bytes.begin(),
                    [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
}

// ---- the header, as JpegImagePlugin.py reads it

struct Frame {
  int width = 0;
  int height = 0;
  int components = 0;
  // Coefficients of the whole image are held where it comes in more than one scan.
  bool progressive = false;
};

// What the application segments say, as JpegImagePlugin.py keeps it.
struct Metadata {
  std::vector<Bytes> exif;  // parts of one whole; only the first has its "Exif\0\0"
  Bytes xmp;
  bool has_density = false;  // info["dpi"], of JFIF
};

bool IsStartOfFrame(unsigned marker) {
  return marker >= 0xC0 && marker <= 0xDE && marker != 0xC4 && marker != 0xC8 && marker != 0xCC &&
         (marker < 0xD0 || marker == 0xDE);
}

// Markers without a segment.
bool StandsAlone(unsigned marker) {
  return marker == 0xC8 || (marker >= 0xD0 && marker <= 0xD9) || (marker >= 0xF0 && marker <= 0xFD);
}

absl::Status ReadFrame(unsigned marker, Bytes segment, Frame& frame) {
  if (segment.size() < 6) return TruncatedHeader();
  if (segment[0] != 8) {
    return MakeError(Reason::kUnsupportedFormat,
                     absl::StrCat("JPEG: ", int{segment[0]}, "-bit samples; only 8-bit are read"));
  }
  if (segment[5] != 1 && segment[5] != 3 && segment[5] != 4) {
    return MakeError(Reason::kUnsupportedFormat,
                     absl::StrCat("JPEG: ", int{segment[5]}, " components; 1, 3 and 4 are read"));
  }
  if (segment.size() % 3 != 0) {
    return MakeError(Reason::kCorruptImage, "JPEG: the frame header has half a component");
  }
  frame.height = LoadNumber<std::uint16_t>(segment.subspan(1), std::endian::big);
  frame.width = LoadNumber<std::uint16_t>(segment.subspan(3), std::endian::big);
  frame.components = segment[5];
  frame.progressive = marker == 0xC2 || marker == 0xC6 || marker == 0xCA || marker == 0xCE;
  return absl::OkStatus();
}

absl::Status CheckQuantizationTables(Bytes segment) {
  while (!segment.empty()) {
    const std::size_t length = segment[0] / 16 == 0 ? 65 : 129;
    if (segment.size() < length) {
      return MakeError(Reason::kCorruptImage, "JPEG: a quantization table is cut short");
    }
    segment = segment.subspan(length);
  }
  return absl::OkStatus();
}

// Source: JpegImagePlugin.py APP.
absl::Status ReadApplicationSegment(unsigned marker, Bytes segment, Metadata& metadata) {
  constexpr std::string_view kExif("Exif\0\0", 6);
  constexpr std::string_view kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
  const bool jfif = marker == 0xE0 && StartsWith(segment, "JFIF");
  const bool adobe = marker == 0xEE && StartsWith(segment, "Adobe");
  // Pillow indexes into these two without a look at their length.
  if ((jfif || adobe) && segment.size() < 7) {
    return MakeError(Reason::kCorruptImage, "JPEG: an application segment is cut short");
  }
  if (jfif) {
    metadata.has_density |= segment.size() >= 12 && (segment[7] == 1 || segment[7] == 2);
  } else if (marker == 0xE1 && StartsWith(segment, kExif)) {
    metadata.exif.push_back(metadata.exif.empty() ? segment : segment.subspan(kExif.size()));
  } else if (marker == 0xE1 && StartsWith(segment, kXmp)) {
    metadata.xmp = segment.subspan(kXmp.size());
  }
  return absl::OkStatus();
}

absl::StatusOr<Frame> ReadFrameHeader(Bytes bytes, Metadata& metadata) {
  ByteReader reader(bytes, std::endian::big);
  reader.Seek(3);  // SOI and the 0xFF of the next marker
  Frame frame;
  bool after_ff = true;
  for (;;) {
    const std::optional<std::uint8_t> byte = reader.ReadNumber<std::uint8_t>();
    if (!byte.has_value()) return TruncatedHeader();
    if (!after_ff || *byte == 0xFF) {  // junk between markers, or padding before one
      after_ff = *byte == 0xFF;
      continue;
    }
    const unsigned marker = *byte;
    after_ff = false;
    if (marker == 0x00 || StandsAlone(marker)) continue;
    if (marker < 0xC0) {
      return MakeError(Reason::kCorruptImage, absl::StrCat("JPEG: no marker: ", marker));
    }
    const std::optional<std::uint16_t> length = reader.ReadNumber<std::uint16_t>();
    if (!length.has_value()) return TruncatedHeader();
    const std::optional<Bytes> segment = reader.ReadExactly(std::max<int>(*length, 2) - 2);
    if (!segment.has_value()) return TruncatedHeader();
    if (marker == 0xDA) {
      frame.progressive |= !segment->empty() && (*segment)[0] < frame.components;
      return frame;
    }
    absl::Status status;
    if (IsStartOfFrame(marker)) {
      status = ReadFrame(marker, *segment, frame);
    } else if (marker == 0xDB) {
      status = CheckQuantizationTables(*segment);
    } else {
      status = ReadApplicationSegment(marker, *segment, metadata);
    }
    if (!status.ok()) return status;
  }
}

// What the library holds beside the result: rows of every component for upsampling, and all
// coefficients (2 bytes each) where the image comes in several scans. Sides are rounded up to the
// largest unit, 32 pixels.
std::size_t WorkingBytes(const Frame& frame) {
  const std::size_t width = static_cast<std::size_t>(frame.width) + 31;
  const std::size_t height = static_cast<std::size_t>(frame.height) + 31;
  const std::size_t rows = width * 4 * 32 * 5;
  const std::size_t coefficients =
      frame.progressive ? width * height * static_cast<std::size_t>(frame.components) * 2 : 0;
  constexpr std::size_t kTables = std::size_t{1} << 18;
  return kTables + rows + coefficients;
}

absl::StatusOr<Frame> ReadFrameHeader(Bytes bytes) {
  Metadata metadata;
  return ReadFrameHeader(bytes, metadata);
}

absl::StatusOr<ImageHeader> ReadJpegHeader(Bytes bytes, const DecodeLimits& limits) {
  const absl::StatusOr<Frame> frame = ReadFrameHeader(bytes);
  if (!frame.ok()) return frame.status();
  const std::string_view mode = frame->components == 1   ? "L"
                                : frame->components == 4 ? "CMYK"
                                                         : "RGB";
  return HeaderFor(Format::kJpeg, mode, frame->width, frame->height, WorkingBytes(*frame), limits);
}

absl::StatusOr<int> ReadJpegOrientation(Bytes bytes) {
  Metadata metadata;
  const absl::StatusOr<Frame> frame = ReadFrameHeader(bytes, metadata);
  if (!frame.ok()) return frame.status();
  if (!metadata.exif.empty()) {
    std::vector<std::uint8_t> exif;
    for (const Bytes part : metadata.exif) exif.insert(exif.end(), part.begin(), part.end());
    const absl::StatusOr<std::optional<int>> orientation = OrientationOfExif(exif);
    // Looking for the density that JFIF does not give, Pillow has met the broken EXIF data before,
    // and takes them for empty from then on.
    if (!orientation.ok() && !metadata.has_density) return kUpright;
    if (!orientation.ok()) return orientation.status();
    if (orientation->has_value()) return **orientation;
  }
  return OrientationOfXmp(
      {reinterpret_cast<const char*>(metadata.xmp.data()), metadata.xmp.size()});
}

// ---- the library

// How a run of the library ended.
enum class Ending { kDone, kSuspended, kFailed };

// Owns the library's state. Every callback reaches it through a base subobject of a member, and
// `error.jump` is where the library's failures come out: Run, and nowhere else.
class Decompressor {
 public:
  explicit Decompressor(Bytes bytes) {
    cinfo_.err = jpeg_std_error(&error_.base);
    error_.base.error_exit = [](j_common_ptr cinfo) {
      std::longjmp(reinterpret_cast<ErrorManager*>(cinfo->err)->jump, 1);
    };
    error_.base.emit_message = [](j_common_ptr, int) {};  // warnings do not matter, as in Pillow
    error_.base.output_message = [](j_common_ptr) {};
    source_.init_source = [](j_decompress_ptr) {};
    source_.fill_input_buffer = [](j_decompress_ptr) -> boolean { return FALSE; };  // suspends
    // NOLINTNEXTLINE(google-runtime-int): the library's signature
    source_.skip_input_data = [](j_decompress_ptr cinfo, long count) {
      static_cast<Decompressor*>(cinfo->client_data)->Skip(static_cast<std::size_t>(count));
    };
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = [](j_decompress_ptr) {};
    source_.next_input_byte = bytes.data();
    source_.bytes_in_buffer = 0;
    withheld_ = bytes.size();
    GiveMore();
    progress_.progress_monitor = [](j_common_ptr cinfo) {
      if (reinterpret_cast<j_decompress_ptr>(cinfo)->input_scan_number > kMaxScans) {
        cinfo->err->msg_code = JERR_BAD_PROGRESSION;
        cinfo->err->error_exit(cinfo);
      }
    };
  }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;
  ~Decompressor() {
    if (created_) jpeg_destroy_decompress(&cinfo_);
  }

  // Decodes columns `needed` into `image`. Nothing here has a destructor: the library's failures
  // jump out of it. `cmyk_row` has room for a row of 4-byte pixels where the image has 4
  // components.
  Ending Run(Image& image, Columns needed, int components, std::uint8_t* cmyk_row,
             const RawMode& cmyk) noexcept {
    static constexpr Palette kNoPalette = {};
    if (setjmp(error_.jump) != 0) return Ending::kFailed;  // NOLINT(cert-err52-cpp)
    cinfo_.client_data = this;
    jpeg_create_decompress(&cinfo_);
    created_ = true;
    cinfo_.src = &source_;
    cinfo_.progress = &progress_;
    for (;;) {
      const int found = jpeg_read_header(&cinfo_, FALSE);
      if (found == JPEG_HEADER_OK) break;
      if (found == JPEG_SUSPENDED && !GiveMore()) return Ending::kSuspended;
    }
    cinfo_.out_color_space = components == 4 ? JCS_CMYK : JCS_RGB;
    while (jpeg_start_decompress(&cinfo_) == FALSE) {
      if (!GiveMore()) return Ending::kSuspended;
    }
    if (cinfo_.output_width != static_cast<JDIMENSION>(image.width()) ||
        cinfo_.num_components != components) {
      cinfo_.err->msg_code = JERR_SOF_DUPLICATE;  // another frame header than the last one counts
      return Ending::kFailed;
    }
    const int left = components != 4 ? CropColumns(needed, image.width()) : 0;
    while (cinfo_.output_scanline < static_cast<JDIMENSION>(image.height())) {
      const int y = static_cast<int>(cinfo_.output_scanline);
      JSAMPROW rows[kRowsAtOnce];
      rows[0] = cmyk_row;
      int count = 1;
      if (components != 4) {
        count = std::min(kRowsAtOnce, image.height() - y);
        for (int i = 0; i < count; ++i) rows[i] = image.row(y + i) + std::ptrdiff_t{left} * 3;
      }
      if (jpeg_read_scanlines(&cinfo_, rows, static_cast<JDIMENSION>(count)) == 0) {
        if (!GiveMore()) return Ending::kSuspended;
        continue;
      }
      if (components == 4) cmyk.to_rgb(cmyk_row, image.row(y), image.width(), kNoPalette);
    }
    // All rows are there: that the end-of-image marker is missing does not matter any more.
    jpeg_finish_decompress(&cinfo_);
    return Ending::kDone;
  }

  // Why Run answered kFailed.
  absl::Status Failure() {
    std::array<char, JMSG_LENGTH_MAX> text = {};
    error_.base.format_message(reinterpret_cast<j_common_ptr>(&cinfo_), text.data());
    return MakeError(FailureReason(), absl::StrCat("JPEG: ", text.data()));
  }

 private:
  // Has only the columns around `needed` computed (all are still read). The first of them.
  int CropColumns(Columns needed, int width) {
    // Smoothing, which a progressive file that lacks scans gets, looks further than the margin.
    if (cinfo_.progressive_mode != FALSE) return 0;
    const int begin = std::max(needed.begin - kMargin, 0);
    const int end = std::min(needed.end + kMargin, width);
    auto left = static_cast<JDIMENSION>(begin);
    auto count = static_cast<JDIMENSION>(end - begin);
    jpeg_crop_scanline(&cinfo_, &left, &count);  // moves `left` down to where a unit begins
    return static_cast<int>(left);
  }

  struct ErrorManager {
    jpeg_error_mgr base = {};
    std::jmp_buf jump = {};
  };

  // Hands the next block over. Whether there was one.
  bool GiveMore() {
    if (withheld_ == 0) return false;
    const std::size_t size = std::min(withheld_, kBlock);
    withheld_ -= size;
    source_.bytes_in_buffer += size;
    Skip(std::exchange(to_skip_, 0));
    return true;
  }

  // Skips what is there; the rest when it comes.
  void Skip(std::size_t count) {
    const std::size_t step = std::min(count, source_.bytes_in_buffer);
    source_.next_input_byte += step;
    source_.bytes_in_buffer -= step;
    to_skip_ = count - step;
  }

  Reason FailureReason() const {
    switch (error_.base.msg_code) {
      case JERR_CANT_SUSPEND:
        return Reason::kTruncatedImage;
      case JERR_OUT_OF_MEMORY:
        return Reason::kOutOfMemory;
      case JERR_ARITH_NOTIMPL:
      case JERR_BAD_PRECISION:
      case JERR_CONVERSION_NOTIMPL:
      case JERR_FRACT_SAMPLE_NOTIMPL:
      case JERR_CCIR601_NOTIMPL:
      case JERR_NOT_COMPILED:
      case JERR_NOTIMPL:
      case JERR_SOF_UNSUPPORTED:
        return Reason::kUnsupportedFormat;
      default:
        return Reason::kCorruptImage;
    }
  }

  jpeg_decompress_struct cinfo_ = {};
  ErrorManager error_;
  jpeg_source_mgr source_ = {};
  jpeg_progress_mgr progress_ = {};
  std::size_t withheld_ = 0;
  std::size_t to_skip_ = 0;
  bool created_ = false;
};

absl::StatusOr<Image> DecodeJpeg(Bytes bytes, const ImageHeader& header, const DecodeLimits&,
                                 const Needed& needed) {
  const absl::StatusOr<Frame> frame = ReadFrameHeader(bytes);
  if (!frame.ok()) return frame.status();
  static const RawMode& cmyk = *FindRawMode("CMYK", "CMYK;I");
  Image image(header.width, header.height);
  std::vector<std::uint8_t> cmyk_row(
      frame->components == 4 ? static_cast<std::size_t>(header.width) * 4 : 0);
  Decompressor decompressor(bytes);
  switch (decompressor.Run(image, needed.columns, frame->components, cmyk_row.data(), cmyk)) {
    case Ending::kDone:
      return image;
    case Ending::kSuspended:
      return MakeError(
          Reason::kTruncatedImage,
          absl::StrCat("JPEG: the data ends inside the image, after ", bytes.size(), " bytes"));
    case Ending::kFailed:
      break;
  }
  return decompressor.Failure();
}

}  // namespace

const Codec kJpegCodec = {.format = Format::kJpeg,
                          .accepts = AcceptsJpeg,
                          .read_header = ReadJpegHeader,
                          .decode = DecodeJpeg,
                          .read_orientation = ReadJpegOrientation};

}  // namespace pixembed
