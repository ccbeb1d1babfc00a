// What packed samples mean: Pillow's modes and raw modes, and their convert("RGB").
//
// Pillow decodes in two steps: an unpacker turns a row of a file (its "raw mode") into a row of an
// image mode, and convert("RGB") turns that into pixels. Here both steps are one function per pair.
// Names are Pillow's: "<mode>;<bits><flags>" with I inverted, R bit-reversed, B big-endian, L
// little-endian, N native (this host is little-endian), S signed, F floating point.
// Source: Pillow 13.0.0 src/libImaging/Unpack.c unpackers[], Convert.c converters[].
#ifndef PIXEMBED_SRC_IMAGE_RAW_MODE_H_
#define PIXEMBED_SRC_IMAGE_RAW_MODE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "src/image/byte_reader.h"
#include "src/image/image.h"

namespace pixembed {

// 256 RGB triplets; entries that a file does not give are black.
using Palette = std::array<std::uint8_t, 768>;

struct RawMode {
  std::string_view mode;
  std::string_view raw_mode;
  int bits;  // per pixel
  // `in` holds RowBytes(pixels); `rgb` has room for 3 * pixels. Modes without a palette ignore it.
  void (*to_rgb)(const std::uint8_t* in, std::uint8_t* rgb, int pixels, const Palette& palette);
  // Writes `pixels` alphas, as convert("RGBA") has them; nullptr where every pixel is opaque.
  void (*to_alpha)(const std::uint8_t* in, std::uint8_t* alpha, int pixels) = nullptr;

  std::size_t RowBytes(int pixels) const {
    return (static_cast<std::size_t>(pixels) * static_cast<std::size_t>(bits) + 7) / 8;
  }
};

// The row of a pair, or nullptr where Pillow has no unpacker ("unknown raw mode for given image
// mode") or no conversion to RGB.
const RawMode* FindRawMode(std::string_view mode, std::string_view raw_mode);

// The band (0..3) that a raw mode of one byte per pixel fills, in a file that stores one band after
// the other; nothing where Pillow has no unpacker for it.
std::optional<int> FindBand(std::string_view mode, std::string_view raw_mode);

// Four bytes per pixel, as Pillow stores images of several bands, to RGB.
void BandsToRgb(std::string_view mode, const std::uint8_t* bands, std::uint8_t* rgb, int pixels,
                const Palette& palette);

// Whether images of a mode have an alpha band.
bool HasAlpha(std::string_view mode);

// Divides the colours by alpha. Source: Unpack.c unpackRGBa.
void Unpremultiply(std::uint8_t* rgba, int pixels);

// The RGB of a pixel that nothing was decoded into (Pillow's images start as zeros).
std::array<std::uint8_t, 3> BlankPixel(std::string_view mode, const Palette& palette);
void FillBlank(std::string_view mode, const Palette& palette, Image& image);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_RAW_MODE_H_
