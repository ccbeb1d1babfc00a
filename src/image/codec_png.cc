// PNG, by its own chunk reader over zlib.
//
// Not through libpng: Pillow has its own reader too, and differs from libpng in what it accepts
// (checksums count before the first IDAT and not after; a missing IEND does not matter; an image
// may end early where its zlib stream does) and in what it makes of it (16-bit gray is clipped, not
// scaled; transparency is ignored). Equality with Pillow therefore needs Pillow's rules.
// Source: Pillow 13.0.0 src/PIL/PngImagePlugin.py, src/libImaging/ZipDecode.c.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "src/error/error.h"
#include "src/image/alpha.h"
#include "src/image/byte_reader.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/orientation.h"
#include "src/image/raw_mode.h"

namespace pixembed {
namespace {

// Source: PngImagePlugin.py MAX_TEXT_CHUNK, MAX_TEXT_MEMORY.
constexpr std::size_t kMaxTextChunk = std::size_t{1} << 20;
constexpr std::size_t kMaxTextMemory = 64 * kMaxTextChunk;
// Source: ImageFile.py MAXBLOCK. Where a zlib stream is broken, what was decoded before depends on
// how much of it was given at once.
constexpr std::size_t kBlock = 65536;

// The key of Image.info under which a text chunk displaces what tRNS says.
constexpr std::string_view kTransparencyKey = "transparency";

constexpr std::uint32_t Tag(const char (&name)[5]) {
  std::uint32_t tag = 0;
  for (int i = 0; i < 4; ++i) tag = tag << 8 | static_cast<std::uint8_t>(name[i]);
  return tag;
}

absl::Status Truncated(std::string_view where) {
  return MakeError(
      Reason::kTruncatedImage,
      absl::StrCat("PNG: the data ends inside ", absl::string_view(where.data(), where.size())));
}

absl::Status Corrupt(std::string_view what) {
  return MakeError(Reason::kCorruptImage,
                   absl::StrCat("PNG: ", absl::string_view(what.data(), what.size())));
}

bool AcceptsPng(Bytes bytes) {
  constexpr std::array<std::uint8_t, 8> kMagic = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  return bytes.size() >= kMagic.size() && std::equal(kMagic.begin(), kMagic.end(), bytes.begin());
}

// ---- chunks

struct ColorType {
  int bits;
  int type;
  std::string_view mode;
  std::string_view raw_mode;
};
// Source: PngImagePlugin.py _MODES.
constexpr ColorType kColorTypes[] = {
    {1, 0, "1", "1"},          {2, 0, "L", "L;2"},       {4, 0, "L", "L;4"},
    {8, 0, "L", "L"},          {16, 0, "I;16", "I;16B"}, {8, 2, "RGB", "RGB"},
    {16, 2, "RGB", "RGB;16B"}, {1, 3, "P", "P;1"},       {2, 3, "P", "P;2"},
    {4, 3, "P", "P;4"},        {8, 3, "P", "P"},         {8, 4, "LA", "LA"},
    {16, 4, "RGBA", "LA;16B"}, {8, 6, "RGBA", "RGBA"},   {16, 6, "RGBA", "RGBA;16B"},
};

// The part of the image that the pixel data covers: all of it but for the frame of an APNG.
struct Box {
  std::int64_t x0 = 0;
  std::int64_t y0 = 0;
  std::int64_t x1 = 0;
  std::int64_t y1 = 0;
};

struct Chunk {
  std::uint32_t tag = 0;
  std::uint32_t length = 0;
};

// Image.info["transparency"] in Pillow, with the numbers that the file has for it.
struct InfoTransparency {
  enum class Kind {
    kNone,
    kNumber,  // an index of the palette, or a level: levels[0], the others are 0
    kColor,   // three levels
    kAlphas,  // of the palette's first colors
    kText,    // of a text chunk that has this key
  };
  Kind kind = Kind::kNone;
  std::array<int, 3> levels = {};
  Bytes alphas = {};
};

// What Pillow keeps of a file's texts, as far as they may say its orientation. Image.info's keys
// are in the comments.
struct Metadata {
  std::optional<std::string> exif;  // "exif": of an eXIf chunk, or a tEXt chunk of that name
  bool exif_is_text = false;        // "exif" is a string, which Pillow does not take for data
  std::optional<std::string> raw_profile;  // "Raw profile type exif"
  std::optional<std::string> xmp_text;     // "XML:com.adobe.xmp"
  std::string xmp;                         // "xmp"
};

// What a chunk's handler wants next.
enum class Next { kContinue, kImageData, kEnd };

// Reads chunks and keeps what they say: Pillow's PngStream.
class ChunkReader {
 public:
  // Keeps what texts say in `metadata`, unless it is nullptr.
  explicit ChunkReader(Bytes bytes, Metadata* metadata = nullptr)
      : reader_(bytes, std::endian::big), metadata_(metadata) {
    reader_.Seek(8);
  }

  ByteReader& reader() { return reader_; }

