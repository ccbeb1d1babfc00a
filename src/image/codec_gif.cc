// GIF, first frame, by its own block reader and LZW decoder.
//
// Not through giflib: Pillow has its own decoder, and which broken files it accepts, what it leaves
// in pixels that no frame covers, and which palette it applies are its own rules.
// Source: Pillow 13.0.0 src/PIL/GifImagePlugin.py, src/libImaging/GifDecode.c.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/byte_reader.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/raw_mode.h"

namespace pixembed {
namespace {

absl::Status Truncated(std::string_view where) {
  return MakeError(
      Reason::kTruncatedImage,
      absl::StrCat("GIF: the data ends inside ", absl::string_view(where.data(), where.size())));
}

absl::Status Corrupt(std::string_view what) {
  return MakeError(Reason::kCorruptImage,
                   absl::StrCat("GIF: ", absl::string_view(what.data(), what.size())));
}

bool AcceptsGif(Bytes bytes) {
  constexpr std::array<std::uint8_t, 4> kMagic = {'G', 'I', 'F', '8'};
  return bytes.size() >= 6 && std::equal(kMagic.begin(), kMagic.end(), bytes.begin()) &&
         (bytes[4] == '7' || bytes[4] == '9') && bytes[5] == 'a';
}

// ---- blocks up to the first frame

struct Frame {
  // Of the screen, grown to hold the frame.
  int width = 0;
  int height = 0;
  int x = 0;
  int y = 0;
  int frame_width = 0;
  int frame_height = 0;
  bool interlaced = false;
  int code_bits = 0;
  std::optional<std::uint8_t> transparent_index;
  // The colours of the indices; nothing where they are the gray ramp (Pillow's mode "L").
  std::optional<Palette> palette;
  // Pillow's: of the frame's own colours, where it has any.
  std::string_view mode;
  // Mode "L" with a palette all the same.
  bool gray_with_palette = false;
  std::size_t data_offset = 0;
};

// A colour table. Nothing is `palette` where it is the gray ramp.
struct ColorTable {
  std::optional<Palette> palette;
};

absl::StatusOr<ColorTable> ReadColorTable(ByteReader& reader, int flags) {
  const std::size_t size = std::size_t{3} << ((flags & 7) + 1);
  const Bytes bytes = reader.Read(size);
  ColorTable table;
  Palette palette = {};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    palette.at(i) = bytes[i];
    if (bytes[i] != i / 3) table.palette.emplace();
  }
  if (bytes.size() < size) return Truncated("a colour table");
  if (table.palette.has_value()) table.palette = palette;
  return table;
}

// The next sub-block, or nothing at the terminator or the end of the file.
std::optional<Bytes> ReadSubBlock(ByteReader& reader) {
  const std::optional<std::uint8_t> size = reader.ReadNumber<std::uint8_t>();
  if (!size.has_value() || *size == 0) return std::nullopt;
  return reader.Read(*size);
}

void SkipSubBlocks(ByteReader& reader) {
  while (ReadSubBlock(reader).has_value()) {
  }
}

absl::Status ReadExtension(ByteReader& reader, Frame& frame) {
  constexpr std::uint8_t kGraphicControl = 249;
  constexpr std::uint8_t kComment = 254;
  constexpr std::uint8_t kApplication = 255;
  const std::optional<std::uint8_t> label = reader.ReadNumber<std::uint8_t>();
  if (!label.has_value()) return Truncated("an extension");
  const std::optional<Bytes> block = ReadSubBlock(reader);
  if (*label == kComment) {
    if (block.has_value()) SkipSubBlocks(reader);
    return absl::OkStatus();
  }
  if (*label == kGraphicControl && block.has_value()) {
    const bool transparent = !block->empty() && ((*block)[0] & 1) != 0;
    if (block->size() < (transparent ? 4U : 3U)) return Corrupt("a control block is too short");
    if (transparent) frame.transparent_index = (*block)[3];
  } else if (*label == kApplication && block.has_value()) {
    constexpr std::string_view kNetscape = "NETSCAPE2.0";
    const bool netscape = block->size() >= kNetscape.size() &&
                          std::memcmp(block->data(), kNetscape.data(), kNetscape.size()) == 0;
    if (netscape) ReadSubBlock(reader);  // read apart from the rest: a terminator does not end it
  }
  SkipSubBlocks(reader);
  return absl::OkStatus();
}

absl::Status ReadFrameDescriptor(ByteReader& reader, const std::optional<Palette>& screen_palette,
                                 Frame& frame) {
  const std::optional<Bytes> descriptor = reader.ReadExactly(9);
  if (!descriptor.has_value()) return Truncated("the frame's header");
  const auto number = [descriptor](std::size_t at) {
    return int{LoadNumber<std::uint16_t>(descriptor->subspan(at), std::endian::little)};
  };
  frame.x = number(0);
  frame.y = number(2);
  frame.frame_width = number(4);
  frame.frame_height = number(6);
  frame.width = std::max(frame.width, frame.x + frame.frame_width);
  frame.height = std::max(frame.height, frame.y + frame.frame_height);
  const int flags = (*descriptor)[8];
  frame.interlaced = (flags & 64) != 0;
  frame.palette = screen_palette;
  frame.mode = screen_palette.has_value() ? "P" : "L";
  if ((flags & 128) != 0) {
    const absl::StatusOr<ColorTable> table = ReadColorTable(reader, flags);
    if (!table.ok()) return table.status();
    // A gray ramp of the frame's own does not displace the screen's colours: Pillow takes the frame
    // for gray then, and still applies the screen's palette to it.
    frame.mode = table->palette.has_value() ? "P" : "L";
    frame.gray_with_palette = !table->palette.has_value() && screen_palette.has_value();
    if (table->palette.has_value()) frame.palette = table->palette;
  }
  const std::optional<std::uint8_t> code_bits = reader.ReadNumber<std::uint8_t>();
  if (!code_bits.has_value()) return Truncated("the frame's header");
  frame.code_bits = *code_bits;
  frame.data_offset = reader.tell();
  return absl::OkStatus();
}

absl::StatusOr<Frame> ReadFirstFrame(Bytes bytes) {
  ByteReader reader(bytes, std::endian::little);
  const std::optional<Bytes> screen = reader.ReadExactly(13);
  if (!screen.has_value()) return Truncated("the header");
  Frame frame;
  frame.width = LoadNumber<std::uint16_t>(screen->subspan(6), std::endian::little);
  frame.height = LoadNumber<std::uint16_t>(screen->subspan(8), std::endian::little);
  std::optional<Palette> palette;
  if (((*screen)[10] & 128) != 0) {
    const absl::StatusOr<ColorTable> table = ReadColorTable(reader, (*screen)[10]);
    if (!table.ok()) return table.status();
    palette = table->palette;
  }
  for (;;) {
    const std::optional<std::uint8_t> kind = reader.ReadNumber<std::uint8_t>();
    if (!kind.has_value()) return Truncated("the blocks before the first frame");
    absl::Status status;
    switch (*kind) {
      case ';':
        return Corrupt("there is no frame");
      case '!':
        status = ReadExtension(reader, frame);
        break;
      case ',':
        status = ReadFrameDescriptor(reader, palette, frame);
        if (status.ok()) return frame;
        break;
      default:  // junk between blocks
        break;
    }
    if (!status.ok()) return status;
  }
}

// ---- LZW

constexpr int kMaxCodeBits = 12;
constexpr std::size_t kTableSize = std::size_t{1} << kMaxCodeBits;

// Reads codes out of the sub-blocks of the image data.
class CodeReader {
 public:
  explicit CodeReader(Bytes data) : data_(data) {}

