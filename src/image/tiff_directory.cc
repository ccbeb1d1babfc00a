#include "src/image/tiff_directory.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

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

std::optional<std::int64_t> LoadInteger(std::uint16_t type, Bytes data, std::endian order) {
  switch (type) {
    case kShort:
      return LoadNumber<std::uint16_t>(data, order);
    case kLong:
    case kIfd:
      return LoadNumber<std::uint32_t>(data, order);
    case kSignedByte:
      return static_cast<std::int8_t>(data[0]);
    case kSignedShort:
      return static_cast<std::int16_t>(LoadNumber<std::uint16_t>(data, order));
    case kSignedLong:
      return static_cast<std::int32_t>(LoadNumber<std::uint32_t>(data, order));
    case kLong8:
      return static_cast<std::int64_t>(LoadNumber<std::uint64_t>(data, order));
    default:
      return std::nullopt;
  }
}

}  // namespace

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
  truncated_ = !count.has_value();
  for (std::uint64_t i = 0; i < count.value_or(0) && !truncated_; ++i) {
    truncated_ = !ReadEntry(reader, budget);
  }
}

bool TiffDirectory::ReadEntry(ByteReader& reader, Budget& budget) {
  const std::size_t inline_size = big_ ? 8 : 4;
  const std::optional<Bytes> head = reader.ReadExactly(4);
  if (!head.has_value()) return false;
  const auto tag = static_cast<TiffTag>(LoadNumber<std::uint16_t>(*head, order_));
  const auto type = LoadNumber<std::uint16_t>(head->subspan(2), order_);
  const std::optional<std::uint64_t> count = ReadOffset(reader);
  const std::optional<Bytes> value = reader.ReadExactly(inline_size);
  if (!count.has_value() || !value.has_value()) return false;
  const std::size_t unit = TypeSize(type);
  if (unit == 0 || *count == 0 || entries_.contains(tag)) return true;
  announced_counts_.try_emplace(tag, *count);
  if (*count <= inline_size / unit) {
    entries_[tag] = Entry{.type = type, .data = value->first(*count * unit)};
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
  entries_[tag] = Entry{.type = type, .data = file_.subspan(offset, size)};
  return true;
}

absl::StatusOr<std::vector<std::int64_t>> TiffDirectory::Integers(TiffTag tag) const {
  std::vector<std::int64_t> values;
  const auto entry = entries_.find(tag);
  if (entry == entries_.end()) return values;
  const auto& [type, data] = entry->second;
  const std::size_t unit = TypeSize(type);
  values.reserve(data.size() / unit);
  for (std::size_t at = 0; at < data.size(); at += unit) {
    const std::optional<std::int64_t> value = LoadInteger(type, data.subspan(at, unit), order_);
    if (!value.has_value()) {
      return MakeError(Reason::kCorruptImage,
                       absl::StrCat("TIFF: tag ", static_cast<int>(tag), " has type ", type,
                                    ", which is no integer"));
    }
    values.push_back(*value);
  }
  return values;
}

absl::StatusOr<std::vector<std::int64_t>> TiffDirectory::IntegersOrBytes(TiffTag tag) const {
  const std::optional<Bytes> bytes = ByteString(tag);
  if (!bytes.has_value()) return Integers(tag);
  return std::vector<std::int64_t>(bytes->begin(), bytes->end());
}

absl::StatusOr<std::int64_t> TiffDirectory::Integer(TiffTag tag, std::int64_t fallback) const {
  const absl::StatusOr<std::vector<std::int64_t>> values = Integers(tag);
  if (!values.ok()) return values.status();
  return values->empty() ? fallback : values->front();
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
