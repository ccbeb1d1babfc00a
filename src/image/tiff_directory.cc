#include "src/image/tiff_directory.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/byte_reader.h"

namespace pixembed {
namespace {

// Source: TiffTags.py. Types that are not here are skipped, as Pillow skips them.
enum Type : std::uint16_t {
  kByte = 1,
  kAscii = 2,
  kShort = 3,
  kLong = 4,
  kRational = 5,
  kSignedByte = 6,
  kUndefined = 7,
  kSignedShort = 8,
  kSignedLong = 9,
  kSignedRational = 10,
  kFloat = 11,
  kDouble = 12,
  kIfd = 13,
  kLong8 = 16,
};

// Bytes of one value; 0: not a type that Pillow knows.
std::size_t TypeSize(std::uint16_t type) {
  switch (type) {
    case kByte:
    case kAscii:
    case kSignedByte:
    case kUndefined:
      return 1;
    case kShort:
    case kSignedShort:
      return 2;
    case kLong:
    case kSignedLong:
    case kFloat:
    case kIfd:
      return 4;
    case kRational:
    case kSignedRational:
    case kDouble:
    case kLong8:
      return 8;
    default:
      return 0;
  }
}

bool IsInteger(std::uint16_t type) {
  return type == kShort || type == kLong || type == kIfd || type == kSignedByte ||
         type == kSignedShort || type == kSignedLong || type == kLong8;
}

bool IsWanted(TiffTag tag) {
  switch (tag) {
    case TiffTag::kImageWidth:
    case TiffTag::kImageLength:
    case TiffTag::kBitsPerSample:
    case TiffTag::kCompression:
    case TiffTag::kPhotometric:
    case TiffTag::kFillOrder:
    case TiffTag::kStripOffsets:
    case TiffTag::kOrientation:
    case TiffTag::kSamplesPerPixel:
    case TiffTag::kRowsPerStrip:
    case TiffTag::kStripByteCounts:
    case TiffTag::kPlanarConfiguration:
    case TiffTag::kColorMap:
    case TiffTag::kTileWidth:
    case TiffTag::kTileLength:
    case TiffTag::kTileOffsets:
    case TiffTag::kTileByteCounts:
    case TiffTag::kExtraSamples:
    case TiffTag::kSampleFormat:
    case TiffTag::kXmp:
    case TiffTag::kWindowsMediaPhoto:
      return true;
  }
  return false;
}

}  // namespace

TiffIntegers::TiffIntegers(std::uint16_t type, Bytes data, std::endian order)
    : type_(type), data_(data), order_(order), size_(data.size() / TypeSize(type)) {}

std::int64_t TiffIntegers::operator[](std::size_t i) const {
  const Bytes data = data_.subspan(i * TypeSize(type_));
  switch (type_) {
    case kShort:
      return LoadNumber<std::uint16_t>(data, order_);
    case kLong:
    case kIfd:
      return LoadNumber<std::uint32_t>(data, order_);
    case kSignedByte:
      return static_cast<std::int8_t>(data[0]);
    case kSignedShort:
      return static_cast<std::int16_t>(LoadNumber<std::uint16_t>(data, order_));
    case kSignedLong:
      return static_cast<std::int32_t>(LoadNumber<std::uint32_t>(data, order_));
    case kLong8:
      return static_cast<std::int64_t>(LoadNumber<std::uint64_t>(data, order_));
    default:
      return data[0];
  }
}

bool HasTiffSignature(Bytes bytes) {
  using Prefix = std::array<std::uint8_t, 4>;
  constexpr std::array<Prefix, 6> kPrefixes = {{{'M', 'M', 0x00, 0x2A},
                                                {'I', 'I', 0x2A, 0x00},
                                                {'M', 'M', 0x2A, 0x00},
                                                {'I', 'I', 0x00, 0x2A},
                                                {'M', 'M', 0x00, 0x2B},
                                                {'I', 'I', 0x2B, 0x00}}};
  return std::ranges::any_of(kPrefixes, [bytes](const Prefix& prefix) {
    return bytes.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), bytes.begin());
  });
}

absl::StatusOr<TiffDirectory> TiffDirectory::ReadFirst(Bytes file) {
  const std::endian order = file[0] == 'M' ? std::endian::big : std::endian::little;
  // Pillow tells a BigTIFF by the third byte alone, so it knows the little-endian ones.
  const bool big = file[2] == 0x2B;
  ByteReader reader(file, order);
  reader.Seek(big ? 8 : 4);
  TiffDirectory directory(file, order, big, 0);
  const std::optional<std::uint64_t> offset = directory.ReadOffset(reader);
  if (!offset.has_value()) {
    return MakeError(Reason::kTruncatedImage, "TIFF: the data ends inside the header");
  }
  if (*offset == 0) return MakeError(Reason::kCorruptImage, "TIFF: there is no directory");
  directory.offset_ = static_cast<std::size_t>(*offset);
  directory.ReadEntries();
  return directory;
}

absl::StatusOr<TiffDirectory> TiffDirectory::ReadEmbedded(Bytes exif) {
  constexpr std::size_t kHeaderSize = 8;
  // Pillow hands on 8 bytes, in which the header of a BigTIFF does not fit.
  if (exif.size() < kHeaderSize || !HasTiffSignature(exif) || exif[2] == 0x2B) {
    return MakeError(Reason::kCorruptImage, "the EXIF data do not start with a TIFF header");
  }
  const std::endian order = exif[0] == 'M' ? std::endian::big : std::endian::little;
  TiffDirectory directory(exif, order, /*big=*/false,
                          LoadNumber<std::uint32_t>(exif.subspan(4), order));
  directory.ReadEntries();
  return directory;
}

