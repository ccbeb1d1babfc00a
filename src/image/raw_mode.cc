#include "src/image/raw_mode.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>

#include "src/image/byte_reader.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

using std::uint8_t;

constexpr std::array<uint8_t, 256> MakeBitReversal() {
  std::array<uint8_t, 256> table = {};
  for (unsigned value = 0; value < 256; ++value) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      if ((value >> bit) & 1U) table.at(value) |= static_cast<uint8_t>(128U >> bit);
    }
  }
  return table;
}
constexpr std::array<uint8_t, 256> kBitReversal = MakeBitReversal();

// How the bits of a byte are seen before samples are taken out of it, highest first.
enum class BitOrder { kAsStored, kReversed };

template <BitOrder order>
uint8_t Ordered(uint8_t byte) {
  return order == BitOrder::kReversed ? kBitReversal[byte] : byte;
}

void PutGray(uint8_t* rgb, uint8_t value) {
  rgb[0] = value;
  rgb[1] = value;
  rgb[2] = value;
}

void PutPaletteEntry(uint8_t* rgb, uint8_t index, const Palette& palette) {
  std::memcpy(rgb, palette.data() + std::size_t{index} * 3, 3);
}

uint8_t Clip8(int value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }

// a * b / 255, rounded as Pillow's MULDIV255 does.
int MulDiv255(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// ---- 1, L, P: less than a byte per sample

template <int bits, BitOrder order>
int Sample(const uint8_t* in, int index) {
  constexpr int kPerByte = 8 / bits;
  const unsigned byte = Ordered<order>(in[index / kPerByte]);
  return static_cast<int>(byte >> (8 - bits * (index % kPerByte + 1))) & ((1 << bits) - 1);
}

template <int bits, BitOrder order, bool inverted>
void PackedGray(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  constexpr int kMax = (1 << bits) - 1;
  for (int i = 0; i < pixels; ++i, rgb += 3) {
    const int value = Sample<bits, order>(in, i) * (255 / kMax);
    PutGray(rgb, static_cast<uint8_t>(inverted ? 255 - value : value));
  }
}

template <int bits>
void PackedIndex(const uint8_t* in, uint8_t* rgb, int pixels, const Palette& palette) {
  for (int i = 0; i < pixels; ++i, rgb += 3) {
    PutPaletteEntry(rgb, static_cast<uint8_t>(Sample<bits, BitOrder::kAsStored>(in, i)), palette);
  }
}

// ---- one byte decides: L, LA, P, PA, 16-bit gray by its high byte

template <int stride, int offset>
void Gray(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, in += stride, rgb += 3) PutGray(rgb, in[offset]);
}

void GrayInverted(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, rgb += 3) PutGray(rgb, static_cast<uint8_t>(~in[i]));
}

void GrayReversed(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, rgb += 3) PutGray(rgb, kBitReversal[in[i]]);
}

void BytesAsBits(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, rgb += 3) PutGray(rgb, in[i] > 0 ? 255 : 0);
}

template <int stride>
void Index(const uint8_t* in, uint8_t* rgb, int pixels, const Palette& palette) {
  for (int i = 0; i < pixels; ++i, in += stride, rgb += 3) PutPaletteEntry(rgb, in[0], palette);
}

void IndexReversed(const uint8_t* in, uint8_t* rgb, int pixels, const Palette& palette) {
  for (int i = 0; i < pixels; ++i, rgb += 3) PutPaletteEntry(rgb, kBitReversal[in[i]], palette);
}

// ---- RGB in some order of bytes

void Rgb(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  std::memcpy(rgb, in, static_cast<std::size_t>(pixels) * 3);
}

template <int stride, int red, int green, int blue>
void Triplet(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, in += stride, rgb += 3) {
    rgb[0] = in[red];
    rgb[1] = in[green];
    rgb[2] = in[blue];
  }
}

void RgbReversed(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  std::transform(in, in + std::ptrdiff_t{pixels} * 3, rgb,
                 [](uint8_t byte) { return kBitReversal[byte]; });
}

template <int green_bits>
void PackedBgr(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  constexpr int kGreenMax = (1 << green_bits) - 1;
  for (int i = 0; i < pixels; ++i, in += 2, rgb += 3) {
    const int pixel = in[0] + (in[1] << 8);
    rgb[0] = static_cast<uint8_t>(((pixel >> (5 + green_bits)) & 31) * 255 / 31);
    rgb[1] = static_cast<uint8_t>(((pixel >> 5) & kGreenMax) * 255 / kGreenMax);
    rgb[2] = static_cast<uint8_t>((pixel & 31) * 255 / 31);
  }
}

