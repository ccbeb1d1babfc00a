// Small files that ask for much: what is held is counted, by our code and by the libraries, and
// must fit what the header announced, since that is what the engine sets aside. Each ends with
// pixels or a reason; ctest's time-out is the bound on time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "tests/image/decode_files.h"
#include "tests/image/heap_meter.h"

namespace pixembed {
namespace {

// Statuses, and what a library keeps once it was used.
constexpr std::size_t kAside = std::size_t{1} << 18;
constexpr std::size_t kMillion = 1'000'000;

std::string Repeated(std::string_view part, std::size_t times) {
  std::string all;
  all.reserve(part.size() * times);
  for (std::size_t i = 0; i < times; ++i) all += part;
  return all;
}

std::string Zeros(std::size_t count) { return std::string(count, '\0'); }

// The answer of Decode, after a look at what it and ReadHeader held.
absl::Status DecodeWithinBounds(std::string_view file, const DecodeLimits& limits = {}) {
  const HeapMeter header_meter;
  const absl::StatusOr<ImageHeader> header = ReadHeader(AsBytes(file), limits);
  EXPECT_LE(header_meter.peak(), HeaderMemory(file.size()));
  const HeapMeter meter;
  const absl::StatusOr<Image> image = Decode(AsBytes(file), limits);
  EXPECT_LE(meter.peak(),
            kAside + (header.ok() ? header->decoded_bytes : HeaderMemory(file.size())));
  EXPECT_TRUE(image.ok() || ReasonOf(image.status()).has_value()) << image.status();
  return image.status();
}

TEST(HeapMeter, CountsWhatWasHeldAtOnce) {
  // Volatile, so that no allocation is optimised away.
  void* (*volatile allocate)(std::size_t) = std::malloc;
  void (*volatile release)(void*) = std::free;
  const HeapMeter meter;
  void* const first = allocate(5 << 20);
  void* const second = allocate(3 << 20);
  release(first);
  void* const third = allocate(4 << 20);
  release(second);
  release(third);
  EXPECT_GE(meter.peak(), 8U << 20);
  EXPECT_LT(meter.peak(), 9U << 20);
}

// ---- PNG

// A zlib stream of so many zeros, a thousandth of their size.
std::string DeflatedZeros(std::size_t count) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit(&stream, Z_BEST_COMPRESSION), Z_OK);
  const std::string part = Zeros(std::size_t{1} << 20);
  std::string out(count / 500 + 1024, '\0');
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  for (std::size_t done = 0; done < count; done += part.size()) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(part.data()));
    stream.avail_in = static_cast<uInt>(part.size());
    EXPECT_EQ(deflate(&stream, Z_NO_FLUSH), Z_OK);
  }
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

constexpr std::size_t kBombBytes = std::size_t{64} << 20;

// Ten gray pixels a row, ten rows.
std::string PngAround(std::string_view before) { return PngFile(10, 10, 8, 0, Zeros(110), before); }

TEST(PngBomb, ImageDataThatGoesOnForMegabytesIsNotInflatedPastThePicture) {
  const std::string head = PngAround("");
  const std::string file = absl::StrCat(
      head.substr(0, 33), PngChunk("IDAT", DeflatedZeros(kBombBytes)), PngChunk("IEND", ""));
  EXPECT_TRUE(DecodeWithinBounds(file).ok());
}

TEST(PngBomb, AColorProfileOf64MegabytesIsRefused) {
  const std::string profile = absl::StrCat("icc", Zeros(2), DeflatedZeros(kBombBytes));
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(PngAround(PngChunk("iCCP", profile)))),
            Reason::kCorruptImage);
}

TEST(PngBomb, TextOf64MegabytesIsRefused) {
  const std::string data = DeflatedZeros(kBombBytes);
  const std::string text = PngChunk("zTXt", absl::StrCat("key", Zeros(2), data));
  const std::string international =
      PngChunk("iTXt", absl::StrCat("key", Zeros(1), "\x01", Zeros(3), data));
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(PngAround(text))), Reason::kCorruptImage);
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(PngAround(international))), Reason::kCorruptImage);
}

TEST(PngBomb, ManyTextsOfAMegabyteAreRefusedTogether) {
  const std::string text =
      PngChunk("zTXt", absl::StrCat("key", Zeros(2), DeflatedZeros((1 << 20) - 4096)));
  EXPECT_TRUE(DecodeWithinBounds(PngAround(Repeated(text, 10))).ok());
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(PngAround(Repeated(text, 70)))), Reason::kCorruptImage);
}

