// TIFF, first page. Pillow decides what the file is; libtiff decompresses.
//
// Uncompressed files never reach libtiff, as in Pillow. Alone among the formats, TIFF has its
// orientation applied.
// Source: Pillow 13.0.0 src/PIL/TiffImagePlugin.py, src/libImaging/TiffDecode.c.
#include <tiffio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/alpha.h"
#include "src/image/byte_reader.h"
#include "src/image/codec.h"
#include "src/image/image.h"
#include "src/image/orientation.h"
#include "src/image/raw_mode.h"
#include "src/image/raw_rows.h"
#include "src/image/tiff_directory.h"

namespace pixembed {
namespace {

absl::Status Corrupt(std::string_view what) {
  return MakeError(Reason::kCorruptImage,
                   absl::StrCat("TIFF: ", absl::string_view(what.data(), what.size())));
}

absl::Status Unsupported(std::string_view what) {
  return MakeError(Reason::kUnsupportedFormat,
                   absl::StrCat("TIFF: ", absl::string_view(what.data(), what.size())));
}

absl::Status Truncated(std::string_view where) {
  return MakeError(
      Reason::kTruncatedImage,
      absl::StrCat("TIFF: the data ends inside ", absl::string_view(where.data(), where.size())));
}

// ---- what the file is

constexpr int kUncompressed = 1;
constexpr int kOldJpeg = 6;
constexpr int kNewJpeg = 7;
constexpr int kLzma = 34925;
constexpr int kZstd = 50000;
// Source: TiffImagePlugin.py COMPRESSION_INFO, without 50001 (WebP), which Pillow's libtiff lacks,
// and 32809 (ThunderScan), of which Debian's libtiff 4.5 leaves out the last run of a row.
constexpr std::array kCompressions = {1,     2,     3,     4,     5,     6,     7,    8,
                                      32771, 32773, 32946, 34676, 34677, 34925, 50000};

constexpr int kYcbcr = 6;
constexpr int kSeparatePlanes = 2;

enum class Order { kBoth, kLittle, kBig };

// A kind of pixels: what the tags say, and what Pillow makes of it.
struct PixelKind {
  Order order;
  int photometric;
  int sample_format;
  int fill_order;
  int bits;     // of every sample
  int samples;  // extra samples included
  int extra_samples;
  std::array<int, 3> extra;
  std::string_view mode;
  std::string_view raw_mode;
};

constexpr Order kBoth = Order::kBoth;
constexpr Order kII = Order::kLittle;
constexpr Order kMM = Order::kBig;
// Source: TiffImagePlugin.py OPEN_INFO. "La" and "LAB" are left out: Pillow cannot convert the
// first to RGB, and the second only with a colour management library.
constexpr PixelKind kPixelKinds[] = {
    {kBoth, 0, 1, 1, 1, 1, 0, {}, "1", "1;I"},
    {kBoth, 0, 1, 2, 1, 1, 0, {}, "1", "1;IR"},
    {kBoth, 1, 1, 1, 1, 1, 0, {}, "1", "1"},
    {kBoth, 1, 1, 2, 1, 1, 0, {}, "1", "1;R"},
    {kBoth, 0, 1, 1, 2, 1, 0, {}, "L", "L;2I"},
    {kBoth, 0, 1, 2, 2, 1, 0, {}, "L", "L;2IR"},
    {kBoth, 1, 1, 1, 2, 1, 0, {}, "L", "L;2"},
    {kBoth, 1, 1, 2, 2, 1, 0, {}, "L", "L;2R"},
    {kBoth, 0, 1, 1, 4, 1, 0, {}, "L", "L;4I"},
    {kBoth, 0, 1, 2, 4, 1, 0, {}, "L", "L;4IR"},
    {kBoth, 1, 1, 1, 4, 1, 0, {}, "L", "L;4"},
    {kBoth, 1, 1, 2, 4, 1, 0, {}, "L", "L;4R"},
    {kBoth, 0, 1, 1, 8, 1, 0, {}, "L", "L;I"},
    {kBoth, 0, 1, 2, 8, 1, 0, {}, "L", "L;IR"},
    {kBoth, 1, 1, 1, 8, 1, 0, {}, "L", "L"},
    {kBoth, 1, 2, 1, 8, 1, 0, {}, "L", "L"},
    {kBoth, 1, 1, 2, 8, 1, 0, {}, "L", "L;R"},
    {kII, 1, 1, 1, 12, 1, 0, {}, "I;16", "I;12"},
    {kII, 0, 1, 1, 16, 1, 0, {}, "I;16", "I;16"},
    {kII, 1, 1, 1, 16, 1, 0, {}, "I;16", "I;16"},
    {kMM, 1, 1, 1, 16, 1, 0, {}, "I;16B", "I;16B"},
    {kII, 1, 1, 2, 16, 1, 0, {}, "I;16", "I;16R"},
    {kII, 1, 2, 1, 16, 1, 0, {}, "I", "I;16S"},
    {kMM, 1, 2, 1, 16, 1, 0, {}, "I", "I;16BS"},
    {kII, 0, 3, 1, 32, 1, 0, {}, "F", "F;32F"},
    {kMM, 0, 3, 1, 32, 1, 0, {}, "F", "F;32BF"},
    {kII, 1, 1, 1, 32, 1, 0, {}, "I", "I;32N"},
    {kII, 1, 2, 1, 32, 1, 0, {}, "I", "I;32S"},
    {kMM, 1, 2, 1, 32, 1, 0, {}, "I", "I;32BS"},
    {kII, 1, 3, 1, 32, 1, 0, {}, "F", "F;32F"},
    {kMM, 1, 3, 1, 32, 1, 0, {}, "F", "F;32BF"},
    {kBoth, 1, 1, 1, 8, 2, 1, {0}, "L", "LX"},
    {kBoth, 1, 1, 1, 8, 2, 1, {2}, "LA", "LA"},
    {kBoth, 2, 1, 1, 8, 3, 0, {}, "RGB", "RGB"},
    {kBoth, 2, 1, 2, 8, 3, 0, {}, "RGB", "RGB;R"},
    {kBoth, 2, 1, 1, 8, 4, 0, {}, "RGBA", "RGBA"},
    {kBoth, 2, 1, 1, 8, 4, 1, {0}, "RGB", "RGBX"},
    {kBoth, 2, 1, 1, 8, 5, 2, {0, 0}, "RGB", "RGBXX"},
    {kBoth, 2, 1, 1, 8, 6, 3, {0, 0, 0}, "RGB", "RGBXXX"},
    {kBoth, 2, 1, 1, 8, 4, 1, {1}, "RGBA", "RGBa"},
    {kBoth, 2, 1, 1, 8, 5, 2, {1, 0}, "RGBA", "RGBaX"},
    {kBoth, 2, 1, 1, 8, 6, 3, {1, 0, 0}, "RGBA", "RGBaXX"},
    {kBoth, 2, 1, 1, 8, 4, 1, {2}, "RGBA", "RGBA"},
    {kBoth, 2, 1, 1, 8, 5, 2, {2, 0}, "RGBA", "RGBAX"},
    {kBoth, 2, 1, 1, 8, 6, 3, {2, 0, 0}, "RGBA", "RGBAXX"},
    {kBoth, 2, 1, 1, 8, 4, 1, {999}, "RGBA", "RGBA"},
    {kII, 2, 1, 1, 16, 3, 0, {}, "RGB", "RGB;16L"},
    {kMM, 2, 1, 1, 16, 3, 0, {}, "RGB", "RGB;16B"},
    {kII, 2, 1, 1, 16, 4, 0, {}, "RGBA", "RGBA;16L"},
    {kMM, 2, 1, 1, 16, 4, 0, {}, "RGBA", "RGBA;16B"},
    {kII, 2, 1, 1, 16, 4, 1, {0}, "RGB", "RGBX;16L"},
    {kMM, 2, 1, 1, 16, 4, 1, {0}, "RGB", "RGBX;16B"},
    {kII, 2, 1, 1, 16, 4, 1, {1}, "RGBA", "RGBa;16L"},
    {kMM, 2, 1, 1, 16, 4, 1, {1}, "RGBA", "RGBa;16B"},
    {kII, 2, 1, 1, 16, 4, 1, {2}, "RGBA", "RGBA;16L"},
    {kMM, 2, 1, 1, 16, 4, 1, {2}, "RGBA", "RGBA;16B"},
    {kBoth, 3, 1, 1, 1, 1, 0, {}, "P", "P;1"},
    {kBoth, 3, 1, 2, 1, 1, 0, {}, "P", "P;1R"},
    {kBoth, 3, 1, 1, 2, 1, 0, {}, "P", "P;2"},
    {kBoth, 3, 1, 2, 2, 1, 0, {}, "P", "P;2R"},
    {kBoth, 3, 1, 1, 4, 1, 0, {}, "P", "P;4"},
    {kBoth, 3, 1, 2, 4, 1, 0, {}, "P", "P;4R"},
    {kBoth, 3, 1, 1, 8, 1, 0, {}, "P", "P"},
    {kBoth, 3, 1, 1, 8, 2, 1, {0}, "P", "PX"},
    {kBoth, 3, 1, 1, 8, 2, 1, {2}, "PA", "PA"},
    {kBoth, 3, 1, 2, 8, 1, 0, {}, "P", "P;R"},
    {kBoth, 5, 1, 1, 8, 4, 0, {}, "CMYK", "CMYK"},
    {kBoth, 5, 1, 1, 8, 5, 1, {0}, "CMYK", "CMYKX"},
    {kBoth, 5, 1, 1, 8, 6, 2, {0, 0}, "CMYK", "CMYKXX"},
    {kII, 5, 1, 1, 16, 4, 0, {}, "CMYK", "CMYK;16L"},
    {kMM, 5, 1, 1, 16, 4, 0, {}, "CMYK", "CMYK;16B"},
    {kBoth, 6, 1, 1, 8, 1, 0, {}, "L", "L"},
    {kBoth, 6, 1, 1, 8, 3, 0, {}, "YCbCr", "YCbCr"},
};
constexpr std::int64_t kMaxSamples = 6;

// The tags that describe a pixel.
struct PixelTags {
  std::int64_t photometric = 0;
  std::int64_t fill_order = 1;
  std::vector<std::int64_t> sample_format;
  std::vector<std::int64_t> bits;
  std::vector<std::int64_t> extra;
};

// The row of Pillow's table that the tags select; nullptr where there is none.
const PixelKind* FindPixelKind(std::endian order, const PixelTags& tags) {
  const auto* const found = std::ranges::find_if(kPixelKinds, [order, &tags](const PixelKind& row) {
    const bool order_fits = row.order == kBoth || (row.order == kMM) == (order == std::endian::big);
    return order_fits && row.photometric == tags.photometric && row.fill_order == tags.fill_order &&
           tags.sample_format.size() == 1 && row.sample_format == tags.sample_format.front() &&
           static_cast<std::size_t>(row.samples) == tags.bits.size() &&
           std::ranges::all_of(tags.bits, [&row](std::int64_t bits) { return bits == row.bits; }) &&
           std::equal(row.extra.begin(), row.extra.begin() + row.extra_samples, tags.extra.begin(),
                      tags.extra.end());
  });
  return found == std::end(kPixelKinds) ? nullptr : found;
}

// The first page.
struct Page {
  // As stored; the orientation may swap them.
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::int64_t compression = kUncompressed;
  std::int64_t planar_configuration = 1;
  std::int64_t photometric = 0;
  int orientation = kUpright;
  const PixelKind* kind = nullptr;
  // The kind's, but where libtiff hands over something else than what the file holds.
  std::string_view mode;
  std::string raw_mode;
  std::int64_t bits_per_pixel = 0;
  // What Pillow divides a row by to get a plane's: samples that the photometric has, and extra
  // ones.
  std::int64_t planes = 1;
  Palette palette = {};
};

// No kind of pixels has more samples; Pillow reads on.
constexpr std::size_t kMaxValues = 65536;

// Reads integers, and keeps the first failure, so that a run of tags needs one check.
class TagReader {
 public:
  explicit TagReader(const TiffDirectory& directory) : directory_(directory) {}

