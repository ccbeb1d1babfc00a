#include "src/image/exif.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "src/image/byte_reader.h"
#include "src/image/image.h"
#include "src/image/tiff_directory.h"

namespace pixembed {
namespace {

constexpr std::array<std::uint8_t, 6> kPrefix = {'E', 'x', 'i', 'f', 0, 0};

constexpr std::uint32_t Name(const char (&name)[5]) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(name[i]);
  return value;
}

bool HasPrefix(Bytes bytes) {
  return bytes.size() >= kPrefix.size() &&
         std::equal(kPrefix.begin(), kPrefix.end(), bytes.begin());
}

// The data of the first APP1 segment that is EXIF, up to the first scan.
Bytes FindInJpeg(Bytes bytes) {
  constexpr std::uint8_t kStartOfScan = 0xDA;
  constexpr std::uint8_t kApplication1 = 0xE1;
  ByteReader reader(bytes, std::endian::big);
  reader.Seek(2);
  for (;;) {
    // Between segments there may be junk, and before a marker any number of 0xFF.
    std::optional<std::uint8_t> byte = reader.ReadNumber<std::uint8_t>();
    if (!byte.has_value()) return {};
    if (*byte != 0xFF) continue;
    while (byte == 0xFF) byte = reader.ReadNumber<std::uint8_t>();
    if (!byte.has_value() || *byte == kStartOfScan) return {};
    const bool stands_alone = *byte < 0xC0 || (*byte >= 0xD0 && *byte <= 0xD9);
    if (stands_alone) continue;
    const std::optional<std::uint16_t> length = reader.ReadNumber<std::uint16_t>();
    if (!length.has_value() || *length < 2) return {};
    const Bytes segment = reader.Read(std::size_t{*length} - 2);
    if (*byte == kApplication1 && HasPrefix(segment)) return segment;
  }
}

// The data of the first chunk of a name. PNG has the length before the name and a checksum after
// the data; RIFF the name first, and pads to even lengths.
Bytes FindInPng(Bytes bytes) {
  ByteReader reader(bytes, std::endian::big);
  reader.Seek(8);
  for (;;) {
    const auto length = reader.ReadNumber<std::uint32_t>();
    const auto name = reader.ReadNumber<std::uint32_t>();
    if (!length.has_value() || !name.has_value()) return {};
    const Bytes data = reader.Read(*length);
    if (*name == Name("eXIf")) return data;
    reader.Read(4);
  }
}

Bytes FindInWebp(Bytes bytes) {
  ByteReader reader(bytes, std::endian::little);
  reader.Seek(12);
  for (;;) {
    const std::optional<Bytes> name = reader.ReadExactly(4);
    const auto length = reader.ReadNumber<std::uint32_t>();
    if (!name.has_value() || !length.has_value()) return {};
    const Bytes data = reader.Read(*length);
    if (LoadNumber<std::uint32_t>(*name, std::endian::big) == Name("EXIF")) return data;
    reader.Read(*length & 1U);
  }
}

Bytes FindExif(Format format, Bytes bytes) {
  switch (format) {
    case Format::kJpeg:
      return FindInJpeg(bytes);
    case Format::kPng:
      return FindInPng(bytes);
    case Format::kWebp:
      return FindInWebp(bytes);
    default:
      return {};
  }
}

}  // namespace

int ExifOrientation(Format format, Bytes bytes) {
  constexpr int kUpright = 1;
  constexpr std::int64_t kLast = 8;
  Bytes exif = FindExif(format, bytes);
  while (HasPrefix(exif)) exif = exif.subspan(kPrefix.size());
  if (!HasTiffSignature(exif)) return kUpright;
  const absl::StatusOr<TiffDirectory> directory = TiffDirectory::ReadFirst(exif);
  if (!directory.ok()) return kUpright;
  const std::int64_t value = directory->Integer(TiffTag::kOrientation, kUpright).value_or(kUpright);
  return value > kUpright && value <= kLast ? static_cast<int>(value) : kUpright;
}

}  // namespace pixembed