// Pillow counts neither, and decodes the picture: the README names them among what is left out.
TEST(PngBomb, ColorProfilesAndDamagedTextsCountAsTextsDo) {
  const std::string data = DeflatedZeros((1 << 20) - 4096);
  const std::string damaged = data.substr(0, data.size() - 4) + "XXXX";
  const std::string profile = PngChunk("iCCP", absl::StrCat("icc", Zeros(2), data));
  const std::string text = PngChunk("zTXt", absl::StrCat("key", Zeros(2), damaged));
  for (const std::string& chunk : {profile, text}) {
    EXPECT_TRUE(DecodeWithinBounds(PngAround(Repeated(chunk, 10))).ok());
    EXPECT_EQ(ReasonOf(DecodeWithinBounds(PngAround(Repeated(chunk, 70)))), Reason::kCorruptImage);
  }
}

TEST(PngBomb, AMillionChunksAreRead) {
  EXPECT_TRUE(DecodeWithinBounds(PngAround(Repeated(PngChunk("juNk", ""), kMillion))).ok());
}

// ---- TIFF

std::string TiffHead(std::uint32_t directory) {
  return absl::StrCat("II*", Zeros(1), LittleEndian(directory, 4));
}

std::string TiffTagBytes(int tag, int type, std::uint32_t count, std::uint32_t value) {
  return absl::StrCat(LittleEndian(static_cast<std::uint64_t>(tag), 2),
                      LittleEndian(static_cast<std::uint64_t>(type), 2), LittleEndian(count, 4),
                      LittleEndian(value, 4));
}

TEST(TiffBomb, ADirectoryOf65535TagsIsNotKept) {
  std::string directory = LittleEndian(65535, 2);
  for (int tag = 0; tag < 65535; ++tag) directory += TiffTagBytes(tag, 3, 1, 1);
  const std::string file = absl::StrCat(TiffHead(8), directory, Zeros(4));
  EXPECT_FALSE(DecodeWithinBounds(file).ok());
  const HeapMeter meter;
  EXPECT_FALSE(ReadHeader(AsBytes(file), {}).ok());
  EXPECT_LT(meter.peak(), 100'000U);
}

TEST(TiffBomb, ABigTiffOfFourBillionTagsEndsWithTheFile) {
  for (const std::uint64_t count : {std::uint64_t{1} << 32, ~std::uint64_t{0}}) {
    const std::string file = absl::StrCat("II+", Zeros(1), LittleEndian(8, 2), Zeros(2),
                                          LittleEndian(16, 8), LittleEndian(count, 8), Zeros(2000));
    EXPECT_EQ(ReasonOf(DecodeWithinBounds(file)), Reason::kTruncatedImage);
  }
}

TEST(TiffBomb, ATagOfFourBillionValuesIsSkipped) {
  for (const int tag : {258, 273, 279, 320, 338, 339}) {
    std::string directory = LittleEndian(7, 2);
    directory += TiffTagBytes(256, 3, 1, 8);
    directory += TiffTagBytes(257, 3, 1, 8);
    directory += TiffTagBytes(tag, 4, 0xFFFFFFFF, 8);
    directory += TiffTagBytes(259, 3, 1, 8);
    directory += TiffTagBytes(262, 3, 1, 1);
    EXPECT_FALSE(DecodeWithinBounds(absl::StrCat(TiffHead(8), directory, Zeros(1000))).ok()) << tag;
  }
}

TEST(TiffBomb, AMillionSampleSizesAreRefused) {
  for (const int tag : {258, 338, 339}) {
    std::vector<TiffEntry> entries = TiffEntries(8, 8, 1, 1);
    std::erase_if(entries, [tag](const TiffEntry& entry) { return entry.tag == tag; });
    entries.push_back({tag, 3, std::vector<std::uint32_t>(2 * kMillion, 1)});
    EXPECT_FALSE(DecodeWithinBounds(TiffFile(entries, Zeros(64))).ok()) << tag;
  }
}

// 2 million tiles of one pixel, whose offsets are a byte each.
TEST(TiffBomb, TilesOfOnePixelCostFewBytesEach) {
  constexpr std::uint32_t kSide = 1414;
  constexpr std::uint32_t kTiles = kSide * kSide;
  std::string directory = LittleEndian(8, 2);
  directory += TiffTagBytes(256, 3, 1, kSide);
  directory += TiffTagBytes(257, 3, 1, kSide);
  directory += TiffTagBytes(258, 3, 1, 8);
  directory += TiffTagBytes(262, 3, 1, 1);
  directory += TiffTagBytes(277, 3, 1, 1);
  directory += TiffTagBytes(322, 3, 1, 1);
  directory += TiffTagBytes(323, 3, 1, 1);
  directory += TiffTagBytes(324, 1, kTiles, 8 + 2 + 8 * 12 + 4);
  const std::string file = absl::StrCat(TiffHead(8), directory, Zeros(4), Zeros(kTiles));
  EXPECT_TRUE(DecodeWithinBounds(file).ok());
  const auto header = ReadHeader(AsBytes(file), {});
  ASSERT_TRUE(header.ok());
  EXPECT_LT(header->decoded_bytes, std::size_t{20} * kTiles);
}

TEST(TiffBomb, MoreTilesThanTheImageHasRoomForAreRefused) {
  std::vector<TiffEntry> entries = TiffEntries(8, 8, 1, 1);
  entries.push_back({322, 3, {1}});
  entries.push_back({323, 3, {1}});
  entries.push_back({324, 4, std::vector<std::uint32_t>(kMillion, 8)});
  std::string file = TiffFile(entries, Zeros(64));
  // No strips: their two tags become unknown ones.
  for (const int tag : {273, 278, 279}) {
    const std::string name = LittleEndian(static_cast<std::uint64_t>(tag), 2);
    const std::size_t at = file.find(absl::StrCat(name, LittleEndian(4, 2)));
    const std::size_t short_at = file.find(absl::StrCat(name, LittleEndian(3, 2)));
    file.replace(std::min(at, short_at), 2,
                 LittleEndian(60000 + static_cast<std::uint64_t>(tag), 2));
  }
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(file)), Reason::kCorruptImage);
}

