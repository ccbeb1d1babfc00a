#include "src/image/image.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace pixembed {

Image::Image(int width, int height, Sample sample)
    : width_(width),
      height_(height),
      sample_(sample),
      data_(std::make_unique_for_overwrite<std::uint8_t[]>(size_bytes())) {}

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