  // The next code, or nothing where the data ends. A sub-block counts only when it is complete.
  std::optional<int> Next(int bits) {
    while (bit_count_ < bits) {
      if (block_left_ == 0) {
        if (position_ >= data_.size()) return std::nullopt;
        const std::size_t size = data_[position_];
        if (data_.size() - position_ < size + 1) return std::nullopt;
        ++position_;
        block_left_ = size;
        continue;
      }
      buffer_ |= std::uint32_t{data_[position_]} << bit_count_;
      bit_count_ += 8;
      ++position_;
      --block_left_;
    }
    const int code = static_cast<int>(buffer_ & ((1U << bits) - 1));
    buffer_ >>= bits;
    bit_count_ -= bits;
    return code;
  }

  // An end code returns Pillow's decoder to its caller, which calls it again when it can read more
  // of the file. Whether it can: the file is read in blocks of 64 KiB, as many as were needed.
  bool MoreToRead() {
    constexpr std::size_t kBlock = 65536;
    const std::size_t needed = position_ + block_left_;
    given_ = std::max(given_, (needed + kBlock - 1) / kBlock * kBlock);
    if (given_ >= data_.size()) return false;
    given_ += kBlock;
    return true;
  }

 private:
  Bytes data_;
  std::size_t position_ = 0;
  std::size_t block_left_ = 0;
  std::size_t given_ = 65536;
  std::uint32_t buffer_ = 0;
  int bit_count_ = 0;
};

// Where decoded indices go: rows of the frame, in the order of the file.
class IndexSink {
 public:
  IndexSink(const Frame& frame, const Palette& palette, Image& image)
      : frame_(frame), palette_(palette), image_(image) {
    if (!frame.interlaced) {
      step_ = 1;
      pass_ = kLastPass;
    }
    row_ = Row();
  }