// Samples `step` bytes apart, pixels `stride` bytes apart, alpha last.
template <int stride, int step, int offset>
void PremultipliedRgb(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, in += stride, rgb += 3) {
    const int alpha = in[3 * step + offset];
    for (int band = 0; band < 3; ++band) {
      const uint8_t value = in[band * step + offset];
      if (alpha == 0) {
        rgb[band] = 0;
      } else {
        rgb[band] = alpha == 255 ? value : Clip8(value * 255 / alpha);
      }
    }
  }
}

// ---- alpha

template <int stride, int offset>
void Alpha(const uint8_t* in, uint8_t* alpha, int pixels) {
  for (int i = 0; i < pixels; ++i, in += stride) alpha[i] = in[offset];
}

// ---- CMYK, YCbCr

template <int stride, int step, int offset, bool inverted>
void Cmyk(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  constexpr int kFlip = inverted ? 255 : 0;
  for (int i = 0; i < pixels; ++i, in += stride, rgb += 3) {
    const int light = 255 - (in[3 * step + offset] ^ kFlip);
    for (int band = 0; band < 3; ++band) {
      rgb[band] = Clip8(light - MulDiv255(in[band * step + offset] ^ kFlip, light));
    }
  }
}

// Source: Pillow 13.0.0 src/libImaging/ConvertYCbCr.c, whose tables these products are: 6 bits of
// fraction, half added, cut towards zero.
int Scaled(double factor, int chroma) {
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): the tables are rounded so
  return static_cast<int>(factor * 64 * (chroma - 128) + 0.5);
}

void YcbcrPixel(const uint8_t* in, uint8_t* rgb) {
  rgb[0] = Clip8(in[0] + (Scaled(1.402, in[2]) >> 6));
  rgb[1] = Clip8(in[0] + ((Scaled(-0.34414, in[1]) + Scaled(-0.71414, in[2])) >> 6));
  rgb[2] = Clip8(in[0] + (Scaled(1.772, in[1]) >> 6));
}

void Ycbcr(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, in += 3, rgb += 3) YcbcrPixel(in, rgb);
}

// ---- wide samples, clipped to 0..255

uint8_t ClipWide(std::int64_t value) {
  return static_cast<uint8_t>(std::clamp<std::int64_t>(value, 0, 255));
}

// Signed or unsigned integers of any width.
template <typename Integer, std::endian order>
void ClippedInteger(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, in += sizeof(Integer), rgb += 3) {
    const auto bits = LoadNumber<std::make_unsigned_t<Integer>>(Bytes(in, sizeof(Integer)), order);
    PutGray(rgb, ClipWide(static_cast<Integer>(bits)));
  }
}

template <std::endian order>
void ClippedFloat(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, in += sizeof(float), rgb += 3) {
    const auto value =
        std::bit_cast<float>(LoadNumber<std::uint32_t>(Bytes(in, sizeof(float)), order));
    uint8_t gray = 0;  // also for NaN: what x86's conversion leaves in the low byte
    if (value >= 255.0F) {
      gray = 255;
    } else if (value > 0.0F) {
      gray = static_cast<uint8_t>(value);
    }
    PutGray(rgb, gray);
  }
}

void Gray16Reversed(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, in += 2, rgb += 3) {
    PutGray(rgb, in[1] == 0 ? kBitReversal[in[0]] : 255);
  }
}

// Two 12-bit samples in three bytes, highest bits first.
void Gray12(const uint8_t* in, uint8_t* rgb, int pixels, const Palette&) {
  for (int i = 0; i < pixels; ++i, rgb += 3) {
    const uint8_t* const at = in + (i / 2) * std::ptrdiff_t{3};
    const int value = i % 2 == 0 ? (at[0] << 4) + (at[1] >> 4) : ((at[1] & 15) << 8) + at[2];
    PutGray(rgb, Clip8(value));
  }
}

constexpr BitOrder kStored = BitOrder::kAsStored;
constexpr BitOrder kReversed = BitOrder::kReversed;
constexpr std::endian kLittle = std::endian::little;
constexpr std::endian kBig = std::endian::big;