  std::int64_t Integer(TiffTag tag, std::int64_t fallback) {
    const absl::StatusOr<std::int64_t> value = directory_.Integer(tag, fallback);
    status_.Update(value.status());
    return value.value_or(fallback);
  }
  // For tags with a value per sample.
  std::vector<std::int64_t> Integers(TiffTag tag, std::vector<std::int64_t> fallback) {
    const absl::StatusOr<TiffIntegers> values = directory_.Integers(tag);
    status_.Update(values.status());
    if (!values.ok() || values->empty()) return fallback;
    if (values->size() > kMaxValues) {
      status_.Update(Corrupt(absl::StrCat("tag ", static_cast<int>(tag), " has ", values->size(),
                                          " values, more than ", kMaxValues)));
      return fallback;
    }
    std::vector<std::int64_t> kept(values->size());
    for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = (*values)[i];
    return kept;
  }
  const absl::Status& status() const { return status_; }

 private:
  const TiffDirectory& directory_;
  absl::Status status_;
};

// The orientation tag, or else what the XMP packet says. Source: Image.py getexif.
int ReadOrientation(const TiffDirectory& directory) {
  if (directory.Has(TiffTag::kOrientation)) {
    return OrientationOf(directory.Number(TiffTag::kOrientation));
  }
  const std::optional<Bytes> xmp = directory.ByteString(TiffTag::kXmp);
  if (!xmp.has_value()) return kUpright;
  return OrientationOfXmp({reinterpret_cast<const char*>(xmp->data()), xmp->size()});
}

// Three runs of 16-bit values: reds, greens, blues.
absl::StatusOr<Palette> ReadPalette(const TiffDirectory& directory) {
  const absl::StatusOr<TiffIntegers> values = directory.IntegersOrBytes(TiffTag::kColorMap);
  if (!values.ok()) return values.status();
  const std::size_t count = values->size() / 3;
  if (values->empty() || count > 256) {
    return Corrupt(absl::StrCat("a colour map of ", values->size(), " values"));
  }
  Palette palette = {};
  for (std::size_t i = 0; i < values->size(); ++i) {
    const std::int64_t value = (*values)[i];
    if (value < 0 || value > 65535) return Corrupt(absl::StrCat("a colour of ", value));
    if (i < 3 * count) {
      palette.at(i % count * 3 + i / count) = static_cast<std::uint8_t>(value / 256);
    }
  }
  return palette;
}

// Source: TiffImagePlugin.py _setup, from "bps_tuple" to "mode: check".
absl::Status MatchSamples(std::int64_t samples, Page& page, PixelTags& tags) {
  const bool three_colors = page.photometric == 2 || page.photometric == 6 || page.photometric == 8;
  page.planes = page.photometric == 5 ? 4 : 1;
  if (three_colors) page.planes = 3;
  const bool nameless = !tags.extra.empty() && *std::ranges::max_element(tags.extra) == 0;
  if (page.planar_configuration == kSeparatePlanes && nameless) {
    // Extra samples that nobody describes lie in planes of their own, at the end: never read.
    tags.bits.resize(tags.bits.size() - std::min(tags.bits.size(), tags.extra.size()));
    samples -= static_cast<std::int64_t>(tags.extra.size());
    tags.extra.clear();
  }
  page.planes += static_cast<std::int64_t>(tags.extra.size());
  if (samples <= 0 || samples > kMaxSamples) {
    return Unsupported(absl::StrCat(samples, " samples per pixel"));
  }
  const auto count = static_cast<std::size_t>(samples);
  if (count < tags.bits.size() || tags.bits.size() == 1) {
    tags.bits.resize(count, tags.bits.front());
  }
  if (count != tags.bits.size()) {
    return Unsupported(absl::StrCat(tags.bits.size(), " sample sizes for ", samples, " samples"));
  }
  return absl::OkStatus();
}

// What libtiff will hand over, in Pillow's names.
absl::Status AdaptToLibtiff(std::endian order, PixelTags tags, Page& page) {
  if (tags.fill_order == 2) {  // libtiff has turned the bits
    tags.fill_order = 1;
    page.kind = FindPixelKind(order, tags);
    if (page.kind == nullptr) return Unsupported("an unknown kind of pixels");
    page.mode = page.kind->mode;
    page.raw_mode = page.kind->raw_mode;
  }
  if (page.photometric == kYcbcr) {
    const bool converted = page.compression == kNewJpeg && page.planar_configuration == 1;
    page.mode = "RGB";
    page.raw_mode = converted ? "RGB" : "RGBX";
  } else if (page.raw_mode == "I;16") {
    page.raw_mode = "I;16N";
  } else if (page.raw_mode.ends_with(";16B") || page.raw_mode.ends_with(";16L")) {
    page.raw_mode.back() = 'N';
  }
  return absl::OkStatus();
}

absl::StatusOr<Page> ReadPage(const TiffDirectory& directory) {
  if (directory.Has(TiffTag::kWindowsMediaPhoto)) return Unsupported("a Windows Media Photo");
  if (!directory.Has(TiffTag::kImageWidth) || !directory.Has(TiffTag::kImageLength)) {
    return Corrupt("there is no size");
  }
  TagReader reader(directory);
  Page page;
  page.width = reader.Integer(TiffTag::kImageWidth, 0);
  page.height = reader.Integer(TiffTag::kImageLength, 0);
  page.compression = reader.Integer(TiffTag::kCompression, kUncompressed);
  // Of another type it is neither 1 nor 2.
  page.planar_configuration = directory.Integer(TiffTag::kPlanarConfiguration, 1).value_or(0);
  const std::vector<std::int64_t> photometric = reader.Integers(TiffTag::kPhotometric, {0});
  page.photometric = photometric.size() == 1 ? photometric.front() : 0;
  if (page.compression == kOldJpeg) page.photometric = kYcbcr;
  page.orientation = ReadOrientation(directory);

  PixelTags tags;
  tags.photometric = page.photometric;
  tags.fill_order = reader.Integer(TiffTag::kFillOrder, 1);
  tags.sample_format = reader.Integers(TiffTag::kSampleFormat, {1});
  tags.bits = reader.Integers(TiffTag::kBitsPerSample, {1});
  tags.extra = reader.Integers(TiffTag::kExtraSamples, {});
  const std::int64_t samples =
      reader.Integer(TiffTag::kSamplesPerPixel, page.compression == kOldJpeg ? 3 : 1);
  if (!reader.status().ok()) return reader.status();
  if (std::ranges::find(kCompressions, page.compression) == kCompressions.end()) {
    return Unsupported(absl::StrCat("compression ", page.compression));
  }
  if (std::ranges::all_of(tags.sample_format, [&tags](std::int64_t format) {
        return format == tags.sample_format.front();
      })) {
    tags.sample_format.resize(1);
  }
  if (absl::Status status = MatchSamples(samples, page, tags); !status.ok()) return status;
  page.kind = FindPixelKind(directory.order(), tags);
  if (page.kind == nullptr) {
    return Unsupported(absl::StrCat("an unknown kind of pixels (photometric ", page.photometric,
                                    ", ", tags.bits.size(), " samples of ", tags.bits.front(),
                                    " bits)"));
  }
  page.mode = page.kind->mode;
  page.raw_mode = page.kind->raw_mode;
  page.bits_per_pixel = std::int64_t{page.kind->bits} * page.kind->samples;
  if (page.compression != kUncompressed) {
    if (absl::Status status = AdaptToLibtiff(directory.order(), tags, page); !status.ok()) {
      return status;
    }
  }
  if (page.mode == "P" || page.mode == "PA") {
    const absl::StatusOr<Palette> palette = ReadPalette(directory);
    if (!palette.ok()) return palette.status();
    page.palette = *palette;
  }
  return page;
}

// ---- uncompressed pages

// Whether the bands of the page are decoded apart and put together at the end.
bool HasSeparateBands(const Page& page) {
  const bool one_band = page.mode == "1" || page.mode == "L" || page.mode == "P" ||
                        page.mode == "F" || page.mode.starts_with('I');
  // YCbCr never: libtiff puts it together itself, and uncompressed planes of it are not read.
  return page.planar_configuration == kSeparatePlanes && !one_band && page.photometric != kYcbcr;
}

// Where decoded samples go: RGB pixels at once, or bands that become pixels in Finish.
class Canvas {
 public:
  Canvas(const Page& page, int width, int height, std::optional<Color> background)
      : page_(page),
        background_(HasAlpha(page.mode) ? background : std::nullopt),
        image_(width, height),
        bands_(HasSeparateBands(page) ? image_.size_bytes() / 3 * 4 : 0),
        alpha_(background_.has_value() ? image_.size_bytes() / 3 : 0) {
    FillBlank(page.mode, page.palette, image_);
  }

