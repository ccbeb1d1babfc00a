#include "src/image/image.h"

#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>

namespace pixembed {
namespace {

// libjpeg-turbo writes a row that begins at a multiple of 16 or 32 bytes past the caches, and the
// resampler would have to fetch it from memory: a 640x480 JPEG takes 7 % longer then. Rows that are
// whole multiples, as those of most pictures are, begin beside one if the first does.
// Source: libjpeg-turbo 2.1.5 simd/x86_64/jdcolext-avx2.asm, vmovntdq; jdcolext-sse2.asm, movntdq.
constexpr std::align_val_t kAlignment{32};
constexpr std::size_t kBeside = 8;

std::uint8_t* NewPixels(std::size_t bytes) {
  return static_cast<std::uint8_t*>(::operator new(kBeside + bytes, kAlignment)) + kBeside;
}

}  // namespace

void Image::Free::operator()(std::uint8_t* data) const {
  ::operator delete(data - kBeside, kAlignment);
}

Image::Image(int width, int height, Sample sample)
    : width_(width), height_(height), sample_(sample), data_(NewPixels(size_bytes())) {}

std::string_view FormatName(Format format) {
  switch (format) {
    case Format::kJpeg:
      return "JPEG";
    case Format::kPng:
      return "PNG";
    case Format::kWebp:
      return "WebP";
    case Format::kGif:
      return "GIF";
    case Format::kBmp:
      return "BMP";
    case Format::kTiff:
      return "TIFF";
    case Format::kAvif:
      return "AVIF";
  }
  return "unknown";
}

std::string_view BackendName(Backend backend) {
  switch (backend) {
    case Backend::kTorchvision:
      return "torchvision";
    case Backend::kPil:
      return "pil";
  }
  return "unknown";
}

std::string_view FilterName(Filter filter) {
  switch (filter) {
    case Filter::kNearest:
      return "nearest";
    case Filter::kLanczos:
      return "lanczos";
    case Filter::kBilinear:
      return "bilinear";
    case Filter::kBicubic:
      return "bicubic";
    case Filter::kBox:
      return "box";
    case Filter::kHamming:
      return "hamming";
  }
  return "unknown";
}

}  // namespace pixembed