constexpr RawMode kRawModes[] = {
    {"1", "1", 1, PackedGray<1, kStored, false>},
    {"1", "1;I", 1, PackedGray<1, kStored, true>},
    {"1", "1;R", 1, PackedGray<1, kReversed, false>},
    {"1", "1;IR", 1, PackedGray<1, kReversed, true>},
    {"1", "L", 8, BytesAsBits},

    {"L", "L;2", 2, PackedGray<2, kStored, false>},
    {"L", "L;2I", 2, PackedGray<2, kStored, true>},
    {"L", "L;2R", 2, PackedGray<2, kReversed, false>},
    {"L", "L;2IR", 2, PackedGray<2, kReversed, true>},
    {"L", "L;4", 4, PackedGray<4, kStored, false>},
    {"L", "L;4I", 4, PackedGray<4, kStored, true>},
    {"L", "L;4R", 4, PackedGray<4, kReversed, false>},
    {"L", "L;4IR", 4, PackedGray<4, kReversed, true>},
    {"L", "L", 8, Gray<1, 0>},
    {"L", "L;I", 8, GrayInverted},
    {"L", "L;R", 8, GrayReversed},
    {"L", "LX", 16, Gray<2, 0>},
    {"LA", "LA", 16, Gray<2, 0>, Alpha<2, 1>},

    {"P", "P;1", 1, PackedIndex<1>},
    {"P", "P;2", 2, PackedIndex<2>},
    {"P", "P;4", 4, PackedIndex<4>},
    {"P", "P", 8, Index<1>},
    {"P", "P;R", 8, IndexReversed},
    {"P", "PX", 16, Index<2>},
    {"PA", "PA", 16, Index<2>, Alpha<2, 1>},

    {"RGB", "RGB", 24, Rgb},
    {"RGB", "RGB;R", 24, RgbReversed},
    {"RGB", "RGB;16L", 48, Triplet<6, 1, 3, 5>},
    {"RGB", "RGB;16N", 48, Triplet<6, 1, 3, 5>},
    {"RGB", "RGB;16B", 48, Triplet<6, 0, 2, 4>},
    {"RGB", "BGR", 24, Triplet<3, 2, 1, 0>},
    {"RGB", "BGR;15", 16, PackedBgr<5>},
    {"RGB", "BGR;16", 16, PackedBgr<6>},
    {"RGB", "RGBX", 32, Triplet<4, 0, 1, 2>},
    {"RGB", "RGBXX", 40, Triplet<5, 0, 1, 2>},
    {"RGB", "RGBXXX", 48, Triplet<6, 0, 1, 2>},
    {"RGB", "RGBX;16L", 64, Triplet<8, 1, 3, 5>},
    {"RGB", "RGBX;16N", 64, Triplet<8, 1, 3, 5>},
    {"RGB", "RGBX;16B", 64, Triplet<8, 0, 2, 4>},
    {"RGB", "BGRX", 32, Triplet<4, 2, 1, 0>},
    {"RGB", "BGXR", 32, Triplet<4, 3, 1, 0>},
    {"RGB", "XBGR", 32, Triplet<4, 3, 2, 1>},

    {"RGBA", "LA;16B", 32, Gray<4, 0>, Alpha<4, 2>},
    {"RGBA", "RGBA", 32, Triplet<4, 0, 1, 2>, Alpha<4, 3>},
    {"RGBA", "RGBAX", 40, Triplet<5, 0, 1, 2>, Alpha<5, 3>},
    {"RGBA", "RGBAXX", 48, Triplet<6, 0, 1, 2>, Alpha<6, 3>},
    {"RGBA", "RGBa", 32, PremultipliedRgb<4, 1, 0>, Alpha<4, 3>},
    {"RGBA", "RGBaX", 40, PremultipliedRgb<5, 1, 0>, Alpha<5, 3>},
    {"RGBA", "RGBaXX", 48, PremultipliedRgb<6, 1, 0>, Alpha<6, 3>},
    {"RGBA", "RGBa;16L", 64, PremultipliedRgb<8, 2, 1>, Alpha<8, 7>},
    {"RGBA", "RGBa;16N", 64, PremultipliedRgb<8, 2, 1>, Alpha<8, 7>},
    {"RGBA", "RGBa;16B", 64, PremultipliedRgb<8, 2, 0>, Alpha<8, 6>},
    {"RGBA", "RGBA;16L", 64, Triplet<8, 1, 3, 5>, Alpha<8, 7>},
    {"RGBA", "RGBA;16N", 64, Triplet<8, 1, 3, 5>, Alpha<8, 7>},
    {"RGBA", "RGBA;16B", 64, Triplet<8, 0, 2, 4>, Alpha<8, 6>},
    {"RGBA", "BGRA", 32, Triplet<4, 2, 1, 0>, Alpha<4, 3>},
    {"RGBA", "ABGR", 32, Triplet<4, 3, 2, 1>, Alpha<4, 0>},
    {"RGBA", "BGAR", 32, Triplet<4, 3, 1, 0>, Alpha<4, 2>},

    {"CMYK", "CMYK", 32, Cmyk<4, 1, 0, false>},
    {"CMYK", "CMYK;I", 32, Cmyk<4, 1, 0, true>},
    {"CMYK", "CMYKX", 40, Cmyk<5, 1, 0, false>},
    {"CMYK", "CMYKXX", 48, Cmyk<6, 1, 0, false>},
    {"CMYK", "CMYK;16L", 64, Cmyk<8, 2, 1, false>},
    {"CMYK", "CMYK;16N", 64, Cmyk<8, 2, 1, false>},
    {"CMYK", "CMYK;16B", 64, Cmyk<8, 2, 0, false>},
    {"YCbCr", "YCbCr", 24, Ycbcr},

    {"I;16", "I;16", 16, ClippedInteger<std::uint16_t, kLittle>},
    {"I;16", "I;16N", 16, ClippedInteger<std::uint16_t, kLittle>},
    {"I;16", "I;16B", 16, ClippedInteger<std::uint16_t, kBig>},
    {"I;16", "I;16R", 16, Gray16Reversed},
    {"I;16", "I;12", 12, Gray12},
    {"I;16B", "I;16B", 16, ClippedInteger<std::uint16_t, kBig>},
    {"I;16B", "I;16N", 16, ClippedInteger<std::uint16_t, kLittle>},
    {"I", "I", 32, ClippedInteger<std::int32_t, kLittle>},
    {"I", "I;16S", 16, ClippedInteger<std::int16_t, kLittle>},
    {"I", "I;16BS", 16, ClippedInteger<std::int16_t, kBig>},
    // Pillow reads unsigned 32-bit samples into signed memory.
    {"I", "I;32N", 32, ClippedInteger<std::int32_t, kLittle>},
    {"I", "I;32S", 32, ClippedInteger<std::int32_t, kLittle>},
    {"I", "I;32BS", 32, ClippedInteger<std::int32_t, kBig>},
    {"F", "F", 32, ClippedFloat<kLittle>},
    {"F", "F;32F", 32, ClippedFloat<kLittle>},
    {"F", "F;32BF", 32, ClippedFloat<kBig>},
};