  // The head of the next chunk. Errors: TRUNCATED_IMAGE, CORRUPT_IMAGE (not a chunk name).
  absl::StatusOr<Chunk> ReadHead() {
    const std::optional<std::uint32_t> length = reader_.ReadNumber<std::uint32_t>();
    const Bytes name = reader_.Read(4);
    if (!length.has_value() || name.size() < 4) return Truncated("a chunk head");
    const bool is_name = std::ranges::all_of(name, [](std::uint8_t c) {
      return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    });
    if (!is_name) return Corrupt("a chunk has no name");
    return Chunk{.tag = LoadNumber<std::uint32_t>(name, std::endian::big), .length = *length};
  }

  // Reads the chunk's data and keeps what it says. The cursor is then before the checksum, or
  // before the image data.
  absl::StatusOr<Next> Handle(const Chunk& chunk);

  // Reads the checksum of the chunk whose data end at the cursor.
  absl::Status VerifyChecksum(const Chunk& chunk) {
    const std::size_t end = reader_.tell();
    const std::size_t start = end - chunk.length - 4;  // the name is part of it
    reader_.Seek(start);
    const Bytes checked = reader_.Read(end - start);
    const auto actual = static_cast<std::uint32_t>(
        crc32(crc32(0, Z_NULL, 0), checked.data(), static_cast<uInt>(checked.size())));
    const std::optional<std::uint32_t> expected = reader_.ReadNumber<std::uint32_t>();
    if (!expected.has_value()) return Truncated("a checksum");
    if (*expected != actual) return Corrupt("a chunk before the image data has a wrong checksum");
    return absl::OkStatus();
  }

  std::int64_t width = 0;
  std::int64_t height = 0;
  const ColorType* color = nullptr;
  bool interlaced = false;
  Bytes palette_bytes;
  bool has_palette = false;
  InfoTransparency transparency;
  bool animated = false;              // has more than one picture, the default image included
  std::optional<Box> frame;           // of the last fcTL chunk
  std::optional<Box> image_data_box;  // where the first image data goes
  std::uint32_t image_data_length = 0;

 private:
  absl::Status ReadImageHeader(Bytes data);
  absl::Status ReadTransparency(Bytes data);
  absl::Status ReadFrameControl(Bytes data);
  absl::Status ReadText(Bytes data, bool compressed);
  absl::Status ReadInternationalText(Bytes data);
  absl::Status ReadColorProfile(Bytes data);
  absl::Status ReadAnimationControl(Bytes data);
  // Keeps a text that is decoded to characters; as they are in the file's encoding.
  void KeepText(Bytes key, Bytes text);
  absl::Status CountText(std::size_t size) {
    text_memory_ += size;
    if (text_memory_ > kMaxTextMemory) return Corrupt("more than 64 MiB of text");
    return absl::OkStatus();
  }
  Next StartImageData(std::uint32_t length) {
    if (!image_data_box.has_value()) {
      const bool has_default_image = !frame.has_value();
      animated = frame_count_.value_or(0) > (has_default_image ? 0U : 1U);
    }
    image_data_box = frame.has_value() ? *frame : Box{.x1 = width, .y1 = height};
    image_data_length = length;
    return Next::kImageData;
  }
  // The sequence number of fcTL and fdAT chunks counts up from 0.
  absl::Status CheckSequence(std::uint32_t number, bool may_start) {
    const bool starts = may_start && !sequence_.has_value() && number == 0;
    if (!starts && (!sequence_.has_value() || number - 1 != *sequence_)) {
      return Corrupt("the frames of the animation are out of sequence");
    }
    sequence_ = number;
    return absl::OkStatus();
  }

