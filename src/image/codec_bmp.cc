// Windows and OS/2 bitmaps.
// Source: Pillow 13.0.0 src/PIL/BmpImagePlugin.py.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/alpha.h"
#include "src/image/byte_reader.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/raw_mode.h"
#include "src/image/raw_rows.h"

namespace pixembed {
namespace {

enum Compression : std::uint32_t { kRaw = 0, kRle8 = 1, kRle4 = 2, kBitfields = 3 };

absl::Status Truncated(std::string_view where) {
  return MakeError(
      Reason::kTruncatedImage,
      absl::StrCat("BMP: the data ends inside ", absl::string_view(where.data(), where.size())));
}

absl::Status Corrupt(std::string_view what) {
  return MakeError(Reason::kCorruptImage,
                   absl::StrCat("BMP: ", absl::string_view(what.data(), what.size())));
}

absl::Status Unsupported(std::string_view what) {
  return MakeError(Reason::kUnsupportedFormat,
                   absl::StrCat("BMP: ", absl::string_view(what.data(), what.size())));
}

bool AcceptsBmp(Bytes bytes) { return bytes.size() >= 2 && bytes[0] == 'B' && bytes[1] == 'M'; }

struct Bitmap {
  std::int64_t width = 0;
  std::int64_t height = 0;
  bool top_down = false;
  int bits = 0;
  std::uint32_t compression = kRaw;
  std::uint32_t colors = 0;
  // Bytes of a palette entry: 3 in OS/2 headers, 4 in Windows headers.
  std::size_t palette_entry = 4;
  std::array<std::uint32_t, 4> masks = {};  // red, green, blue, alpha
  std::string_view mode;
  std::string_view raw_mode;
  Palette palette = {};
  std::size_t data_offset = 0;
};

struct BitfieldLayout {
  int bits;
  std::array<std::uint32_t, 4> masks;  // the alpha mask counts for 32 bits only
  std::string_view mode;
  std::string_view raw_mode;
};
// Source: BmpImagePlugin.py SUPPORTED, MASK_MODES.
constexpr BitfieldLayout kBitfieldLayouts[] = {
    {32, {0xFF0000, 0xFF00, 0xFF, 0x0}, "RGB", "BGRX"},
    {32, {0xFF000000, 0xFF0000, 0xFF00, 0x0}, "RGB", "XBGR"},
    {32, {0xFF000000, 0xFF00, 0xFF, 0x0}, "RGB", "BGXR"},
    {32, {0xFF000000, 0xFF0000, 0xFF00, 0xFF}, "RGBA", "ABGR"},
    {32, {0xFF, 0xFF00, 0xFF0000, 0xFF000000}, "RGBA", "RGBA"},
    {32, {0xFF0000, 0xFF00, 0xFF, 0xFF000000}, "RGBA", "BGRA"},
    {32, {0xFF000000, 0xFF00, 0xFF, 0xFF0000}, "RGBA", "BGAR"},
    {32, {0x0, 0x0, 0x0, 0x0}, "RGBA", "BGRA"},
    {24, {0xFF0000, 0xFF00, 0xFF, 0x0}, "RGB", "BGR"},
    {16, {0xF800, 0x7E0, 0x1F, 0x0}, "RGB", "BGR;16"},
    {16, {0x7C00, 0x3E0, 0x1F, 0x0}, "RGB", "BGR;15"},
};

struct DepthLayout {
  int bits;
  std::string_view mode;
  std::string_view raw_mode;
};
// Source: BmpImagePlugin.py BIT2MODE.
constexpr DepthLayout kDepthLayouts[] = {
    {1, "P", "P;1"},       {4, "P", "P;4"},    {8, "P", "P"},
    {16, "RGB", "BGR;15"}, {24, "RGB", "BGR"}, {32, "RGB", "BGRX"},
};

std::uint32_t NumberAt(Bytes bytes, std::size_t at) {
  return LoadNumber<std::uint32_t>(bytes.subspan(at), std::endian::little);
}
std::uint16_t ShortAt(Bytes bytes, std::size_t at) {
  return LoadNumber<std::uint16_t>(bytes.subspan(at), std::endian::little);
}

// `header` is the information header without its size.
void ReadCoreHeader(Bytes header, Bitmap& bitmap) {
  bitmap.width = ShortAt(header, 0);
  bitmap.height = ShortAt(header, 2);
  bitmap.bits = ShortAt(header, 6);
  bitmap.palette_entry = 3;
}

void ReadInfoHeader(Bytes header, Bitmap& bitmap) {
  // A negative height, whose top byte is all ones, means rows from the top.
  bitmap.top_down = header[7] == 0xFF;
  bitmap.width = NumberAt(header, 0);
  bitmap.height = NumberAt(header, 4);
  if (bitmap.top_down) bitmap.height = (std::int64_t{1} << 32) - bitmap.height;
  bitmap.bits = ShortAt(header, 10);
  bitmap.compression = NumberAt(header, 12);
  bitmap.colors = NumberAt(header, 28);
}

absl::Status ReadMasks(Bytes header, ByteReader& reader, Bitmap& bitmap) {
  if (header.size() >= 48) {
    const std::size_t count = header.size() >= 52 ? 4 : 3;
    for (std::size_t i = 0; i < count; ++i) bitmap.masks.at(i) = NumberAt(header, 36 + 4 * i);
    return absl::OkStatus();
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const std::optional<std::uint32_t> mask = reader.ReadNumber<std::uint32_t>();
    if (!mask.has_value()) return Truncated("the bit masks");
    bitmap.masks.at(i) = *mask;
  }
  return absl::OkStatus();
}

absl::Status ChooseRawMode(Bitmap& bitmap) {
  const auto* const depth = std::ranges::find_if(
      kDepthLayouts, [&bitmap](const DepthLayout& row) { return row.bits == bitmap.bits; });
  if (depth == std::end(kDepthLayouts)) {
    return Unsupported(absl::StrCat(bitmap.bits, " bits per pixel"));
  }
  bitmap.mode = depth->mode;
  bitmap.raw_mode = depth->raw_mode;
  if (bitmap.compression == kBitfields) {
    const auto* const layout =
        std::ranges::find_if(kBitfieldLayouts, [&bitmap](const BitfieldLayout& row) {
          const std::ptrdiff_t masks = bitmap.bits == 32 ? 4 : 3;
          return row.bits == bitmap.bits &&
                 std::equal(row.masks.begin(), row.masks.begin() + masks, bitmap.masks.begin());
        });
    if (layout == std::end(kBitfieldLayouts)) return Unsupported("an unusual layout of bit fields");
    bitmap.mode = layout->mode;
    bitmap.raw_mode = layout->raw_mode;
  } else if (bitmap.compression == kRle8 || bitmap.compression == kRle4) {
    // Runs of indices; in an image without a palette Pillow has no decoder for them.
    if (bitmap.mode != "P") return Unsupported("run-length coded colours without a palette");
  } else if (bitmap.compression != kRaw) {
    return Unsupported(absl::StrCat("compression ", bitmap.compression));
  }
  return absl::OkStatus();
}

// A palette that is a gray ramp, or black and white, makes the image gray: the samples are the
// values then, whatever their width.
absl::Status ReadPalette(ByteReader& reader, Bitmap& bitmap) {
  if (bitmap.colors == 0 || bitmap.colors > 65536) {
    return Unsupported(absl::StrCat("a palette of ", bitmap.colors, " colours"));
  }
  const std::size_t entry = bitmap.palette_entry;
  const Bytes bytes = reader.Read(entry * bitmap.colors);
  bool gray = bytes.size() >= entry * (bitmap.colors - 1) + 3;
  for (std::size_t i = 0; gray && i < bitmap.colors; ++i) {
    const auto value = static_cast<std::uint8_t>(bitmap.colors == 2 ? i * 255 : i);
    const Bytes color = bytes.subspan(i * entry, 3);
    gray = std::ranges::all_of(color, [value](std::uint8_t band) { return band == value; });
  }
  if (gray) {
    bitmap.mode = bitmap.colors <= 2 ? "1" : "L";
    bitmap.raw_mode = bitmap.mode;
    return absl::OkStatus();
  }
  const std::size_t count = bytes.size() / entry;
  if (count > 256) return Unsupported(absl::StrCat("a palette of ", count, " colours"));
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t band = 0; band < 3; ++band) {
      bitmap.palette.at(3 * i + band) = bytes[i * entry + 2 - band];
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Bitmap> ReadBitmap(Bytes bytes) {
  ByteReader reader(bytes, std::endian::little);
  const std::optional<Bytes> file_header = reader.ReadExactly(14);
  const std::optional<std::uint32_t> header_size = reader.ReadNumber<std::uint32_t>();
  if (!file_header.has_value() || !header_size.has_value()) return Truncated("the header");
  constexpr std::array<std::uint32_t, 7> kHeaderSizes = {12, 40, 52, 56, 64, 108, 124};
  if (std::ranges::find(kHeaderSizes, *header_size) == kHeaderSizes.end()) {
    return Unsupported(absl::StrCat("a header of ", *header_size, " bytes"));
  }
  const std::optional<Bytes> header = reader.ReadExactly(*header_size - 4);
  if (!header.has_value()) return Truncated("the header");
  Bitmap bitmap;
  if (*header_size == 12) {
    ReadCoreHeader(*header, bitmap);
  } else {
    ReadInfoHeader(*header, bitmap);
    if (bitmap.compression == kBitfields) {
      if (absl::Status status = ReadMasks(*header, reader, bitmap); !status.ok()) return status;
    }
  }
  if (bitmap.colors == 0) {
    bitmap.colors = bitmap.bits < 32 ? std::uint32_t{1} << bitmap.bits : 0;
  }
  bitmap.data_offset = NumberAt(*file_header, 10);
  if (bitmap.data_offset == 14 + *header_size && bitmap.bits <= 8) {
    // The offset leaves no room for the palette, so it was forgotten.
    bitmap.data_offset += bitmap.palette_entry * bitmap.colors;
  }
  if (absl::Status status = ChooseRawMode(bitmap); !status.ok()) return status;
  if (bitmap.mode == "P") {
    if (absl::Status status = ReadPalette(reader, bitmap); !status.ok()) return status;
  }
  if (bitmap.data_offset == 0) bitmap.data_offset = reader.tell();
  return bitmap;
}

absl::StatusOr<ImageHeader> ReadBmpHeader(Bytes bytes, const DecodeLimits& limits) {
  const absl::StatusOr<Bitmap> bitmap = ReadBitmap(bytes);
  if (!bitmap.ok()) return bitmap.status();
  if (absl::Status status = CheckSize(Format::kBmp, bitmap->width, bitmap->height, limits);
      !status.ok()) {
    return status;
  }
  const bool run_length = bitmap->compression == kRle8 || bitmap->compression == kRle4;
  // A run may pass the end of the image by less than its own length.
  const std::size_t indices =
      run_length ? static_cast<std::size_t>(bitmap->width * bitmap->height) + 256 : 0;
  return HeaderFor(Format::kBmp, bitmap->mode, bitmap->width, bitmap->height, indices, limits);
}

// Undoes the run-length coding: one index per pixel, in the order of the file.
// Source: BmpImagePlugin.py BmpRleDecoder.
class RunLengthDecoder {
 public:
  RunLengthDecoder(Bytes file, std::size_t offset, bool nibbles, std::size_t width,
                   std::size_t size)
      : reader_(file, std::endian::little), nibbles_(nibbles), width_(width), size_(size) {
    reader_.Seek(offset);
    indices_.reserve(size + 256);
  }

  // May hold fewer indices than the image has pixels.
  std::vector<std::uint8_t> Decode() {
    while (indices_.size() < size_) {
      const std::optional<std::uint8_t> count = reader_.ReadNumber<std::uint8_t>();
      const std::optional<std::uint8_t> value = reader_.ReadNumber<std::uint8_t>();
      if (!count.has_value() || !value.has_value()) break;
      if (*count != 0) {
        PutRun(*count, *value);
      } else if (!Escape(*value)) {
        break;
      }
    }
    return std::move(indices_);
  }

 private:
  void PutRun(std::size_t count, std::uint8_t value) {
    if (x_ + count > width_) count = width_ - std::min(x_, width_);
    for (std::size_t i = 0; i < count; ++i) {
      const auto nibble = static_cast<std::uint8_t>(i % 2 == 0 ? value >> 4 : value & 15);
      indices_.push_back(nibbles_ ? nibble : value);
    }
    x_ += count;
  }

  // Whether the image goes on after it.
  bool Escape(std::uint8_t code) {
    switch (code) {
      case 0:  // end of line
        indices_.resize((indices_.size() + width_ - 1) / width_ * width_);
        x_ = 0;
        return true;
      case 1:  // end of bitmap
        return false;
      case 2: {  // move on
        const Bytes delta = reader_.Read(2);
        if (delta.size() < 2) return false;
        const std::size_t skipped = delta[0] + delta[1] * width_;
        indices_.resize(indices_.size() + std::min(size_ - indices_.size(), skipped));
        x_ = indices_.size() % width_;
        return true;
      }
      default:
        return PutLiterals(code);
    }
  }

  bool PutLiterals(std::uint8_t length) {
    const std::size_t count = std::min<std::size_t>(size_ - indices_.size(), length);
    const std::size_t byte_count = nibbles_ ? (count + 1) / 2 : count;
    const Bytes bytes = reader_.Read(byte_count);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (!nibbles_) {
        indices_.push_back(bytes[i]);
        continue;
      }
      indices_.push_back(static_cast<std::uint8_t>(bytes[i] >> 4));
      if (i * 2 + 1 < count) indices_.push_back(bytes[i] & 15);
    }
    if (bytes.size() < byte_count || indices_.size() == size_) return false;
    x_ += length;
    if (reader_.tell() % 2 != 0) reader_.Seek(reader_.tell() + 1);  // of the file, not of the run
    return true;
  }

  ByteReader reader_;
  const bool nibbles_;
  const std::size_t width_;
  const std::size_t size_;
  std::size_t x_ = 0;
  std::vector<std::uint8_t> indices_;
};

absl::StatusOr<Image> DecodeBmp(Bytes bytes, const ImageHeader& header, const DecodeLimits&,
                                const Needed& needed) {
  const absl::StatusOr<Bitmap> read = ReadBitmap(bytes);
  if (!read.ok()) return read.status();
  const Bitmap& bitmap = *read;
  const auto width = static_cast<std::size_t>(header.width);
  const bool run_length = bitmap.compression == kRle8 || bitmap.compression == kRle4;
  std::vector<std::uint8_t> indices;
  Bytes data = bytes.subspan(std::min(bitmap.data_offset, bytes.size()));
  std::string_view raw_mode_name = bitmap.raw_mode;
  RawRows rows = {.row_bytes = 0,
                  .stride = (width * static_cast<std::size_t>(bitmap.bits) + 31) / 32 * 4,
                  .rows = header.height,
                  .bottom_up = !bitmap.top_down};
  if (run_length) {
    indices = RunLengthDecoder(bytes, bitmap.data_offset, bitmap.compression == kRle4, width,
                               width * static_cast<std::size_t>(header.height))
                  .Decode();
    data = indices;
    rows.stride = 0;
    raw_mode_name = bitmap.mode == "P" ? "P" : "L";
  }
  const RawMode* const raw_mode = FindRawMode(bitmap.mode, raw_mode_name);
  rows.row_bytes = raw_mode->RowBytes(header.width);
  Image image(header.width, header.height);
  const bool transparent = needed.background.has_value() && raw_mode->to_alpha != nullptr;
  std::vector<std::uint8_t> alpha(transparent ? image.size_bytes() / 3 : 0);
  const RawRowsResult result = ReadRawRows(data, rows, [&](int y, const std::uint8_t* row) {
    raw_mode->to_rgb(row, image.row(y), header.width, bitmap.palette);
    if (transparent) {
      raw_mode->to_alpha(row, alpha.data() + static_cast<std::size_t>(y) * width, header.width);
    }
  });
  switch (result) {
    case RawRowsResult::kOk:
      if (transparent) CompositeOnto(*needed.background, alpha, image.pixels());
      return image;
    case RawRowsResult::kTruncated:
      return Truncated("the image data");
    case RawRowsResult::kStrideTooSmall:
      break;
  }
  return Corrupt(absl::StrCat("gray values in pixels of ", bitmap.bits, " bits"));
}

}  // namespace

const Codec kBmpCodec = {.format = Format::kBmp,
                         .accepts = AcceptsBmp,
                         .read_header = ReadBmpHeader,
                         .decode = DecodeBmp};

}  // namespace pixembed