  int width() const { return image_.width(); }
  int height() const { return image_.height(); }

  void PutPixels(const RawMode& raw_mode, int x, int y, int pixels, const std::uint8_t* samples) {
    raw_mode.to_rgb(samples, image_.row(y) + std::ptrdiff_t{x} * 3, pixels, page_.palette);
    if (!alpha_.empty()) raw_mode.to_alpha(samples, AlphaRow(y) + x, pixels);
  }
  // Every `step`-th byte is a sample of the band.
  void PutBand(int band, int x, int y, int pixels, const std::uint8_t* samples, int step) {
    std::uint8_t* out = BandRow(y) + std::ptrdiff_t{x} * 4 + band;
    for (int i = 0; i < pixels; ++i, out += 4, samples += step) *out = *samples;
  }
  void UnpremultiplyBands() {
    for (int y = 0; y < height(); ++y) Unpremultiply(BandRow(y), width());
  }

  Image Finish() {
    for (int y = 0; y < height() && !bands_.empty(); ++y) {
      BandsToRgb(page_.mode, BandRow(y), image_.row(y), width(), page_.palette);
      for (int x = 0; x < width() && !alpha_.empty(); ++x) {
        AlphaRow(y)[x] = BandRow(y)[4 * std::ptrdiff_t{x} + 3];
      }
    }
    if (background_.has_value()) CompositeOnto(*background_, alpha_, image_.pixels());
    return std::move(image_);
  }