  ByteReader reader_;
  Metadata* const metadata_;
  std::optional<std::uint32_t> sequence_;
  std::optional<std::uint32_t> frame_count_;
  std::size_t text_memory_ = 0;
};

// A text or profile, inflated.
struct InflatedText {
  std::size_t size = 0;  // of a broken stream, that of its sound part
  bool sound = true;
};

// Inflates at most kMaxTextChunk, into `text` unless it is nullptr. Errors: CORRUPT_IMAGE (larger).
absl::StatusOr<InflatedText> InflateText(Bytes data, std::vector<std::uint8_t>* text = nullptr) {
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) {
    return MakeError(Reason::kOutOfMemory, "PNG: no memory to inflate a text");
  }
  std::array<std::uint8_t, 4096> part;
  stream.next_in = const_cast<Bytef*>(data.data());  // zlib does not write to it
  stream.avail_in = static_cast<uInt>(data.size());
  InflatedText inflated;
  int result = Z_OK;
  do {
    stream.next_out = part.data();
    stream.avail_out = static_cast<uInt>(part.size());
    result = inflate(&stream, Z_SYNC_FLUSH);
    const std::size_t size = part.size() - stream.avail_out;
    inflated.size += size;
    if (text != nullptr) text->insert(text->end(), part.begin(), part.begin() + size);
  } while (result == Z_OK && stream.avail_out == 0 && inflated.size < kMaxTextChunk);
  const bool too_large = result == Z_OK && stream.avail_out == 0 && stream.avail_in > 0;
  inflateEnd(&stream);
  if (too_large) return Corrupt("a text of more than 1 MiB");
  inflated.sound = result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR;
  return inflated;
}

// The bytes before the first 0, and those after it; the second is nothing where there is no 0.
std::pair<Bytes, std::optional<Bytes>> SplitAtZero(Bytes data) {
  const auto zero = std::ranges::find(data, 0);
  const auto length = static_cast<std::size_t>(zero - data.begin());
  if (zero == data.end()) return {data, std::nullopt};
  return {data.first(length), data.subspan(length + 1)};
}

std::string_view AsText(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Bytes AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Whether the bytes are UTF-8, as strictly as Python's decoder.
bool IsUtf8(Bytes bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const unsigned head = bytes[i++];
    if (head < 0x80) continue;
    if (head < 0xC2 || head > 0xF4) return false;
    const int more = head < 0xE0 ? 1 : head < 0xF0 ? 2 : 3;
    // The second byte must not spell what fits into fewer bytes, a surrogate, or too much.
    unsigned low = head == 0xE0 ? 0xA0 : head == 0xF0 ? 0x90 : 0x80;
    unsigned high = head == 0xED ? 0x9F : head == 0xF4 ? 0x8F : 0xBF;
    for (int k = 0; k < more; ++k, low = 0x80, high = 0xBF) {
      if (i == bytes.size() || bytes[i] < low || bytes[i] > high) return false;
      ++i;
    }
  }
  return true;
}

absl::Status ChunkReader::ReadImageHeader(Bytes data) {
  if (data.size() < 13) return Corrupt("the IHDR chunk is too short");
  width = LoadNumber<std::uint32_t>(data, std::endian::big);
  height = LoadNumber<std::uint32_t>(data.subspan(4), std::endian::big);
  for (const ColorType& row : kColorTypes) {
    if (row.bits == data[8] && row.type == data[9]) color = &row;
  }
  if (data[12] != 0) interlaced = true;
  if (data[11] != 0) return Corrupt("unknown filter method");
  return absl::OkStatus();
}

absl::Status ChunkReader::ReadTransparency(Bytes data) {
  const std::string_view mode = color == nullptr ? std::string_view() : color->mode;
  if (mode == "P") {
    // One fully transparent entry and no other: Pillow keeps its index rather than a table.
    // To its regular expression, a line break at the end does not count.
    const bool line = !data.empty() && data.back() == '\n';
    const Bytes alphas = line ? data.first(data.size() - 1) : data;
    const bool has_index = std::ranges::count(alphas, 0) == 1 &&
                           std::ranges::all_of(alphas, [](auto a) { return a == 0 || a == 255; });
    if (has_index) {
      const auto index = static_cast<int>(std::ranges::find(alphas, 0) - alphas.begin());
      transparency = {.kind = InfoTransparency::Kind::kNumber, .levels = {index, 0, 0}};
    } else {
      transparency = {.kind = InfoTransparency::Kind::kAlphas, .alphas = data};
    }
  } else if (mode == "1" || mode == "L" || mode == "I;16" || mode == "RGB") {
    if (data.size() < (mode == "RGB" ? 6U : 2U)) return Corrupt("the tRNS chunk is too short");
    const auto level = [data](std::size_t at) {
      return int{LoadNumber<std::uint16_t>(data.subspan(at), std::endian::big)};
    };
    if (mode == "RGB") {
      transparency = {.kind = InfoTransparency::Kind::kColor,
                      .levels = {level(0), level(2), level(4)}};
    } else {
      const int gray = mode == "1" && level(0) != 0 ? 255 : level(0);
      transparency = {.kind = InfoTransparency::Kind::kNumber, .levels = {gray, 0, 0}};
    }
  }
  return absl::OkStatus();
}

absl::Status ChunkReader::ReadFrameControl(Bytes data) {
  if (data.size() < 26) return Corrupt("an fcTL chunk is too short");
  const auto number = [data](std::size_t at) {
    return std::int64_t{LoadNumber<std::uint32_t>(data.subspan(at), std::endian::big)};
  };
  if (absl::Status status = CheckSequence(static_cast<std::uint32_t>(number(0)), true);
      !status.ok()) {
    return status;
  }
  const Box box = {number(12), number(16), number(12) + number(4), number(16) + number(8)};
  if (box.x1 > width || box.y1 > height) return Corrupt("a frame lies outside the image");
  frame = box;
  return absl::OkStatus();
}

void ChunkReader::KeepText(Bytes key, Bytes text) {
  const std::string_view name = AsText(key);
  if (name == kTransparencyKey) transparency = {.kind = InfoTransparency::Kind::kText};
  if (metadata_ == nullptr) return;
  if (name == "exif") {
    metadata_->exif.emplace();
    metadata_->exif_is_text = true;
  } else if (name == "Raw profile type exif") {
    metadata_->raw_profile = AsText(text);
  } else if (name == "XML:com.adobe.xmp") {
    metadata_->xmp_text = AsText(text);
  }
}

absl::Status ChunkReader::ReadText(Bytes data, bool compressed) {
  const auto [key, rest] = SplitAtZero(data);
  Bytes value = rest.value_or(Bytes());
  std::size_t size = value.size();
  std::vector<std::uint8_t> inflated;
  if (compressed) {
    if (!value.empty() && value[0] != 0) return Corrupt("unknown compression of a text");
    const absl::StatusOr<InflatedText> result = InflateText(
        value.empty() ? value : value.subspan(1), metadata_ == nullptr ? nullptr : &inflated);
    if (!result.ok()) return result.status();
    size = result->size;
    value = result->sound ? Bytes(inflated) : Bytes();
  }
  if (key.empty()) return absl::OkStatus();
  KeepText(key, value);
  if (metadata_ != nullptr && !compressed && AsText(key) == "exif") {
    metadata_->exif = AsText(value);
    metadata_->exif_is_text = false;
  }
  return CountText(size);
}

absl::Status ChunkReader::ReadInternationalText(Bytes data) {
  const auto [key, rest] = SplitAtZero(data);
  if (!rest.has_value() || rest->size() < 2) return absl::OkStatus();
  const bool compressed = (*rest)[0] != 0;
  const bool known_method = (*rest)[1] == 0;
  const auto [language, after_language] = SplitAtZero(rest->subspan(2));
  if (!after_language.has_value()) return absl::OkStatus();
  const auto [translated_key, after_key] = SplitAtZero(*after_language);
  if (!after_key.has_value() || (compressed && !known_method)) return absl::OkStatus();
  Bytes text = *after_key;
  std::size_t size = text.size();
  std::vector<std::uint8_t> inflated;
  if (compressed) {
    const absl::StatusOr<InflatedText> result =
        InflateText(text, metadata_ == nullptr ? nullptr : &inflated);
    if (!result.ok()) return result.status();
    size = result->size;
    if (!result->sound) return CountText(size);
    text = inflated;
  }
  if (metadata_ != nullptr && AsText(key) == "XML:com.adobe.xmp") metadata_->xmp = AsText(text);
  const bool is_kept = metadata_ != nullptr || AsText(key) == kTransparencyKey;
  if (is_kept && IsUtf8(language) && IsUtf8(translated_key) && IsUtf8(text)) KeepText(key, text);
  return CountText(size);
}

absl::Status ChunkReader::ReadColorProfile(Bytes data) {
  // Pillow looks for the name's end and takes the whole data where there is none.
  const std::optional<Bytes> rest = SplitAtZero(data).second;
  const Bytes profile = rest.value_or(data);
  if (profile.empty()) return Corrupt("the iCCP chunk is too short");
  if (profile[0] != 0) return Corrupt("unknown compression of the colour profile");
  // Pillow counts texts only; a file has one profile, and many would be an attack.
  const absl::StatusOr<InflatedText> inflated = InflateText(profile.subspan(1));
  return inflated.ok() ? CountText(inflated->size) : inflated.status();
}

absl::Status ChunkReader::ReadAnimationControl(Bytes data) {
  if (data.size() < 8) return Corrupt("the acTL chunk is too short");
  const auto frames = LoadNumber<std::uint32_t>(data, std::endian::big);
  // A second one, or a senseless count, and the file is no animation.
  if (!frame_count_.has_value() && frames != 0 && frames <= 0x80000000U) {
    frame_count_ = frames;
  } else {
    frame_count_.reset();
  }
  return absl::OkStatus();
}

absl::StatusOr<Next> ChunkReader::Handle(const Chunk& chunk) {
  switch (chunk.tag) {
    case Tag("IDAT"):
      return StartImageData(chunk.length);
    case Tag("IEND"):
      return Next::kEnd;
    case Tag("fdAT"): {
      const std::optional<std::uint32_t> number =
          chunk.length < 4 ? std::nullopt : reader_.ReadNumber<std::uint32_t>();
      if (!number.has_value()) return Truncated("an fdAT chunk");
      if (absl::Status status = CheckSequence(*number, false); !status.ok()) return status;
      return StartImageData(chunk.length - 4);
    }
    default:
      break;
  }
  const std::optional<Bytes> read = reader_.ReadExactly(chunk.length);
  if (!read.has_value()) return Truncated("a chunk");
  const Bytes data = *read;
  const auto at_least = [data](std::size_t size) {
    return data.size() < size ? Corrupt("a chunk is too short") : absl::OkStatus();
  };
  absl::Status status;
  switch (chunk.tag) {
    case Tag("IHDR"):
      status = ReadImageHeader(data);
      break;
    case Tag("PLTE"):
      if (color != nullptr && color->mode == "P") {
        palette_bytes = data;
        has_palette = true;
      }
      break;
    case Tag("tRNS"):
      status = ReadTransparency(data);
      break;
    case Tag("eXIf"):
      if (metadata_ != nullptr) {
        metadata_->exif.emplace("Exif\0\0", 6).append(AsText(data));
        metadata_->exif_is_text = false;
      }
      break;
    case Tag("acTL"):
      status = ReadAnimationControl(data);
      break;
    case Tag("fcTL"):
      status = ReadFrameControl(data);
      break;
    case Tag("iCCP"):
      status = ReadColorProfile(data);
      break;
    case Tag("tEXt"):
      status = ReadText(data, false);
      break;
    case Tag("zTXt"):
      status = ReadText(data, true);
      break;
    case Tag("iTXt"):
      status = ReadInternationalText(data);
      break;
    case Tag("gAMA"):
      status = at_least(4);
      break;
    case Tag("cHRM"):
      status = at_least(32);
      break;
    case Tag("sRGB"):
      status = at_least(1);
      break;
    case Tag("pHYs"):
      status = at_least(9);
      break;
    default:
      break;
  }
  if (!status.ok()) return status;
  return Next::kContinue;
}

// Reads up to the image data.
absl::Status ReadToImageData(ChunkReader& chunks) {
  for (;;) {
    const absl::StatusOr<Chunk> chunk = chunks.ReadHead();
    if (!chunk.ok()) return chunk.status();
    const absl::StatusOr<Next> next = chunks.Handle(*chunk);
    if (!next.ok()) return next.status();
    if (*next == Next::kImageData) break;
    if (*next == Next::kEnd) return Corrupt("there is no image data");
    if (absl::Status status = chunks.VerifyChecksum(*chunk); !status.ok()) return status;
  }
  if (chunks.color == nullptr) {
    return MakeError(Reason::kUnsupportedFormat, "PNG: no such colour type and bit depth");
  }
  return absl::OkStatus();
}

absl::StatusOr<ImageHeader> ReadPngHeader(Bytes bytes, const DecodeLimits& limits) {
  ChunkReader chunks(bytes);
  if (absl::Status status = ReadToImageData(chunks); !status.ok()) return status;
  if (absl::Status status = CheckSize(Format::kPng, chunks.width, chunks.height, limits);
      !status.ok()) {
    return status;
  }
  const std::size_t row = static_cast<std::size_t>(chunks.width) * 8 + 1;
  constexpr std::size_t kZlib = std::size_t{1} << 16;
  return HeaderFor(Format::kPng, chunks.color->mode, chunks.width, chunks.height, 3 * row + kZlib,
                   limits);
}

// ---- image data

// The chunks of image data, in the blocks in which Pillow feeds them to its decoder.
class ImageData {
 public:
  explicit ImageData(ChunkReader& chunks) : chunks_(chunks), left_(chunks.image_data_length) {}