  bool full() const { return full_; }

  // Puts pixels until the frame is full; the rest is dropped.
  void Put(const std::uint8_t* indices, std::size_t count) {
    for (std::size_t i = 0; i < count && !full_; ++i) {
      std::memcpy(row_ + std::ptrdiff_t{x_} * 3, palette_.data() + std::size_t{indices[i]} * 3, 3);
      if (++x_ == frame_.frame_width) NextRow();
    }
  }

 private:
  static constexpr int kLastPass = 3;

  std::uint8_t* Row() { return image_.row(y_ + frame_.y) + std::ptrdiff_t{frame_.x} * 3; }

  void NextRow() {
    constexpr std::array<int, 4> kFirstRow = {0, 4, 2, 1};
    constexpr std::array<int, 4> kStep = {8, 8, 4, 2};
    x_ = 0;
    y_ += step_;
    while (y_ >= frame_.frame_height) {
      if (pass_ == kLastPass) {
        full_ = true;
        return;
      }
      ++pass_;
      y_ = kFirstRow.at(static_cast<std::size_t>(pass_));
      step_ = kStep.at(static_cast<std::size_t>(pass_));
    }
    row_ = Row();
  }

  const Frame& frame_;
  const Palette& palette_;
  Image& image_;
  std::uint8_t* row_ = nullptr;
  int x_ = 0;
  int y_ = 0;
  int step_ = 8;
  int pass_ = 0;
  bool full_ = false;
};

// The strings of the codes, each its predecessor and one more index.
class StringTable {
 public:
  explicit StringTable(int code_bits)
      : clear_(1 << code_bits), code_bits_(code_bits), predecessor_(kTableSize), last_(kTableSize) {
    Clear();
  }

  int clear_code() const { return clear_; }
  int end_code() const { return clear_ + 1; }
  int code_size() const { return code_size_; }

  void Clear() {
    next_ = clear_ + 2;
    code_size_ = code_bits_ + 1;
    fresh_ = true;
  }

  // The string of `code`, and the entry that it adds; nothing where the code cannot be.
  std::optional<Bytes> Expand(int code) {
    if (fresh_) {
      if (code > clear_) return std::nullopt;
      fresh_ = false;
      previous_code_ = code;
      first_index_ = static_cast<std::uint8_t>(code);
      string_.back() = first_index_;
      return Bytes(string_).last(1);
    }
    if (code > next_) return std::nullopt;
    std::size_t start = string_.size();
    int rest = code;
    if (code == next_) {  // the entry that this very code adds
      string_[--start] = first_index_;
      rest = previous_code_;
    }
    while (rest >= clear_) {
      if (start == 0 || static_cast<std::size_t>(rest) >= kTableSize) return std::nullopt;
      const auto entry = static_cast<std::size_t>(rest);
      string_[--start] = last_[entry];
      rest = predecessor_[entry];
    }
    if (start == 0) return std::nullopt;
    first_index_ = static_cast<std::uint8_t>(rest);
    string_[--start] = first_index_;
    Add();
    previous_code_ = code;
    return Bytes(string_).subspan(start);
  }

 private:
  void Add() {
    const auto entry = static_cast<std::size_t>(next_);
    if (entry >= kTableSize) return;
    last_[entry] = first_index_;
    predecessor_[entry] = static_cast<std::uint16_t>(previous_code_);
    if (next_ == (1 << code_size_) - 1 && code_size_ < kMaxCodeBits) ++code_size_;
    ++next_;
  }