 private:
  std::uint8_t* BandRow(int y) {
    return bands_.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width()) * 4;
  }
  std::uint8_t* AlphaRow(int y) {
    return alpha_.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width());
  }

  const Page& page_;
  const std::optional<Color> background_;  // where there is alpha
  Image image_;
  std::vector<std::uint8_t> bands_;
  std::vector<std::uint8_t> alpha_;
};

// A rectangle of the image and its samples. Pillow's tile descriptor.
struct Tile {
  std::int64_t x = 0;
  std::int64_t y = 0;
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::size_t layer = 0;
  std::size_t offset = 0;
  std::size_t stride = 0;
};

// How an uncompressed page is cut.
struct Cut {
  std::int64_t width = 0;
  std::int64_t height = 0;
  TiffIntegers offsets;
  // The first of the offsets that counts.
  std::size_t first = 0;

  std::size_t count() const { return offsets.size() - first; }
  std::int64_t offset(std::size_t i) const { return offsets[first + i]; }
};

absl::StatusOr<Cut> ReadCut(const TiffDirectory& directory, const Page& page) {
  TagReader reader(directory);
  Cut cut;
  if (directory.Has(TiffTag::kStripOffsets)) {
    cut.width = page.width;
    cut.height = reader.Integer(TiffTag::kRowsPerStrip, page.height);
  } else if (directory.Has(TiffTag::kTileOffsets)) {
    cut.width = reader.Integer(TiffTag::kTileWidth, 0);
    cut.height = reader.Integer(TiffTag::kTileLength, 0);
  } else {
    return Corrupt("there is neither a strip nor a tile");
  }
  if (!reader.status().ok()) return reader.status();
  const absl::StatusOr<TiffIntegers> offsets = directory.IntegersOrBytes(
      directory.Has(TiffTag::kStripOffsets) ? TiffTag::kStripOffsets : TiffTag::kTileOffsets);
  if (!offsets.ok()) return offsets.status();
  cut.offsets = *offsets;
  if (cut.width <= 0 || cut.height <= 0) return Corrupt("a strip or tile without pixels");
  if (cut.width == page.width && cut.height == page.height &&
      page.planar_configuration != kSeparatePlanes) {
    cut.first = cut.offsets.size() - 1;  // each covers the image, and the last is painted last
  }
  return cut;
}

// The tile of the offset number `i`.
Tile TileAt(const Page& page, const Cut& cut, std::size_t i) {
  const auto across = static_cast<std::size_t>((page.width + cut.width - 1) / cut.width);
  const auto down = static_cast<std::size_t>((page.height + cut.height - 1) / cut.height);
  Tile tile;
  tile.offset = static_cast<std::size_t>(cut.offset(i));
  tile.x = static_cast<std::int64_t>(i % across) * cut.width;
  tile.y = static_cast<std::int64_t>(i / across % down) * cut.height;
  tile.layer = i / (across * down);
  tile.width = std::min(cut.width, page.width - tile.x);
  tile.height = std::min(cut.height, page.height - tile.y);
  if (tile.width < cut.width) {
    const double row =
        static_cast<double>(cut.width) * static_cast<double>(page.bits_per_pixel) / 8;
    const bool separate = page.planar_configuration == kSeparatePlanes;
    tile.stride = static_cast<std::size_t>(separate ? row / static_cast<double>(page.planes) : row);
  }
  return tile;
}

