#include "tests/image/decode_files.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace pixembed {
namespace {

std::filesystem::path FixtureFolder() { return PIXEMBED_DECODE_FIXTURES; }

std::uint32_t Crc32(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0);
  }
  return ~crc;
}

std::uint32_t Adler32(std::string_view bytes) {
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (const char c : bytes) {
    a = (a + static_cast<std::uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}

// A zlib stream of one stored block.
std::string Stored(std::string_view bytes) {
  return absl::StrCat(std::string("\x78\x01\x01", 3), LittleEndian(bytes.size(), 2),
                      LittleEndian(~bytes.size(), 2), std::string(bytes),
                      BigEndian(Adler32(bytes), 4));
}

}  // namespace

std::vector<std::string> FixtureNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(FixtureFolder())) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

std::string ReadFixture(std::string_view name) {
  std::ifstream file(FixtureFolder() / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

int ExpectedFixturePixel(int x, int y, int channel) {
  if (channel == 0) return 16 * x;
  return channel == 1 ? 20 * y : 9 * (x + y);
}

std::string LittleEndian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}

std::string BigEndian(std::uint64_t value, int bytes) {
  std::string text = LittleEndian(value, bytes);
  std::ranges::reverse(text);
  return text;
}

std::string PngChunk(std::string_view name, std::string_view data) {
  const std::string body = absl::StrCat(std::string(name), std::string(data));
  return absl::StrCat(BigEndian(data.size(), 4), body, BigEndian(Crc32(body), 4));
}

std::string PngFile(std::uint32_t width, std::uint32_t height, int depth, int color_type,
                    std::string_view rows, std::string_view before) {
  const std::string header = absl::StrCat(
      BigEndian(width, 4), BigEndian(height, 4), BigEndian(static_cast<std::uint64_t>(depth), 1),
      BigEndian(static_cast<std::uint64_t>(color_type), 1), std::string(3, '\0'));
  return absl::StrCat("\x89PNG\r\n\x1a\n", PngChunk("IHDR", header), std::string(before),
                      PngChunk("IDAT", Stored(rows)), PngChunk("IEND", ""));
}

std::string BmpFile(int width, int height, int bits, int compression, std::string_view palette,
                    std::string_view pixels) {
  const auto number = [](std::int64_t value, int bytes) {
    return LittleEndian(static_cast<std::uint64_t>(value), bytes);
  };
  const auto offset = static_cast<std::int64_t>(54 + palette.size());
  return absl::StrCat("BM", number(offset + static_cast<std::int64_t>(pixels.size()), 4),
                      number(0, 4), number(offset, 4), number(40, 4), number(width, 4),
                      number(height, 4), number(1, 2), number(bits, 2), number(compression, 4),
                      std::string(20, '\0'), std::string(palette), std::string(pixels));
}

std::string GifFile(int screen_width, int screen_height, std::string_view palette, int x, int y,
                    int width, int height, std::string_view lzw) {
  const auto number = [](int value) { return LittleEndian(static_cast<std::uint64_t>(value), 2); };
  int bits = 0;
  while ((std::size_t{6} << bits) < palette.size()) ++bits;
  const char flags = static_cast<char>(palette.empty() ? 0 : 0x80 | bits);
  return absl::StrCat("GIF89a", number(screen_width), number(screen_height), std::string(1, flags),
                      std::string(2, '\0'), std::string(palette), ",", number(x), number(y),
                      number(width), number(height), std::string(1, '\0'), std::string(lzw), ";");
}

std::string TiffFile(std::vector<TiffEntry> entries, std::string_view data) {
  constexpr std::size_t kStart = 8;
  entries.push_back({273, 4, {0}});
  entries.push_back({279, 4, {static_cast<std::uint32_t>(data.size())}});
  std::ranges::sort(entries, {}, &TiffEntry::tag);
  std::size_t pool_at = kStart + 2 + 12 * entries.size() + 4;
  std::string pool;
  std::string directory = LittleEndian(entries.size(), 2);
  std::size_t strip_position = 0;
  for (const TiffEntry& entry : entries) {
    const int width = entry.type == 3 ? 2 : 4;
    std::string values;
    for (const std::uint32_t value : entry.values) values += LittleEndian(value, width);
    directory += LittleEndian(static_cast<std::uint64_t>(entry.tag), 2);
    directory += LittleEndian(static_cast<std::uint64_t>(entry.type), 2);
    directory += LittleEndian(entry.values.size(), 4);
    if (entry.tag == 273) strip_position = kStart + directory.size();
    if (values.size() > 4) {
      directory += LittleEndian(pool_at + pool.size(), 4);
      pool += values;
    } else {
      values.resize(4);
      directory += values;
    }
  }
  std::string file = absl::StrCat("II*", std::string(1, '\0'), LittleEndian(kStart, 4), directory,
                                  std::string(4, '\0'), pool);
  file.replace(strip_position, 4, LittleEndian(file.size(), 4));
  return absl::StrCat(file, std::string(data));
}

std::vector<TiffEntry> TiffEntries(std::uint32_t width, std::uint32_t height,
                                   std::uint32_t photometric, std::uint32_t samples) {
  return {{256, 4, {width}},
          {257, 4, {height}},
          {258, 3, std::vector<std::uint32_t>(samples, 8)},
          {262, 3, {photometric}},
          {277, 3, {samples}},
          {278, 4, {height}}};
}

}  // namespace pixembed