  const int clear_;
  const int code_bits_;
  int next_ = 0;
  int code_size_ = 0;
  bool fresh_ = true;
  int previous_code_ = 0;
  std::uint8_t first_index_ = 0;
  std::vector<std::uint16_t> predecessor_;
  std::vector<std::uint8_t> last_;
  // Filled from the right; the longest string has one index per entry, and one more.
  std::vector<std::uint8_t> string_ = std::vector<std::uint8_t>(kTableSize + 1);
};

absl::Status DecodeIndices(Bytes data, int code_bits, IndexSink& sink) {
  if (code_bits > kMaxCodeBits) return Corrupt(absl::StrCat("codes of ", code_bits, " bits"));
  StringTable table(code_bits);
  CodeReader codes(data);
  while (!sink.full()) {
    const std::optional<int> code = codes.Next(table.code_size());
    if (!code.has_value()) return Truncated("the image data");
    if (*code == table.clear_code()) {
      table.Clear();
      continue;
    }
    if (*code == table.end_code()) {
      if (!codes.MoreToRead()) return Truncated("the image data");
      continue;
    }
    const std::optional<Bytes> string = table.Expand(*code);
    if (!string.has_value()) return Corrupt("the image data has a code that cannot be");
    sink.Put(string->data(), string->size());
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageHeader> ReadGifHeader(Bytes bytes, const DecodeLimits& limits) {
  const absl::StatusOr<Frame> frame = ReadFirstFrame(bytes);
  if (!frame.ok()) return frame.status();
  return HeaderFor(Format::kGif, frame->mode, frame->width, frame->height, 8 * kTableSize, limits);
}

// The color of the transparent index, after convert("RGB"). Of a gray frame it is a level, even
// where the pixels are colors of the screen's palette.
Color TransparentColor(const Frame& frame, const Palette& palette) {
  const std::uint8_t index = *frame.transparent_index;
  if (frame.gray_with_palette) return {index, index, index};
  const std::size_t at = std::size_t{index} * 3;
  return {palette.at(at), palette.at(at + 1), palette.at(at + 2)};
}

absl::StatusOr<Image> DecodeGif(Bytes bytes, const ImageHeader& header, const DecodeLimits&,
                                const Needed& needed) {
  const absl::StatusOr<Frame> frame = ReadFirstFrame(bytes);
  if (!frame.ok()) return frame.status();
  if (frame->frame_width == 0 || frame->frame_height == 0) return Corrupt("the frame is empty");
  Palette palette = {};
  if (frame->palette.has_value()) {
    palette = *frame->palette;
  } else {
    for (std::size_t i = 0; i < palette.size(); ++i) {
      palette.at(i) = static_cast<std::uint8_t>(i / 3);
    }
  }
  if (needed.background.has_value() && frame->transparent_index.has_value()) {
    if (frame->gray_with_palette) {
      return MakeError(Reason::kUnsupportedFormat,
                       "GIF: a gray frame under a palette, whose transparency Pillow cannot tell");
    }
    const std::size_t at = std::size_t{*frame->transparent_index} * 3;
    palette.at(at) = needed.background->red;
    palette.at(at + 1) = needed.background->green;
    palette.at(at + 2) = needed.background->blue;
  }
  Image image(header.width, header.height);
  if (!needed.background.has_value() && frame->transparent_index.has_value()) {
    image.set_transparency({Transparency::Kind::kColor, TransparentColor(*frame, palette)});
  }
  // What the frame does not cover is its transparent colour, whose own colour, or the background,
  // shows.
  const std::uint8_t* const background =
      palette.data() + std::size_t{frame->transparent_index.value_or(0)} * 3;
  const auto pixels = image.pixels();
  for (std::size_t i = 0; i < pixels.size(); i += 3) std::memcpy(&pixels[i], background, 3);
  IndexSink sink(*frame, palette, image);
  if (absl::Status status =
          DecodeIndices(bytes.subspan(frame->data_offset), frame->code_bits, sink);
      !status.ok()) {
    return status;
  }
  return image;
}

}  // namespace

const Codec kGifCodec = {.format = Format::kGif,
                         .accepts = AcceptsGif,
                         .read_header = ReadGifHeader,
                         .decode = DecodeGif};

}  // namespace pixembed