struct BandName {
  std::string_view mode;
  std::string_view raw_mode;
  int band;
};

constexpr BandName kBandNames[] = {
    {"RGB", "R", 0},  {"RGB", "G", 1},  {"RGB", "B", 2},  {"RGBA", "R", 0},
    {"RGBA", "G", 1}, {"RGBA", "B", 2}, {"RGBA", "A", 3}, {"CMYK", "C", 0},
    {"CMYK", "M", 1}, {"CMYK", "Y", 2}, {"CMYK", "K", 3},
};

}  // namespace

const RawMode* FindRawMode(std::string_view mode, std::string_view raw_mode) {
  const auto* const found = std::ranges::find_if(kRawModes, [mode, raw_mode](const RawMode& row) {
    return row.mode == mode && row.raw_mode == raw_mode;
  });
  return found == std::end(kRawModes) ? nullptr : found;
}

std::optional<int> FindBand(std::string_view mode, std::string_view raw_mode) {
  for (const BandName& row : kBandNames) {
    if (row.mode == mode && row.raw_mode == raw_mode) return row.band;
  }
  return std::nullopt;
}

void BandsToRgb(std::string_view mode, const std::uint8_t* bands, std::uint8_t* rgb, int pixels,
                const Palette& palette) {
  if (mode == "CMYK") {
    Cmyk<4, 1, 0, false>(bands, rgb, pixels, palette);
  } else if (mode == "LA") {
    Gray<4, 0>(bands, rgb, pixels, palette);
  } else if (mode == "PA") {
    Index<4>(bands, rgb, pixels, palette);
  } else {
    Triplet<4, 0, 1, 2>(bands, rgb, pixels, palette);
  }
}

bool HasAlpha(std::string_view mode) { return mode == "LA" || mode == "PA" || mode == "RGBA"; }

void Unpremultiply(std::uint8_t* rgba, int pixels) {
  for (int i = 0; i < pixels; ++i, rgba += 4) {
    std::array<uint8_t, 3> rgb = {};
    PremultipliedRgb<4, 1, 0>(rgba, rgb.data(), 1, {});
    std::ranges::copy(rgb, rgba);
  }
}

std::array<std::uint8_t, 3> BlankPixel(std::string_view mode, const Palette& palette) {
  constexpr std::array<uint8_t, 4> kZero = {};
  std::array<uint8_t, 3> rgb = {};
  if (mode == "P" || mode == "PA") {
    PutPaletteEntry(rgb.data(), 0, palette);
  } else if (mode == "CMYK") {
    BandsToRgb(mode, kZero.data(), rgb.data(), 1, palette);
  } else if (mode == "YCbCr") {
    YcbcrPixel(kZero.data(), rgb.data());
  }
  return rgb;
}

void FillBlank(std::string_view mode, const Palette& palette, Image& image) {
  const std::array<uint8_t, 3> blank = BlankPixel(mode, palette);
  if (blank[0] == blank[1] && blank[1] == blank[2]) {
    std::ranges::fill(image.pixels(), blank[0]);
    return;
  }
  const auto pixels = image.pixels();
  for (std::size_t i = 0; i < pixels.size(); i += 3) {
    std::ranges::copy(blank, pixels.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace pixembed