TEST(TiffBomb, StripsAndTilesThatTheLibraryIsToAllocateAreBounded) {
  // 65535 strips of a row, and tiles as large as tiles can be.
  std::vector<TiffEntry> entries = TiffEntries(1, 65535, 1, 1);
  entries.push_back({259, 3, {8}});
  std::erase_if(entries, [](const TiffEntry& entry) { return entry.tag == 278; });
  entries.push_back({278, 4, {1}});
  EXPECT_FALSE(DecodeWithinBounds(TiffFile(entries, Zeros(64))).ok());
  entries = TiffEntries(8, 8, 1, 1);
  entries.push_back({259, 3, {8}});
  entries.push_back({322, 4, {65520}});
  entries.push_back({323, 4, {65520}});
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(TiffFile(entries, Zeros(64)))), Reason::kTooManyPixels);
}

// ---- GIF

// A 2 x 2 frame of one colour.
std::string GifFrame() {
  return absl::StrCat(",", Zeros(4), LittleEndian(2, 2), LittleEndian(2, 2), Zeros(1),
                      std::string("\x02\x03\x04\x00\x05\x00", 6));
}

TEST(GifBomb, OfMillionsOfFramesOnlyTheFirstIsRead) {
  const std::string first =
      GifFile(2, 2, "", 0, 0, 2, 2, std::string("\x02\x03\x04\x00\x05\x00", 6));
  const absl::Status alone = DecodeWithinBounds(first);
  const std::string file =
      absl::StrCat(first.substr(0, first.size() - 1), Repeated(GifFrame(), 2 * kMillion), ";");
  const HeapMeter meter;
  EXPECT_EQ(DecodeWithinBounds(file, {.max_encoded_bytes = file.size()}).code(), alone.code());
  EXPECT_LT(meter.peak(), 300'000U);
}

TEST(GifBomb, MillionsOfExtensionsBeforeTheFrameAreSkipped) {
  const std::string first =
      GifFile(2, 2, "", 0, 0, 2, 2, std::string("\x02\x03\x04\x00\x05\x00", 6));
  const std::string comment = absl::StrCat("!\xfe", LittleEndian(1, 1), "x", Zeros(1));
  const std::string file =
      absl::StrCat(first.substr(0, 13), Repeated(comment, 2 * kMillion), first.substr(13));
  const HeapMeter meter;
  EXPECT_EQ(DecodeWithinBounds(file).code(), DecodeWithinBounds(first).code());
  EXPECT_LT(meter.peak(), 300'000U);
}

TEST(GifBomb, AFrameAtTheFarCornerCountsWithItsOffset) {
  const std::string file =
      GifFile(1, 1, "", 65535, 65535, 65535, 65535, std::string("\x02\x03\x04\x00\x05\x00", 6));
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(file)), Reason::kTooManyPixels);
}

