// Image files for tests: fixtures, and files put together byte by byte.
#ifndef PIXEMBED_TESTS_IMAGE_DECODE_FILES_H_
#define PIXEMBED_TESTS_IMAGE_DECODE_FILES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pixembed {

// The fixtures of tests/data/decode, sorted. Each shows the 16 x 12 pixels of ExpectedFixturePixel.
std::vector<std::string> FixtureNames();
std::string ReadFixture(std::string_view name);
// Channel 0, 1 or 2 of the pixel that every fixture but the gray ones shows.
int ExpectedFixturePixel(int x, int y, int channel);

inline std::span<const std::byte> AsBytes(std::string_view file) {
  return std::as_bytes(std::span(file.data(), file.size()));
}

// Numbers as a file spells them.
std::string LittleEndian(std::uint64_t value, int bytes);
std::string BigEndian(std::uint64_t value, int bytes);

// "length name data checksum".
std::string PngChunk(std::string_view name, std::string_view data);
// A PNG file of `rows` (filtered, uncompressed), with `before` in front of the image data.
std::string PngFile(std::uint32_t width, std::uint32_t height, int depth, int color_type,
                    std::string_view rows, std::string_view before = "");

// Header and pixels of a Windows bitmap of 40 bytes' header; height may be negative.
std::string BmpFile(int width, int height, int bits, int compression, std::string_view palette,
                    std::string_view pixels);

// A GIF with one frame at (x, y) of the screen; `lzw` is the image data with its code size.
std::string GifFile(int screen_width, int screen_height, std::string_view palette, int x, int y,
                    int width, int height, std::string_view lzw);

// One entry of a TIFF directory: `values` of type SHORT (3) or LONG (4).
struct TiffEntry {
  int tag;
  int type;
  std::vector<std::uint32_t> values;
};
// A little-endian TIFF with one directory, and `data` in one strip that tag 273 points to.
std::string TiffFile(std::vector<TiffEntry> entries, std::string_view data);
// The entries of an uncompressed 8-bit image of `samples` samples.
std::vector<TiffEntry> TiffEntries(std::uint32_t width, std::uint32_t height,
                                   std::uint32_t photometric, std::uint32_t samples);

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_IMAGE_DECODE_FILES_H_
