// Images made by hand, right and wrong.
#ifndef PIXEMBED_TESTS_SERVER_TEST_IMAGES_H_
#define PIXEMBED_TESTS_SERVER_TEST_IMAGES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pixembed {

inline void AppendLittleEndian(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
}

// The head of a 24-bit BMP, without pixels.
inline std::string BmpHeader(std::int32_t width, std::int32_t height) {
  constexpr int kHeaderBytes = 54;
  std::string out = "BM";
  AppendLittleEndian(out, kHeaderBytes, 4);  // file size; readers ignore it
  AppendLittleEndian(out, 0, 4);
  AppendLittleEndian(out, kHeaderBytes, 4);  // where the pixels begin
  AppendLittleEndian(out, 40, 4);            // BITMAPINFOHEADER
  AppendLittleEndian(out, static_cast<std::uint32_t>(width), 4);
  AppendLittleEndian(out, static_cast<std::uint32_t>(height), 4);
  AppendLittleEndian(out, 1, 2);   // planes
  AppendLittleEndian(out, 24, 2);  // bits
  out.append(24, '\0');            // no compression, no palette
  return out;
}

// 8x8 pixels of one colour: FakeModel's vector is that colour.
inline std::string SolidImage(int red, int green = 0, int blue = 0) {
  std::string out = BmpHeader(8, 8);
  for (int i = 0; i < 64; ++i) {
    out += {static_cast<char>(blue), static_cast<char>(green), static_cast<char>(red)};
  }
  return out;
}

// An image that cannot be used, and how that is called.
struct BrokenImage {
  std::string data;
  std::string reason;
  std::string text;  // part of the message
};

// Seven ways to be broken, for a server whose --max_image_bytes is `max_bytes`.
inline std::vector<BrokenImage> BrokenImages(std::size_t max_bytes) {
  const std::string png("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0", 29);
  return {
      {"", "EMPTY_IMAGE", ""},
      {"Dear server, this is a text file.\n", "UNSUPPORTED_FORMAT", ""},
      {SolidImage(1).substr(0, 100), "TRUNCATED_IMAGE", ""},
      {png + "no checksum of the header", "CORRUPT_IMAGE", ""},
      {SolidImage(1) + std::string(max_bytes, 'x'), "TOO_MANY_BYTES", "--max_image_bytes"},
      {BmpHeader(60'000, 60'000), "TOO_MANY_PIXELS", "--max_image_pixels"},
      {BmpHeader(70'000, 1), "TOO_MANY_PIXELS", "--max_image_side"},
  };
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_TEST_IMAGES_H_