// ---- WebP

std::string WebpChunk(std::string_view name, std::string_view data) {
  return absl::StrCat(std::string(name), LittleEndian(data.size(), 4), std::string(data),
                      Zeros(data.size() % 2));
}

std::string WebpFile(std::string_view chunks) {
  return absl::StrCat("RIFF", LittleEndian(4 + chunks.size(), 4), "WEBP", std::string(chunks));
}

// An animation of this canvas, and one frame of 16 x 12 pixels.
std::string WebpCanvas(std::uint32_t width, std::uint32_t height) {
  const std::string canvas =
      absl::StrCat("\x02", Zeros(3), LittleEndian(width - 1, 3), LittleEndian(height - 1, 3));
  const std::string frame =
      absl::StrCat(Zeros(6), LittleEndian(15, 3), LittleEndian(11, 3), LittleEndian(100, 3),
                   Zeros(1), ReadFixture("lossless.webp").substr(12));
  return WebpFile(absl::StrCat(WebpChunk("VP8X", canvas), WebpChunk("ANIM", Zeros(6)),
                               WebpChunk("ANMF", frame)));
}

TEST(WebpBomb, ACanvasAsLargeAsTheFormatHasIsRefused) {
  for (const auto& [width, height] :
       {std::pair{1U << 24, 255U}, std::pair{65535U, 65535U}, std::pair{16384U, 16384U}}) {
    EXPECT_EQ(ReasonOf(DecodeWithinBounds(WebpCanvas(width, height))), Reason::kTooManyPixels);
  }
  EXPECT_TRUE(DecodeWithinBounds(WebpCanvas(2000, 1000)).ok());
}

TEST(WebpBomb, AMillionChunksAreIndexedWithinTheBound) {
  const std::string sound = ReadFixture("animated.webp").substr(12);
  const std::string file = WebpFile(absl::StrCat(sound, Repeated(WebpChunk("juNk", ""), kMillion)));
  EXPECT_TRUE(DecodeWithinBounds(file).ok());
}