// The tiles by number, in the order of the file: later ones paint over earlier ones.
absl::StatusOr<std::vector<std::uint32_t>> PlanTiles(const Page& page, const Cut& cut) {
  const std::int64_t across = (page.width + cut.width - 1) / cut.width;
  const std::int64_t down = (page.height + cut.height - 1) / cut.height;
  // A file may name more tiles than the image has room for; one that paints it over and over is
  // made to keep somebody busy.
  if (static_cast<std::int64_t>(cut.count()) > 4 * kMaxSamples * across * down ||
      cut.count() > std::numeric_limits<std::uint32_t>::max()) {
    return Corrupt(absl::StrCat(cut.count(), " strips or tiles, far too many"));
  }
  std::vector<std::uint32_t> tiles(cut.count());
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    tiles[i] = static_cast<std::uint32_t>(i);
    if (cut.offset(i) < 0) return Corrupt(absl::StrCat("a strip or tile at ", cut.offset(i)));
  }
  std::ranges::stable_sort(tiles, {}, [&cut](std::uint32_t i) { return cut.offset(i); });
  return tiles;
}

absl::Status PaintTile(Bytes file, const Page& page, const Tile& tile, Canvas& canvas) {
  std::string_view name = page.raw_mode;
  if (page.planar_configuration == kSeparatePlanes) {
    if (tile.layer >= name.size()) return Corrupt("more planes than the kind of pixels has");
    name = name.substr(tile.layer, 1);
  }
  const std::optional<int> band = FindBand(page.mode, name);
  const RawMode* const raw_mode = FindRawMode(page.mode, name);
  if (!band.has_value() && raw_mode == nullptr) {
    return Unsupported("a layout of samples that the reference does not read");
  }
  const int pixels = static_cast<int>(tile.width);
  const RawRows rows = {
      .row_bytes = band.has_value() ? static_cast<std::size_t>(pixels) : raw_mode->RowBytes(pixels),
      .stride = tile.stride,
      .rows = static_cast<int>(tile.height),
      .bottom_up = false};
  const Bytes data = file.subspan(std::min(tile.offset, file.size()));
  const RawRowsResult result = ReadRawRows(data, rows, [&](int y, const std::uint8_t* samples) {
    const int x = static_cast<int>(tile.x);
    const int image_y = static_cast<int>(tile.y) + y;
    if (band.has_value()) {
      canvas.PutBand(*band, x, image_y, pixels, samples, 1);
    } else {
      canvas.PutPixels(*raw_mode, x, image_y, pixels, samples);
    }
  });
  switch (result) {
    case RawRowsResult::kOk:
      return absl::OkStatus();
    case RawRowsResult::kTruncated:
      return Truncated("the image data");
    case RawRowsResult::kStrideTooSmall:
      break;
  }
  return Corrupt("a tile whose rows do not fit");
}

absl::Status PaintUncompressed(Bytes file, const TiffDirectory& directory, const Page& page,
                               Canvas& canvas) {
  const absl::StatusOr<Cut> cut = ReadCut(directory, page);
  if (!cut.ok()) return cut.status();
  const absl::StatusOr<std::vector<std::uint32_t>> tiles = PlanTiles(page, *cut);
  if (!tiles.ok()) return tiles.status();
  for (const std::uint32_t i : *tiles) {
    if (absl::Status status = PaintTile(file, page, TileAt(page, *cut, i), canvas); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// ---- libtiff

// A file in memory, open in libtiff. Messages are kept, never printed.
class Library {
 public:
  explicit Library(Bytes file) : file_(file) {}
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (tiff_ != nullptr) TIFFClose(tiff_);
  }

  // Opens the directory at `offset`. No allocation of the library's exceeds `max_allocation`.
  absl::Status Open(std::size_t offset, std::size_t max_allocation) {
    static std::once_flag silenced;
    std::call_once(silenced, [] {  // the few messages that belong to no open file
      TIFFSetErrorHandler(nullptr);
      TIFFSetWarningHandler(nullptr);
    });
    const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(
        TIFFOpenOptionsAlloc(), TIFFOpenOptionsFree);
    if (options == nullptr) return MakeError(Reason::kOutOfMemory, "TIFF: no memory");
    TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), static_cast<tmsize_t>(max_allocation));
    TIFFOpenOptionsSetErrorHandlerExtR(options.get(), KeepMessage, this);
    TIFFOpenOptionsSetWarningHandlerExtR(
        options.get(), [](TIFF*, void*, const char*, const char*, va_list) { return 1; }, this);
    tiff_ = TIFFClientOpenExt("memory", "rC", this, Read, Write, Seek, Close, Size, Map, Unmap,
                              options.get());
    if (tiff_ == nullptr || TIFFSetSubDirectory(tiff_, offset) == 0) return Failure();
    return absl::OkStatus();
  }

  TIFF* get() const { return tiff_; }

  absl::Status Failure() const {
    return Corrupt(message_.empty() ? "the library cannot decode it" : message_);
  }

 private:
  static Library& Of(thandle_t handle) { return *static_cast<Library*>(handle); }

  static int KeepMessage(TIFF*, void* self, const char* module, const char* format,
                         va_list values) {
    std::string& message = static_cast<Library*>(self)->message_;
    if (!message.empty()) return 1;  // the first one names the cause
    std::array<char, 256> text = {};
    std::vsnprintf(text.data(), text.size(), format, values);
    message = absl::StrCat(module == nullptr ? "" : module, ": ", text.data());
    return 1;
  }
  static tmsize_t Read(thandle_t handle, void* to, tmsize_t size) {
    Library& self = Of(handle);
    const std::size_t at = std::min<std::size_t>(self.position_, self.file_.size());
    const std::size_t count =
        std::min(static_cast<std::size_t>(std::max<tmsize_t>(size, 0)), self.file_.size() - at);
    std::memcpy(to, self.file_.data() + at, count);
    self.position_ += count;
    return static_cast<tmsize_t>(count);
  }
  static tmsize_t Write(thandle_t, void*, tmsize_t) { return 0; }
  static toff_t Seek(thandle_t handle, toff_t offset, int whence) {
    Library& self = Of(handle);
    if (whence == SEEK_SET) self.position_ = offset;
    if (whence == SEEK_CUR) self.position_ += offset;
    if (whence == SEEK_END) self.position_ = self.file_.size() + offset;
    return self.position_;
  }
  static int Close(thandle_t) { return 0; }
  static toff_t Size(thandle_t handle) { return Of(handle).file_.size(); }
  static int Map(thandle_t handle, void** base, toff_t* size) {
    Bytes file = Of(handle).file_;
    *base = const_cast<std::uint8_t*>(file.data());  // the library does not write to a map
    *size = file.size();
    return 1;
  }
  static void Unmap(thandle_t, void*, toff_t) {}

  Bytes file_;
  toff_t position_ = 0;
  std::string message_;
  TIFF* tiff_ = nullptr;
};

// Pillow holds a strip or tile in an int's worth of memory.
constexpr tmsize_t kMaxBlockBytes = std::numeric_limits<int>::max() - 1;

