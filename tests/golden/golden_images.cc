#include "tests/golden/golden_images.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

Image ImageOf(std::span<const std::byte> levels, std::int64_t height, std::int64_t width) {
  Image image(static_cast<int>(width), static_cast<int>(height));
  std::memcpy(image.pixels().data(), levels.data(), image.size_bytes());
  return image;
}

}  // namespace

std::vector<Image> GoldenImages(const Weights& expected, const PreprocessSpec& spec) {
  std::vector<Image> images;
  if (const Tensor* const all = expected.Find("images"); all != nullptr) {
    const auto count = static_cast<std::size_t>(all->shape.at(0));
    const std::size_t size = all->bytes.size() / count;
    for (std::size_t i = 0; i < count; ++i) {
      images.push_back(
          ImageOf(all->bytes.subspan(i * size, size), all->shape.at(1), all->shape.at(2)));
    }
    return images;
  }
  for (int i = 0;; ++i) {
    const Tensor* const picture = expected.Find(absl::StrCat("picture.", i));
    if (picture == nullptr) return images;
    images.push_back(
        Resize(ImageOf(picture->bytes, picture->shape.at(0), picture->shape.at(1)), spec));
  }
}

}  // namespace pixembed