  // The next block. Errors: TRUNCATED_IMAGE (no more), CORRUPT_IMAGE.
  absl::StatusOr<Bytes> NextBlock() {
    while (left_ == 0) {
      chunks_.reader().Read(4);  // the checksum, which nobody looks at
      const absl::StatusOr<Chunk> chunk = chunks_.ReadHead();
      if (!chunk.ok()) return chunk.status();
      if (chunk->tag != Tag("IDAT") && chunk->tag != Tag("DDAT") && chunk->tag != Tag("fdAT")) {
        return Truncated("the image data");
      }
      left_ = chunk->length;
      if (chunk->tag == Tag("fdAT")) {
        const absl::StatusOr<Next> next = chunks_.Handle(*chunk);
        if (!next.ok()) return next.status();
        left_ = chunk->length - 4;
      }
    }
    const std::size_t size = std::min<std::size_t>(left_, kBlock);
    left_ -= static_cast<std::uint32_t>(size);
    const Bytes block = chunks_.reader().Read(size);
    if (block.empty()) return Truncated("the image data");
    return block;
  }

  // Reads what follows the image. Errors: those of a malformed chunk.
  absl::Status Finish() {
    chunks_.reader().Read(left_);
    for (;;) {
      chunks_.reader().Read(4);
      const absl::StatusOr<Chunk> chunk = chunks_.ReadHead();
      if (!chunk.ok() || chunk->tag == Tag("IEND")) return absl::OkStatus();
      if (chunk->tag == Tag("fcTL") && chunks_.animated) return absl::OkStatus();
      const absl::StatusOr<Next> next = chunks_.Handle(*chunk);
      if (!next.ok()) return next.status();
      if (*next != Next::kImageData) continue;
      const std::size_t rest = chunk->tag == Tag("fdAT") ? chunk->length - 4 : chunk->length;
      if (!chunks_.reader().ReadExactly(rest).has_value()) return Truncated("a chunk");
    }
  }