// Reads the strips or tiles of one page.
class LibraryPainter {
 public:
  LibraryPainter(Library& library, const Page& page, Canvas& canvas)
      : library_(library), tiff_(library.get()), page_(page), canvas_(canvas) {}

  absl::Status Paint() {
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::uint16_t photometric = 0;
    std::uint16_t compression = 0;
    std::uint16_t planar = 0;
    TIFFGetField(tiff_, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(tiff_, TIFFTAG_IMAGELENGTH, &height);
    TIFFGetField(tiff_, TIFFTAG_PHOTOMETRIC, &photometric);
    TIFFGetField(tiff_, TIFFTAG_COMPRESSION, &compression);
    TIFFGetFieldDefaulted(tiff_, TIFFTAG_PLANARCONFIG, &planar);
    if (width != static_cast<std::uint32_t>(canvas_.width()) ||
        height != static_cast<std::uint32_t>(canvas_.height())) {
      return Corrupt("the size is not the one that the library reads");
    }
    if (TIFFIsCODECConfigured(compression) == 0) {
      return Unsupported(absl::StrCat("compression ", compression, " is not built in"));
    }
    raw_mode_ = FindRawMode(page_.mode, page_.raw_mode);
    if (raw_mode_ == nullptr)
      return Unsupported("a kind of pixels that the reference cannot unpack");
    if (compression == COMPRESSION_DEFLATE || compression == COMPRESSION_ADOBE_DEFLATE) {
      // Of a strip with more data than rows, libdeflate gives less than zlib does.
      TIFFSetField(tiff_, TIFFTAG_DEFLATE_SUBCODEC, DEFLATE_SUBCODEC_ZLIB);
    }
    if (photometric == PHOTOMETRIC_YCBCR) {
      if (compression != COMPRESSION_JPEG || planar != PLANARCONFIG_CONTIG) return PaintRgba();
      TIFFSetField(tiff_, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    }
    if (absl::Status status = ChoosePlanes(planar); !status.ok()) return status;
    absl::Status status = TIFFIsTiled(tiff_) != 0 ? PaintTiles() : PaintStrips();
    if (status.ok()) UnpremultiplyPlanes();
    return status;
  }

 private:
  // Pixels of several bands may lie in planes; each is then read alone.
  absl::Status ChoosePlanes(std::uint16_t planar) {
    if (planar != PLANARCONFIG_SEPARATE || !HasSeparateBands(page_)) return absl::OkStatus();
    std::uint16_t bits = 8;
    TIFFGetFieldDefaulted(tiff_, TIFFTAG_BITSPERSAMPLE, &bits);
    if (bits != 8 && bits != 16) return Corrupt(absl::StrCat("planes of ", bits, " bits"));
    sample_bytes_ = bits / 8;
    planes_ = page_.mode == "RGBA" || page_.mode == "CMYK" ? 4 : 3;
    if (page_.mode == "LA" || page_.mode == "PA") planes_ = 2;
    return absl::OkStatus();
  }

  // The bytes of a row of one plane, by Pillow's reckoning.
  tmsize_t RowBytes(std::int64_t width) const {
    return (static_cast<tmsize_t>(width) * raw_mode_->bits / planes_ + 7) / 8;
  }

  // The codecs may fill less than a whole block: what they leave is zero, or of the block before.
  absl::Status MakeBlock(tmsize_t size) {
    if (size <= 0 || size > kMaxBlockBytes) return Corrupt("a strip or tile of an impossible size");
    block_.assign(static_cast<std::size_t>(size), 0);
    return absl::OkStatus();
  }

  void PutRow(int plane, std::int64_t x, std::int64_t y, std::int64_t pixels,
              const std::uint8_t* samples) {
    const int count = static_cast<int>(pixels);
    if (planes_ == 1) {
      canvas_.PutPixels(*raw_mode_, static_cast<int>(x), static_cast<int>(y), count, samples);
    } else {
      // The high byte of a 16-bit sample, which the library gives in this host's order.
      canvas_.PutBand(plane, static_cast<int>(x), static_cast<int>(y), count,
                      samples + sample_bytes_ - 1, sample_bytes_);
    }
  }

  absl::Status PaintTiles() {
    const tmsize_t tile_bytes = TIFFTileSize(tiff_);
    const tmsize_t row_bytes = TIFFTileRowSize(tiff_);
    std::uint32_t tile_width = 0;
    std::uint32_t tile_length = 0;
    TIFFGetField(tiff_, TIFFTAG_TILEWIDTH, &tile_width);
    TIFFGetField(tiff_, TIFFTAG_TILELENGTH, &tile_length);
    if (row_bytes <= 0 || row_bytes > tile_bytes || tile_bytes > kMaxBlockBytes ||
        tile_width == 0 || tile_length == 0 || RowBytes(tile_width) > row_bytes ||
        tile_bytes != RowBytes(tile_width) * static_cast<tmsize_t>(tile_length)) {
      return Corrupt("tiles of another size than the kind of pixels has");
    }
    if (absl::Status status = MakeBlock(tile_bytes); !status.ok()) return status;
    const std::int64_t width = canvas_.width();
    const std::int64_t height = canvas_.height();
    for (std::int64_t y = 0; y < height; y += tile_length) {
      for (int plane = 0; plane < planes_; ++plane) {
        for (std::int64_t x = 0; x < width; x += tile_width) {
          if (TIFFReadTile(tiff_, block_.data(), static_cast<std::uint32_t>(x),
                           static_cast<std::uint32_t>(y), 0,
                           static_cast<std::uint16_t>(plane)) == -1) {
            return library_.Failure();
          }
          const std::int64_t rows = std::min<std::int64_t>(tile_length, height - y);
          for (std::int64_t row = 0; row < rows; ++row) {
            PutRow(plane, x, y + row, std::min<std::int64_t>(tile_width, width - x),
                   block_.data() + row * row_bytes);
          }
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status PaintStrips() {
    const std::int64_t width = canvas_.width();
    const std::int64_t height = canvas_.height();
    std::uint32_t rows_per_strip = 0;
    if (TIFFGetField(tiff_, TIFFTAG_ROWSPERSTRIP, &rows_per_strip) != 1 ||
        rows_per_strip == std::numeric_limits<std::uint32_t>::max()) {
      rows_per_strip = static_cast<std::uint32_t>(height);
    }
    const tmsize_t strip_bytes = TIFFStripSize(tiff_);
    const tmsize_t row_bytes = TIFFScanlineSize(tiff_);
    if (rows_per_strip == 0 || rows_per_strip > std::numeric_limits<int>::max() || row_bytes <= 0 ||
        RowBytes(width) > row_bytes ||
        strip_bytes > RowBytes(width) * static_cast<tmsize_t>(rows_per_strip)) {
      return Corrupt("strips of another size than the kind of pixels has");
    }
    if (absl::Status status = MakeBlock(strip_bytes); !status.ok()) return status;
    for (std::int64_t y = 0; y < height; y += rows_per_strip) {
      for (int plane = 0; plane < planes_; ++plane) {
        const std::uint32_t strip = TIFFComputeStrip(tiff_, static_cast<std::uint32_t>(y),
                                                     static_cast<std::uint16_t>(plane));
        if (TIFFReadEncodedStrip(tiff_, strip, block_.data(), strip_bytes) == -1) {
          return library_.Failure();
        }
        const std::int64_t rows = std::min<std::int64_t>(rows_per_strip, height - y);
        if (rows * row_bytes > strip_bytes) return Corrupt("a strip with too few rows");
        for (std::int64_t row = 0; row < rows; ++row) {
          PutRow(plane, 0, y + row, width, block_.data() + row * row_bytes);
        }
      }
    }
    return absl::OkStatus();
  }

  // Subsampled and old-style YCbCr: the library converts, strip by strip.
  absl::Status PaintRgba() {
    if (raw_mode_->bits != 32) return Corrupt("YCbCr pixels of an unknown kind");
    const std::int64_t width = canvas_.width();
    const std::int64_t height = canvas_.height();
    std::uint32_t block_rows = 0;
    const int tag = TIFFIsTiled(tiff_) != 0 ? TIFFTAG_TILELENGTH : TIFFTAG_ROWSPERSTRIP;
    if (TIFFGetFieldDefaulted(tiff_, static_cast<std::uint32_t>(tag), &block_rows) != 1 ||
        block_rows == std::numeric_limits<std::uint32_t>::max()) {
      block_rows = static_cast<std::uint32_t>(height);
    }
    if (block_rows == 0 || std::numeric_limits<int>::max() / (width * 4) < block_rows) {
      return Corrupt("a strip or tile of an impossible size");
    }
    std::uint16_t across = 1;
    std::uint16_t down = 1;
    TIFFGetFieldDefaulted(tiff_, TIFFTAG_YCBCRSUBSAMPLING, &across, &down);
    if (width < across || height < down) {  // Pillow's libtiff, 4.7, refuses it; Debian's does not
      return Corrupt(absl::StrCat("an image smaller than its chroma's unit of ", across, " x ",
                                  down, " pixels"));
    }
    std::array<char, 1024> reason = {};
    TIFFRGBAImage reader = {};
    if (TIFFRGBAImageOK(tiff_, reason.data()) == 0 ||
        TIFFRGBAImageBegin(&reader, tiff_, 0, reason.data()) == 0) {
      return Corrupt(reason.data());
    }
    const std::unique_ptr<TIFFRGBAImage, decltype(&TIFFRGBAImageEnd)> end(&reader,
                                                                          TIFFRGBAImageEnd);
    reader.orientation = ORIENTATION_TOPLEFT;
    reader.req_orientation = ORIENTATION_TOPLEFT;
    const std::int64_t rows_at_once = std::min<std::int64_t>(block_rows, height);
    if (absl::Status status = MakeBlock(static_cast<tmsize_t>(rows_at_once * width * 4));
        !status.ok()) {
      return status;
    }
    for (std::int64_t y = 0; y < height; y += block_rows) {
      reader.row_offset = static_cast<int>(y);
      reader.col_offset = 0;
      const std::int64_t rows = std::min<std::int64_t>(block_rows, height - y);
      // Aligned: it is the start of an allocation.
      if (TIFFRGBAImageGet(&reader, reinterpret_cast<std::uint32_t*>(block_.data()),
                           static_cast<std::uint32_t>(width),
                           static_cast<std::uint32_t>(rows)) == 0) {
        return library_.Failure();
      }
      for (std::int64_t row = 0; row < rows; ++row) {
        PutRow(0, 0, y + row, width, block_.data() + row * width * 4);
      }
    }
    return absl::OkStatus();
  }

  void UnpremultiplyPlanes() {
    if (planes_ != 4 || page_.mode != "RGBA") return;
    std::uint16_t count = 0;
    std::uint16_t* kinds = nullptr;
    TIFFGetFieldDefaulted(tiff_, TIFFTAG_EXTRASAMPLES, &count, &kinds);
    if (count >= 1 && (kinds[0] == EXTRASAMPLE_UNSPECIFIED || kinds[0] == EXTRASAMPLE_ASSOCALPHA)) {
      canvas_.UnpremultiplyBands();
    }
  }

  Library& library_;
  TIFF* const tiff_;
  const Page& page_;
  Canvas& canvas_;
  const RawMode* raw_mode_ = nullptr;
  int planes_ = 1;
  int sample_bytes_ = 1;
  std::vector<std::uint8_t> block_;
};

// The tags that say where strips or tiles lie.
struct BlockTags {
  TiffTag offsets;
  TiffTag byte_counts;
};

BlockTags BlockTagsOf(const TiffDirectory& directory) {
  if (directory.AnnouncedCount(TiffTag::kStripOffsets) != 0) {
    return {TiffTag::kStripOffsets, TiffTag::kStripByteCounts};
  }
  return {TiffTag::kTileOffsets, TiffTag::kTileByteCounts};
}

// Whether a strip or tile reaches past the end of the file. Only says why decoding failed.
bool DataIsCut(Bytes file, const TiffDirectory& directory) {
  const BlockTags tags = BlockTagsOf(directory);
  const auto offsets = directory.Integers(tags.offsets);
  const auto counts = directory.Integers(tags.byte_counts);
  if (!offsets.ok() || !counts.ok()) return false;
  const auto size = static_cast<std::int64_t>(file.size());
  for (std::size_t i = 0; i < std::min(offsets->size(), counts->size()); ++i) {
    if ((*offsets)[i] > size || (*counts)[i] > size - (*offsets)[i]) return true;
  }
  return false;
}

// Pillow's libtiff, 4.7, refuses a table whose columns differ in length, unless it loads it late;
// Debian's fills the gaps.
absl::Status CheckBlockTable(const TiffDirectory& directory, TIFF* tiff) {
  constexpr std::uint32_t kLoadedAtOnce = 4;
  const BlockTags tags = BlockTagsOf(directory);
  const std::uint64_t offsets = directory.AnnouncedCount(tags.offsets);
  const std::uint64_t counts = directory.AnnouncedCount(tags.byte_counts);
  if (offsets == counts || offsets == 0 || counts == 0) return absl::OkStatus();
  const std::uint32_t blocks =
      TIFFIsTiled(tiff) != 0 ? TIFFNumberOfTiles(tiff) : TIFFNumberOfStrips(tiff);
  if (blocks > kLoadedAtOnce) return absl::OkStatus();
  return Corrupt(absl::StrCat(offsets, " strips or tiles, but ", counts, " byte counts"));
}

absl::Status PaintCompressed(Bytes file, const TiffDirectory& directory, const Page& page,
                             std::size_t max_allocation, Canvas& canvas) {
  Library library(file);
  absl::Status status = library.Open(directory.offset(), max_allocation);
  if (status.ok()) status = CheckBlockTable(directory, library.get());
  if (status.ok()) status = LibraryPainter(library, page, canvas).Paint();
  if (!status.ok() && ReasonOf(status) == Reason::kCorruptImage && DataIsCut(file, directory)) {
    return Truncated("the image data");
  }
  return status;
}

// ---- the codec

// What the decompressors of two compressions reserve for what they may look back at. libtiff lets a
// file announce as much as the format has room for; only what was decoded is ever touched.
std::size_t WindowBytes(std::int64_t compression) {
  constexpr std::size_t kTables = std::size_t{4} << 20;
  if (compression == kLzma) return (std::size_t{4} << 30) + kTables;
  if (compression == kZstd)
    return (std::size_t{128} << 20) + kTables;  // ZSTD_WINDOWLOG_LIMIT_DEFAULT
  return 0;
}

// The largest block that libtiff decodes at once: a tile may be larger than the image.
absl::StatusOr<std::int64_t> BlockPixels(const TiffDirectory& directory, const Page& page,
                                         const DecodeLimits& limits) {
  if (page.compression == kUncompressed) return 0;
  const std::int64_t image = page.width * page.height;
  if (!directory.Has(TiffTag::kTileWidth) || !directory.Has(TiffTag::kTileLength)) return image;
  // Of the types that are no integers to Pillow libtiff takes one here: BYTE.
  constexpr std::int64_t kMaxByte = 255;
  const std::int64_t width = directory.Integer(TiffTag::kTileWidth, 0).value_or(kMaxByte);
  const std::int64_t height = directory.Integer(TiffTag::kTileLength, 0).value_or(kMaxByte);
  if (absl::Status status = CheckSize(Format::kTiff, width, height, limits); !status.ok()) {
    return Annotate(status, "a tile");
  }
  return std::max(image, width * height);
}

// What PlanTiles needs, its sorting included.
std::size_t PlanBytes(const TiffDirectory& directory, const Page& page) {
  if (page.compression != kUncompressed) return 0;
  const TiffTag tag =
      directory.Has(TiffTag::kStripOffsets) ? TiffTag::kStripOffsets : TiffTag::kTileOffsets;
  const absl::StatusOr<TiffIntegers> offsets = directory.IntegersOrBytes(tag);
  return offsets.ok() ? offsets->size() * 2 * sizeof(std::uint32_t) : 0;
}

absl::StatusOr<ImageHeader> HeaderOf(Bytes file, const TiffDirectory& directory, const Page& page,
                                     const DecodeLimits& limits) {
  if (absl::Status status = CheckSize(Format::kTiff, page.width, page.height, limits);
      !status.ok()) {
    return status;
  }
  const absl::StatusOr<std::int64_t> block = BlockPixels(directory, page, limits);
  if (!block.ok()) return block.status();
  const auto pixels = static_cast<std::size_t>(page.width * page.height);
  const std::size_t oriented = page.orientation != kUpright ? pixels * 3 : 0;
  const std::size_t bands = HasSeparateBands(page) ? pixels * 4 : 0;
  // A block of at most 8 bytes a pixel, twice: ours, and the library's where it converts.
  const std::size_t blocks = static_cast<std::size_t>(*block) * 16;
  // The library copies the data of tags: a colour profile may be most of the file.
  const std::size_t library =
      page.compression == kUncompressed ? 0 : file.size() + WindowBytes(page.compression);
  constexpr std::size_t kTables = std::size_t{4} << 20;
  const bool swapped = SwapsSides(page.orientation);
  absl::StatusOr<ImageHeader> header =
      HeaderFor(Format::kTiff, page.mode, swapped ? page.height : page.width,
                swapped ? page.width : page.height,
                oriented + bands + blocks + PlanBytes(directory, page) + library + kTables, limits);
  if (header.ok() && page.orientation >= 2 && page.orientation <= 8) {
    header->orientation = static_cast<int>(page.orientation);
  }
  return header;
}

// A directory that is cut short explains whatever is wrong with it.
absl::Status Explained(const absl::Status& status, const TiffDirectory& directory) {
  const auto reason = ReasonOf(status);
  const bool wrong = reason == Reason::kCorruptImage || reason == Reason::kUnsupportedFormat;
  return wrong && directory.truncated() ? Truncated("the directory") : status;
}

absl::StatusOr<ImageHeader> ReadTiffHeader(Bytes bytes, const DecodeLimits& limits) {
  const absl::StatusOr<TiffDirectory> directory = TiffDirectory::ReadFirst(bytes);
  if (!directory.ok()) return directory.status();
  const absl::StatusOr<Page> page = ReadPage(*directory);
  if (!page.ok()) return Explained(page.status(), *directory);
  return HeaderOf(bytes, *directory, *page, limits);
}

absl::StatusOr<Image> DecodeTiff(Bytes bytes, const ImageHeader& header, const DecodeLimits&,
                                 const Needed& needed) {
  const absl::StatusOr<TiffDirectory> directory = TiffDirectory::ReadFirst(bytes);
  if (!directory.ok()) return directory.status();
  const absl::StatusOr<Page> page = ReadPage(*directory);
  if (!page.ok()) return Explained(page.status(), *directory);
  Canvas canvas(*page, static_cast<int>(page->width), static_cast<int>(page->height),
                needed.background);
  const absl::Status status =
      page->compression == kUncompressed
          ? PaintUncompressed(bytes, *directory, *page, canvas)
          : PaintCompressed(bytes, *directory, *page,
                            header.decoded_bytes - WindowBytes(page->compression), canvas);
  if (!status.ok()) return Explained(status, *directory);
  return Oriented(canvas.Finish(), page->orientation);
}

}  // namespace

const Codec kTiffCodec = {.format = Format::kTiff,
                          .accepts = HasTiffSignature,
                          .read_header = ReadTiffHeader,
                          .decode = DecodeTiff};

}  // namespace pixembed
