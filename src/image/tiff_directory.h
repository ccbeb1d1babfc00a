// The first directory of a TIFF file: tags and their values, as Pillow reads them.
//
// Not libtiff's reading: Pillow decides by its own what the file is, and asks libtiff only to
// decompress. Source: Pillow 13.0.0 src/PIL/TiffImagePlugin.py ImageFileDirectory_v2.
#ifndef PIXEMBED_SRC_IMAGE_TIFF_DIRECTORY_H_
#define PIXEMBED_SRC_IMAGE_TIFF_DIRECTORY_H_

#include <bit>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "absl/status/statusor.h"
#include "src/image/byte_reader.h"

namespace pixembed {

// The tags that decoding asks for.
enum class TiffTag : std::uint16_t {
  kImageWidth = 256,
  kImageLength = 257,
  kBitsPerSample = 258,
  kCompression = 259,
  kPhotometric = 262,
  kFillOrder = 266,
  kStripOffsets = 273,
  kOrientation = 274,
  kSamplesPerPixel = 277,
  kRowsPerStrip = 278,
  kStripByteCounts = 279,
  kPlanarConfiguration = 284,
  kColorMap = 320,
  kTileWidth = 322,
  kTileLength = 323,
  kTileOffsets = 324,
  kTileByteCounts = 325,
  kExtraSamples = 338,
  kSampleFormat = 339,
  kXmp = 700,
  kWindowsMediaPhoto = 0xBC01,
};

bool HasTiffSignature(Bytes bytes);

// The integers of a tag, read out of the file when they are asked for: a tag may be most of the
// file, and a copy eight times that.
class TiffIntegers {
 public:
  TiffIntegers() = default;
  // REQUIRES: `type` is one that TiffDirectory takes for integers.
  TiffIntegers(std::uint16_t type, Bytes data, std::endian order);

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // REQUIRES: i < size().
  std::int64_t operator[](std::size_t i) const;

 private:
  std::uint16_t type_ = 0;
  Bytes data_;
  std::endian order_ = std::endian::little;
  std::size_t size_ = 0;
};

// Holds views into the file, which outlives it.
class TiffDirectory {
 public:
  // Reads the first directory. A directory that the file's end cuts short keeps the tags before it.
  // Errors: CORRUPT_IMAGE (no directory).
  static absl::StatusOr<TiffDirectory> ReadFirst(Bytes file);

  // Reads the directory of EXIF data, which start with a TIFF header.
  // Errors: CORRUPT_IMAGE (no such header, or that of a BigTIFF).
  static absl::StatusOr<TiffDirectory> ReadEmbedded(Bytes exif);

  std::endian order() const { return order_; }
  // Where the directory starts in the file.
  std::size_t offset() const { return offset_; }
  // Whether the directory, or the data of a tag, reaches past the end of the file.
  bool truncated() const { return truncated_; }

  bool Has(TiffTag tag) const { return entries_.contains(tag); }
  // The values of a tag, of any integer type but BYTE; nothing where the tag is absent.
  // Errors: CORRUPT_IMAGE (another type).
  absl::StatusOr<TiffIntegers> Integers(TiffTag tag) const;
  // As Integers, but the bytes of BYTE and UNDEFINED count as integers.
  absl::StatusOr<TiffIntegers> IntegersOrBytes(TiffTag tag) const;
  // The first value, `fallback` where the tag is absent. Errors: as Integers.
  absl::StatusOr<std::int64_t> Integer(TiffTag tag, std::int64_t fallback) const;
  // The first value of a tag of any type of numbers but BYTE; nothing where it is absent or of
  // another type, or no number: a fraction of 0.
  std::optional<double> Number(TiffTag tag) const;
  // The number of values that the directory announces, whether or not they could be read.
  std::uint64_t AnnouncedCount(TiffTag tag) const;
  // The bytes of a tag of type BYTE or UNDEFINED; nothing where it is absent or of another type.
  std::optional<Bytes> ByteString(TiffTag tag) const;

 private:
  struct Entry {
    std::uint16_t type = 0;
    Bytes data;
  };

  // What is left of the file for the data of tags: tags that overlap do not count for less.
  struct Budget {
    std::size_t used = 0;
    std::size_t limit = 0;
  };

  // The first entry of each tag counts. Those that nobody asks for are not kept.
  using SeenTags = std::bitset<65536>;

  TiffDirectory(Bytes file, std::endian order, bool big, std::size_t offset)
      : file_(file), order_(order), big_(big), offset_(offset) {}
  void ReadEntries();
  // Whether the next entry could be read.
  bool ReadEntry(ByteReader& reader, Budget& budget, SeenTags& seen);
  void Keep(TiffTag tag, const Entry& entry, SeenTags& seen);
  // A number of the width that the kind of file has: 4 bytes, or 8 in a BigTIFF.
  std::optional<std::uint64_t> ReadOffset(ByteReader& reader) const;

  Bytes file_;
  std::endian order_;
  bool big_;
  std::size_t offset_;
  bool truncated_ = false;
  std::map<TiffTag, Entry> entries_;
  std::map<TiffTag, std::uint64_t> announced_counts_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_TIFF_DIRECTORY_H_