std::optional<std::uint64_t> TiffDirectory::ReadOffset(ByteReader& reader) const {
  if (big_) return reader.ReadNumber<std::uint64_t>();
  return reader.ReadNumber<std::uint32_t>();
}

void TiffDirectory::ReadEntries() {
  ByteReader reader(file_, order_);
  reader.Seek(offset_);
  std::optional<std::uint64_t> count;
  if (big_) {
    count = reader.ReadNumber<std::uint64_t>();
  } else {
    count = reader.ReadNumber<std::uint16_t>();
  }
  Budget budget = {.limit = file_.size()};
  const auto seen = std::make_unique<SeenTags>();
  truncated_ = !count.has_value();
  for (std::uint64_t i = 0; i < count.value_or(0) && !truncated_; ++i) {
    truncated_ = !ReadEntry(reader, budget, *seen);
  }
}

void TiffDirectory::Keep(TiffTag tag, const Entry& entry, SeenTags& seen) {
  seen.set(static_cast<std::size_t>(tag));
  if (IsWanted(tag)) entries_[tag] = entry;
}

bool TiffDirectory::ReadEntry(ByteReader& reader, Budget& budget, SeenTags& seen) {
  const std::size_t inline_size = big_ ? 8 : 4;
  const std::optional<Bytes> head = reader.ReadExactly(4);
  if (!head.has_value()) return false;
  const auto tag = static_cast<TiffTag>(LoadNumber<std::uint16_t>(*head, order_));
  const auto type = LoadNumber<std::uint16_t>(head->subspan(2), order_);
  const std::optional<std::uint64_t> count = ReadOffset(reader);
  const std::optional<Bytes> value = reader.ReadExactly(inline_size);
  if (!count.has_value() || !value.has_value()) return false;
  const std::size_t unit = TypeSize(type);
  if (unit == 0 || *count == 0 || seen.test(static_cast<std::size_t>(tag))) return true;
  if (IsWanted(tag)) announced_counts_.try_emplace(tag, *count);
  if (*count <= inline_size / unit) {
    Keep(tag, {.type = type, .data = value->first(*count * unit)}, seen);
    return true;
  }
  const std::uint64_t offset =
      big_ ? LoadNumber<std::uint64_t>(*value, order_) : LoadNumber<std::uint32_t>(*value, order_);
  if (offset >> 63 != 0) return true;
  if (*count > (budget.limit - budget.used) / unit) {
    budget.used = budget.limit;  // Pillow adds it up and skips all that follow, too
    return true;
  }
  const std::size_t size = *count * unit;
  budget.used += size;
  if (offset > file_.size() || file_.size() - offset < size) return false;
  Keep(tag, {.type = type, .data = file_.subspan(offset, size)}, seen);
  return true;
}

absl::StatusOr<TiffIntegers> TiffDirectory::Integers(TiffTag tag) const {
  const auto entry = entries_.find(tag);
  if (entry == entries_.end()) return TiffIntegers();
  const auto& [type, data] = entry->second;
  if (!IsInteger(type)) {
    return MakeError(Reason::kCorruptImage,
                     absl::StrCat("TIFF: tag ", static_cast<int>(tag), " has type ", type,
                                  ", which is no integer"));
  }
  return TiffIntegers(type, data, order_);
}

absl::StatusOr<TiffIntegers> TiffDirectory::IntegersOrBytes(TiffTag tag) const {
  const std::optional<Bytes> bytes = ByteString(tag);
  if (!bytes.has_value()) return Integers(tag);
  return TiffIntegers(kByte, *bytes, order_);
}

absl::StatusOr<std::int64_t> TiffDirectory::Integer(TiffTag tag, std::int64_t fallback) const {
  const absl::StatusOr<TiffIntegers> values = Integers(tag);
  if (!values.ok()) return values.status();
  return values->empty() ? fallback : (*values)[0];
}

std::optional<double> TiffDirectory::Number(TiffTag tag) const {
  const auto entry = entries_.find(tag);
  if (entry == entries_.end()) return std::nullopt;
  const auto& [type, data] = entry->second;
  switch (type) {
    case kRational:
    case kSignedRational: {
      const std::uint16_t integer = type == kRational ? kLong : kSignedLong;
      const TiffIntegers parts(integer, data, order_);
      if (parts[1] == 0) return std::nullopt;
      return static_cast<double>(parts[0]) / static_cast<double>(parts[1]);
    }
    case kFloat:
      return std::bit_cast<float>(LoadNumber<std::uint32_t>(data, order_));
    case kDouble:
      return std::bit_cast<double>(LoadNumber<std::uint64_t>(data, order_));
    default:
      break;
  }
  if (!IsInteger(type)) return std::nullopt;
  return static_cast<double>(TiffIntegers(type, data, order_)[0]);
}

std::uint64_t TiffDirectory::AnnouncedCount(TiffTag tag) const {
  const auto count = announced_counts_.find(tag);
  return count == announced_counts_.end() ? 0 : count->second;
}

std::optional<Bytes> TiffDirectory::ByteString(TiffTag tag) const {
  const auto entry = entries_.find(tag);
  if (entry == entries_.end()) return std::nullopt;
  const auto& [type, data] = entry->second;
  if (type != kByte && type != kUndefined) return std::nullopt;
  return data;
}

}  // namespace pixembed