// Of the fuzzer: 16 KiB of prefix codes for every 4 x 4 pixels, which 20 bits describe.
class BitWriter {
 public:
  void Put(std::uint32_t value, int bits) {
    for (int i = 0; i < bits; ++i) {
      if (count_ % 8 == 0) bytes_.push_back('\0');
      if ((value >> i & 1U) != 0) {
        bytes_.back() =
            static_cast<char>(static_cast<unsigned char>(bytes_.back()) | 1U << count_ % 8);
      }
      ++count_;
    }
  }
  // A prefix code of one symbol, 0, which takes no bits.
  void PutTrivialCode() { Put(0b0001, 4); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  int count_ = 0;
};

TEST(WebpBomb, PrefixCodesForEveryFewPixelsAreCounted) {
  constexpr std::uint32_t kSide = 512;
  constexpr std::uint32_t kBlocks = (kSide / 4) * (kSide / 4);
  BitWriter bits;
  bits.Put(0x2F, 8);
  bits.Put(kSide - 1, 14);
  bits.Put(kSide - 1, 14);
  bits.Put(0, 1 + 3);  // no alpha, version 0
  bits.Put(0, 1 + 1);  // no transform, no colour cache
  bits.Put(1, 1);      // which prefix codes a block has, is an image of its own:
  bits.Put(0, 3 + 1);  // of blocks of 4 x 4, without a colour cache
  // Its green (the low byte) and red (the high one) have 256 symbols of 8 bits each.
  for (int channel = 0; channel < 2; ++channel) {
    bits.Put(0, 1);       // no simple code:
    bits.Put(12 - 4, 4);  // the lengths of code lengths 17, 18, 0 to 5, 16, 6, 7, 8
    for (const std::uint32_t length : {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}) bits.Put(length, 3);
    bits.Put(0, 1);                                          // no limit on the symbols
    for (int i = 0; i < 256; ++i) bits.Put(0, 1);            // of length 8 ("0")
    if (channel == 0) bits.Put(1U | (24 - 11) << 1, 1 + 7);  // 24 of length 0 ("1", repeat)
  }
  for (int channel = 2; channel < 5; ++channel) bits.PutTrivialCode();
  const auto put_reversed = [&bits](std::uint32_t byte) {
    for (int bit = 7; bit >= 0; --bit) bits.Put(byte >> bit & 1U, 1);
  };
  for (std::uint32_t block = 0; block < kBlocks; ++block) {
    put_reversed(block & 255U);
    put_reversed(block >> 8);
  }
  for (std::uint32_t code = 0; code < 5 * kBlocks; ++code) bits.PutTrivialCode();
  const std::string file = WebpFile(WebpChunk("VP8L", bits.bytes()));
  EXPECT_LT(file.size(), 100'000U);
  const HeapMeter meter;
  EXPECT_TRUE(DecodeWithinBounds(file).ok());
  EXPECT_GT(meter.peak(), 100'000'000U) << "it is no bomb";
}

// ---- AVIF

std::string BigEndian(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

std::string AvifBox(std::string_view type, const std::string& payload) {
  return BigEndian(static_cast<std::uint32_t>(payload.size()) + 8, 4) + std::string(type) + payload;
}

// An AVIF of one item, with these boxes beside what that needs.
std::string Avif(const std::string& in_meta, const std::string& in_properties = "") {
  const std::string version = Zeros(4);
  const std::string entry =
      AvifBox("infe", BigEndian(0x02000000, 4) + BigEndian(1, 2) + Zeros(2) + "av01" + Zeros(1));
  return AvifBox("ftyp", "avif" + Zeros(4) + "avifmif1miaf") +
         AvifBox("meta", version + AvifBox("hdlr", Zeros(8) + "pict" + Zeros(13)) +
                             AvifBox("pitm", version + BigEndian(1, 2)) +
                             AvifBox("iloc", version + "D" + Zeros(1) + BigEndian(1, 2) +
                                                 BigEndian(1, 2) + BigEndian(0, 2) +
                                                 BigEndian(1, 2) + Zeros(4) + BigEndian(8, 4)) +
                             AvifBox("iinf", version + BigEndian(1, 2) + entry) +
                             AvifBox("iprp", in_properties) + in_meta) +
         AvifBox("mdat", Zeros(16));
}

TEST(AvifBomb, ItemsThatAreOnlyNamedAreBounded) {
  std::string associations = Zeros(4) + BigEndian(60'000, 4);
  std::string references = Zeros(4);
  for (std::uint32_t id = 2; id < 60'002; ++id) {
    associations += BigEndian(id, 2) + Zeros(1);
    references += AvifBox("dimg", BigEndian(1, 2) + BigEndian(1, 2) + BigEndian(id, 2));
  }
  for (const std::string& file :
       {Avif("", AvifBox("ipco", "") + AvifBox("ipma", associations)),
        Avif(AvifBox("iref", references)),
        AvifBox("ftyp", "avif" + Zeros(4) + "avifmif1miaf") +
            AvifBox("moov", AvifBox("trak", Avif(AvifBox("iref", references)))),
        Avif("", AvifBox("ipco", Repeated(AvifBox("free", ""), kMillion)))}) {
    const absl::Status status = DecodeWithinBounds(file);
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedFormat) << status;
  }
}

// An image sequence of one track, with these sizes of its frames, of which a chunk has so many.
// Source: ISO/IEC 14496-12, sections 8.3 to 8.7.
std::string Avis(const std::string& sizes, std::uint32_t frames, std::size_t data) {
  const std::string version = Zeros(4);
  const std::string one = BigEndian(1, 4);
  const std::string ftyp = AvifBox("ftyp", "avis" + Zeros(4) + "avismsf1miaf");
  const std::string entry = AvifBox("av01", Zeros(78) + AvifBox("av1C", "\x81" + Zeros(3)));
  const auto moov = [&](std::uint32_t offset) {
    const std::string table =
        AvifBox("stbl", AvifBox("stsd", version + one + entry) +
                            AvifBox("stts", version + one + BigEndian(frames, 4) + one) +
                            AvifBox("stsc", version + one + one + BigEndian(frames, 4) + one) +
                            AvifBox("stsz", version + sizes) +
                            AvifBox("stco", version + one + BigEndian(offset, 4)));
    const std::string media =
        AvifBox("mdhd", version + Zeros(8) + one + BigEndian(frames, 4) + Zeros(4)) +
        AvifBox("minf", table);
    const std::string header =
        AvifBox("tkhd", version + Zeros(8) + one + Zeros(4) + Zeros(4) + Zeros(52) +
                            BigEndian(16 << 16, 4) + BigEndian(16 << 16, 4));
    return AvifBox("moov", AvifBox("trak", header + AvifBox("mdia", media)));
  };
  const std::size_t offset = ftyp.size() + moov(0).size() + 8;
  return ftyp + moov(static_cast<std::uint32_t>(offset)) + AvifBox("mdat", Zeros(data));
}

// Frames of a byte each.
std::string AvisOf(std::uint32_t frames) {
  return Avis(BigEndian(1, 4) + BigEndian(frames, 4), frames, frames);
}

TEST(AvifBomb, FramesAreBounded) {
  constexpr std::uint32_t kMost = 8192;
  const absl::StatusOr<ImageHeader> header = ReadHeader(AsBytes(AvisOf(kMost)), {});
  ASSERT_TRUE(header.ok()) << header.status();  // the file is refused for its frames alone
  EXPECT_EQ(header->width, 16);
  EXPECT_FALSE(DecodeWithinBounds(AvisOf(kMost)).ok());  // zeros are no frame
  EXPECT_EQ(ReasonOf(DecodeWithinBounds(AvisOf(kMost + 1))), Reason::kUnsupportedFormat);
  // Of no bytes each, or of a number that the file cannot hold, in two lines of a table.
  const std::string empty = Zeros(4) + BigEndian(kMillion, 4) + Zeros(4 * kMillion);
  constexpr std::uint32_t kBillion = 1'000'000'000;
  const std::string tiny = BigEndian(1, 4) + BigEndian(kBillion, 4);
  for (const std::string& file : {Avis(empty, kMillion, 16), Avis(tiny, kBillion, 16)}) {
    const absl::Status status = DecodeWithinBounds(file);
    EXPECT_EQ(ReasonOf(status), Reason::kUnsupportedFormat) << status;
  }
}

// ---- JPEG

TEST(JpegBomb, TheCoefficientsOfAProgressivePictureAreCounted) {
  const std::string file =
      absl::StrCat("\xff\xd8\xff\xdb", std::string("\x00\x43\x00", 3), std::string(64, '\x01'),
                   "\xff\xc2", std::string("\x00\x11\x08", 3), BigEndian(2000, 2),
                   BigEndian(3000, 2), std::string("\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00", 10),
                   "\xff\xda", std::string("\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x00\x00", 12));
  const HeapMeter meter;
  EXPECT_FALSE(DecodeWithinBounds(file).ok());
  EXPECT_GT(meter.peak(), 2000U * 3000 * 3 * 2) << "it is no bomb";
}

// ---- BMP

TEST(BmpBomb, SizesThatAreNegativeOrHugeHaveAReason) {
  constexpr int kMost = 0x7FFFFFFF;
  for (const auto& [width, height] :
       {std::pair{kMost, kMost}, std::pair{kMost, -kMost - 1}, std::pair{-1, 1},
        std::pair{-kMost - 1, -1}, std::pair{1, -kMost - 1}, std::pair{kMost, 1}}) {
    for (const int compression : {0, 1}) {
      const absl::Status status =
          DecodeWithinBounds(BmpFile(width, height, 8, compression, Zeros(1024), Zeros(64)));
      EXPECT_THAT(ReasonOf(status), testing::AnyOf(Reason::kTooManyPixels, Reason::kCorruptImage,
                                                   Reason::kUnsupportedFormat));
    }
  }
}

TEST(BmpBomb, RunsAndEndsOfLinesStopAtThePicture) {
  std::string palette;
  for (int i = 0; i < 256; ++i) palette += LittleEndian(static_cast<std::uint64_t>(i) * 77, 4);
  for (const std::string& step :
       {std::string("\xff\x01", 2), std::string("\x00\x00", 2), std::string("\x00\x02\xff\xff", 4),
        std::string("\x01\x01\x00\x00", 4)}) {
    const absl::Status status =
        DecodeWithinBounds(BmpFile(3000, 10, 8, 1, palette, Repeated(step, kMillion)));
    EXPECT_TRUE(status.ok() || ReasonOf(status) == Reason::kTruncatedImage) << status;
  }
}

}  // namespace
}  // namespace pixembed