 private:
  ChunkReader& chunks_;
  std::uint32_t left_;
};

// Undoes the filter of a row in place. row[0] is the filter, as in `previous`.
bool Unfilter(std::uint8_t* row, const std::uint8_t* previous, std::size_t length,
              std::size_t pixel) {
  const std::size_t head = std::min(pixel, length);
  switch (row[0]) {
    case 0:
      return true;
    case 1:
      for (std::size_t i = pixel + 1; i <= length; ++i) {
        row[i] = static_cast<std::uint8_t>(row[i] + row[i - pixel]);
      }
      return true;
    case 2:
      for (std::size_t i = 1; i <= length; ++i) {
        row[i] = static_cast<std::uint8_t>(row[i] + previous[i]);
      }
      return true;
    case 3:
      for (std::size_t i = 1; i <= head; ++i) {
        row[i] = static_cast<std::uint8_t>(row[i] + previous[i] / 2);
      }
      for (std::size_t i = pixel + 1; i <= length; ++i) {
        row[i] = static_cast<std::uint8_t>(row[i] + (row[i - pixel] + previous[i]) / 2);
      }
      return true;
    case 4:
      for (std::size_t i = 1; i <= head; ++i) {
        row[i] = static_cast<std::uint8_t>(row[i] + previous[i]);
      }
      for (std::size_t i = pixel + 1; i <= length; ++i) {
        const int left = row[i - pixel];
        const int up = previous[i];
        const int up_left = previous[i - pixel];
        const int to_left = std::abs(up - up_left);
        const int to_up = std::abs(left - up_left);
        const int to_up_left = std::abs(left + up - 2 * up_left);
        const int beside = to_up <= to_up_left ? up : up_left;
        const int nearest = to_left <= to_up && to_left <= to_up_left ? left : beside;
        row[i] = static_cast<std::uint8_t>(row[i] + nearest);
      }
      return true;
    default:
      return false;
  }
}

// One pass of Adam7, or the whole of an image that is not interlaced.
struct Pass {
  int column = 0;
  int row = 0;
  int column_step = 1;
  int row_step = 1;
};
constexpr std::array<Pass, 7> kAdam7 = {{{0, 0, 8, 8},
                                         {4, 0, 8, 8},
                                         {0, 4, 4, 8},
                                         {2, 0, 4, 4},
                                         {0, 2, 2, 4},
                                         {1, 0, 2, 2},
                                         {0, 1, 1, 2}}};

// Inflates, unfilters and places rows: Pillow's ZipDecode. Feed it blocks until it is done.
class ZipDecoder {
 public:
  // `box` lies inside `image`. An interlaced image is placed at the origin whatever its box says,
  // as Pillow does. `alpha`, a byte per pixel of the image, is empty where it is not asked for.
  ZipDecoder(const RawMode& raw_mode, bool interlaced, const Box& box, const Palette& palette,
             Image& image, std::span<std::uint8_t> alpha)
      : raw_mode_(raw_mode),
        interlaced_(interlaced),
        width_(static_cast<int>(box.x1 - box.x0)),
        height_(static_cast<int>(box.y1 - box.y0)),
        x_offset_(static_cast<int>(box.x0)),
        y_offset_(static_cast<int>(box.y0)),
        palette_(palette),
        image_(image),
        alpha_(alpha),
        row_(raw_mode.RowBytes(width_) + 1),
        previous_(row_.size()),
        pass_pixels_(interlaced ? static_cast<std::size_t>(width_) * 3 : 0),
        pass_alpha_(interlaced && !alpha.empty() ? static_cast<std::size_t>(width_) : 0) {}
  ZipDecoder(const ZipDecoder&) = delete;
  ZipDecoder& operator=(const ZipDecoder&) = delete;
  ~ZipDecoder() { inflateEnd(&stream_); }

  absl::Status Start() {
    if (inflateInit(&stream_) != Z_OK) {
      return MakeError(Reason::kOutOfMemory, "PNG: no memory to inflate the image data");
    }
    return absl::OkStatus();
  }

  // Whether the image, or its zlib stream, has ended.
  bool done() const { return done_; }

  absl::Status Feed(Bytes block) {
    stream_.next_in = const_cast<Bytef*>(block.data());  // zlib does not write to it
    stream_.avail_in = static_cast<uInt>(block.size());
    while (stream_.avail_in > 0) {
      const std::size_t size = PassRowBytes() + 1;
      stream_.next_out = row_.data() + filled_;
      stream_.avail_out = static_cast<uInt>(size - filled_);
      const int result = inflate(&stream_, Z_NO_FLUSH);
      if (result == Z_MEM_ERROR) {
        return MakeError(Reason::kOutOfMemory, "PNG: no memory to inflate the image data");
      }
      if (result < 0) return Corrupt("the compressed image data is broken");
      if (stream_.avail_out > 0) {
        filled_ = size - stream_.avail_out;
        return absl::OkStatus();
      }
      filled_ = 0;
      const std::size_t pixel = (static_cast<std::size_t>(raw_mode_.bits) + 7) / 8;
      if (!Unfilter(row_.data(), previous_.data(), size - 1, pixel)) {
        return Corrupt("a row has an unknown filter");
      }
      PlaceRow();
      if (y_ >= height_ || result == Z_STREAM_END) {
        done_ = true;
        return absl::OkStatus();
      }
      row_.swap(previous_);
    }
    return absl::OkStatus();
  }

 private:
  const Pass& pass() const { return kAdam7.at(pass_); }
  int PassWidth() const {
    if (!interlaced_) return width_;
    return (width_ - pass().column + pass().column_step - 1) / pass().column_step;
  }
  std::size_t PassRowBytes() const { return raw_mode_.RowBytes(PassWidth()); }

  void PlaceRow() {
    const std::uint8_t* const samples = row_.data() + 1;
    if (!interlaced_) {
      std::uint8_t* const rgb = image_.row(y_ + y_offset_) + std::ptrdiff_t{x_offset_} * 3;
      raw_mode_.to_rgb(samples, rgb, width_, palette_);
      if (!alpha_.empty()) {
        raw_mode_.to_alpha(samples, AlphaRow(y_ + y_offset_) + x_offset_, width_);
      }
      ++y_;
      return;
    }
    raw_mode_.to_rgb(samples, pass_pixels_.data(), PassWidth(), palette_);
    if (!alpha_.empty()) raw_mode_.to_alpha(samples, pass_alpha_.data(), PassWidth());
    std::uint8_t* const rgb = image_.row(y_);
    for (int i = 0, x = pass().column; i < PassWidth(); ++i, x += pass().column_step) {
      std::memcpy(rgb + std::ptrdiff_t{x} * 3, pass_pixels_.data() + std::ptrdiff_t{i} * 3, 3);
      if (!alpha_.empty()) AlphaRow(y_)[x] = pass_alpha_[static_cast<std::size_t>(i)];
    }
    y_ += pass().row_step;
    while (y_ >= height_ || PassWidth() == 0) {
      if (++pass_ == kAdam7.size()) {
        y_ = height_;
        return;
      }
      y_ = pass().row;
      std::ranges::fill(row_, std::uint8_t{0});  // becomes the row above the pass's first
    }
  }

  std::uint8_t* AlphaRow(int y) {
    return alpha_.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(image_.width());
  }

  const RawMode& raw_mode_;
  const bool interlaced_;
  const int width_;
  const int height_;
  const int x_offset_;
  const int y_offset_;
  const Palette& palette_;
  Image& image_;
  const std::span<std::uint8_t> alpha_;
  z_stream stream_ = {};
  std::vector<std::uint8_t> row_;
  std::vector<std::uint8_t> previous_;
  std::vector<std::uint8_t> pass_pixels_;
  std::vector<std::uint8_t> pass_alpha_;
  std::size_t filled_ = 0;
  std::size_t pass_ = 0;
  int y_ = 0;
  bool done_ = false;
};

// Reads as far as Pillow does. What is wrong with the file is for decoding to say.
void ReadAllChunks(ChunkReader& chunks) {
  if (ReadToImageData(chunks).ok()) ImageData(chunks).Finish().IgnoreError();
}

// Pillow compares the low bytes with the pixels as RGB, whatever their depth.
Color LowBytes(const std::array<int, 3>& levels) {
  const auto low = [&levels](std::size_t i) { return static_cast<std::uint8_t>(levels.at(i)); };
  return {low(0), low(1), low(2)};
}

// What convert("RGB") of an image of this mode leaves in info["transparency"]; `palette` is nullptr
// where the file has none before its image data. Only of gray and of palettes does Pillow make the
// number a color; any other image keeps it, and one number is then a level of red.
// Errors: CORRUPT_IMAGE (it raises). Source: Image.py convert; _imaging.c convert_transparent.
absl::StatusOr<Transparency> TransparencyOfRgb(std::string_view mode, const InfoTransparency& info,
                                               const Palette* palette) {
  const bool is_converted = mode == "L" || mode == "P";
  const Transparency unreadable = {.kind = Transparency::Kind::kUnreadable};
  const auto transparent = [](Color color) {
    return Transparency{.kind = Transparency::Kind::kColor, .color = color};
  };
  switch (info.kind) {
    case InfoTransparency::Kind::kNone:
      return Transparency();
    case InfoTransparency::Kind::kAlphas:
      return is_converted ? Transparency() : unreadable;
    case InfoTransparency::Kind::kText:
      if (is_converted) return Corrupt("a text takes the place of the transparent colour");
      return unreadable;
    case InfoTransparency::Kind::kColor:
      if (mode == "L") return Corrupt("a transparent colour that is no gray");
      if (mode == "P" && (palette == nullptr || std::ranges::max(info.levels) > 255)) {
        return Corrupt("a transparent colour that cannot be in the palette");
      }
      return transparent(LowBytes(info.levels));
    case InfoTransparency::Kind::kNumber:
      break;
  }
  if (!is_converted) return transparent(LowBytes(info.levels));
  const auto level = static_cast<std::uint8_t>(std::min(info.levels[0], 255));
  if (mode == "L") return transparent({level, level, level});
  if (palette == nullptr) return Corrupt("a transparent colour of a palette that is not there");
  const std::size_t at = std::size_t{level} * 3;
  return transparent({palette->at(at), palette->at(at + 1), palette->at(at + 2)});
}

// The colour whose pixels convert("RGBA") of an image of this mode makes transparent, palettes
// aside. Errors: CORRUPT_IMAGE (it raises).
absl::StatusOr<std::optional<Color>> TransparentColorOfRgba(std::string_view mode,
                                                            const InfoTransparency& info) {
  if (info.kind == InfoTransparency::Kind::kNone || HasAlpha(mode)) return std::nullopt;
  if (info.kind == InfoTransparency::Kind::kAlphas || info.kind == InfoTransparency::Kind::kText) {
    return Corrupt("something takes the place of the transparent colour");
  }
  if (mode == "RGB") return LowBytes(info.levels);
  return LowBytes({info.levels[0], info.levels[0], info.levels[0]});
}

// The colours of the palette, on `background` where it is asked for.
absl::StatusOr<Palette> ReadPalette(Bytes file, const ChunkReader& chunks,
                                    std::optional<Color> background) {
  Palette palette = {};
  if (chunks.color->mode != "P") return palette;
  // A rest of one or two bytes does not count.
  const std::size_t size = chunks.palette_bytes.size() / 3 * 3;
  if (size > palette.size()) return Corrupt("a palette of more than 256 colours");
  std::ranges::copy(chunks.palette_bytes.first(size), palette.begin());
  if (!background.has_value()) return palette;

  ChunkReader whole(file);  // the alphas may come after the image data
  ReadAllChunks(whole);
  const InfoTransparency& transparency = whole.transparency;
  constexpr std::size_t kColors = 256;
  std::array<std::uint8_t, kColors> alphas;
  std::ranges::fill(alphas, std::uint8_t{255});
  switch (transparency.kind) {
    case InfoTransparency::Kind::kNone:
      if (!chunks.has_palette) {
        return Corrupt("there is no palette, which Pillow would look at for its alpha");
      }
      break;
    case InfoTransparency::Kind::kNumber: {
      const auto index = static_cast<std::size_t>(transparency.levels[0]);
      if (index >= kColors) return Corrupt("a transparent colour outside the palette");
      alphas.at(index) = 0;
      break;
    }
    case InfoTransparency::Kind::kAlphas:
      if (transparency.alphas.size() > kColors) return Corrupt("alphas of more than 256 colours");
      std::ranges::copy(transparency.alphas, alphas.begin());
      break;
    case InfoTransparency::Kind::kColor:
    case InfoTransparency::Kind::kText:
      return Corrupt("something takes the place of the palette's alphas");
  }
  CompositeOnto(*background, alphas, palette);
  return palette;
}

absl::StatusOr<Image> DecodePng(Bytes bytes, const ImageHeader& header, const DecodeLimits&,
                                const Needed& needed) {
  ChunkReader chunks(bytes);
  if (absl::Status status = ReadToImageData(chunks); !status.ok()) return status;
  const std::optional<Color>& background = needed.background;
  const absl::StatusOr<Palette> palette = ReadPalette(bytes, chunks, background);
  if (!palette.ok()) return palette.status();
  const RawMode* const raw_mode = FindRawMode(chunks.color->mode, chunks.color->raw_mode);
  const bool has_palette = chunks.has_palette;  // chunks behind the image data change it no more
  const Box box = *chunks.image_data_box;
  if (box.x1 <= box.x0 || box.y1 <= box.y0) return Corrupt("the first frame is empty");
  Image image(header.width, header.height);
  FillBlank(raw_mode->mode, *palette, image);
  const bool has_alpha = background.has_value() && raw_mode->to_alpha != nullptr;
  std::vector<std::uint8_t> alpha(has_alpha ? image.size_bytes() / 3 : 0);
  ZipDecoder decoder(*raw_mode, chunks.interlaced, box, *palette, image, alpha);
  if (absl::Status status = decoder.Start(); !status.ok()) return status;
  ImageData data(chunks);
  while (!decoder.done()) {
    const absl::StatusOr<Bytes> block = data.NextBlock();
    if (!block.ok()) return block.status();
    if (absl::Status status = decoder.Feed(*block); !status.ok()) return status;
  }
  if (absl::Status status = data.Finish(); !status.ok()) return status;
  if (!background.has_value()) {
    const absl::StatusOr<Transparency> transparency =
        TransparencyOfRgb(raw_mode->mode, chunks.transparency, has_palette ? &*palette : nullptr);
    if (!transparency.ok()) return transparency.status();
    image.set_transparency(*transparency);
    return image;
  }
  if (has_alpha) CompositeOnto(*background, alpha, image.pixels());
  if (raw_mode->mode == "P") return image;
  const absl::StatusOr<std::optional<Color>> transparent =
      TransparentColorOfRgba(raw_mode->mode, chunks.transparency);
  if (!transparent.ok()) return transparent.status();
  if (transparent->has_value()) ReplaceColor(**transparent, *background, image.pixels());
  return image;
}

// The data that a text spells in hexadecimal, from its fourth line on.
// Source: Image.py getexif; Python's bytes.fromhex.
absl::StatusOr<std::vector<std::uint8_t>> ReadRawProfile(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\v\f";
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string hex;
  int lines = 0;
  for (const char c : text) {
    if (c == '\n') {
      ++lines;
    } else if (lines >= 3) {
      hex.push_back(c);
    }
  }
  std::vector<std::uint8_t> data;
  for (std::size_t i = 0; i < hex.size();) {
    if (kSpace.find(hex[i]) != std::string_view::npos) {
      ++i;
      continue;
    }
    const int high = digit(hex[i]);
    const int low = i + 1 < hex.size() ? digit(hex[i + 1]) : -1;
    if (high < 0 || low < 0) return Corrupt("a raw EXIF profile that is not hexadecimal");
    data.push_back(static_cast<std::uint8_t>(high * 16 + low));
    i += 2;
  }
  return data;
}

absl::StatusOr<int> ReadPngOrientation(Bytes bytes) {
  Metadata metadata;
  ChunkReader chunks(bytes, &metadata);
  ReadAllChunks(chunks);
  if (metadata.exif_is_text) return Corrupt("EXIF data in a text that Pillow does not read");
  std::vector<std::uint8_t> profile;
  if (metadata.raw_profile.has_value() && !metadata.exif.has_value()) {
    absl::StatusOr<std::vector<std::uint8_t>> read = ReadRawProfile(*metadata.raw_profile);
    if (!read.ok()) return read.status();
    profile = *std::move(read);
  }
  const absl::StatusOr<std::optional<int>> orientation =
      OrientationOfExif(metadata.exif.has_value() ? AsBytes(*metadata.exif) : Bytes(profile));
  if (!orientation.ok()) return orientation.status();
  if (orientation->has_value()) return **orientation;
  const std::string text = metadata.xmp_text.value_or("");
  return OrientationOfXmp(text.empty() ? metadata.xmp : text);
}

}  // namespace

const Codec kPngCodec = {.format = Format::kPng,
                         .accepts = AcceptsPng,
                         .read_header = ReadPngHeader,
                         .decode = DecodePng,
                         .read_orientation = ReadPngOrientation};

}  // namespace pixembed
