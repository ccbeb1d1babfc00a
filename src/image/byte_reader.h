// A cursor over bytes in memory, with the rules of a Python file object: reading past the end gives
// what is left, seeking past the end is allowed. Pillow's plug-ins are written against those rules,
// and some of what they accept depends on them.
#ifndef PIXEMBED_SRC_IMAGE_BYTE_READER_H_
#define PIXEMBED_SRC_IMAGE_BYTE_READER_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace pixembed {

using Bytes = std::span<const std::uint8_t>;

// The number that the first sizeof(Unsigned) bytes spell. REQUIRES: bytes.size() >=
// sizeof(Unsigned).
template <typename Unsigned>
Unsigned LoadNumber(Bytes bytes, std::endian order) {
  Unsigned value = 0;
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
    const std::size_t shift = 8 * (order == std::endian::big ? sizeof(Unsigned) - 1 - i : i);
    value = static_cast<Unsigned>(value | static_cast<Unsigned>(Unsigned{bytes[i]} << shift));
  }
  return value;
}

class ByteReader {
 public:
  ByteReader(Bytes bytes, std::endian order) : bytes_(bytes), order_(order) {}

  std::size_t tell() const { return position_; }
  void Seek(std::size_t position) { position_ = position; }

  // The next `count` bytes, fewer at the end.
  Bytes Read(std::size_t count) {
    const std::size_t start = std::min(position_, bytes_.size());
    const Bytes result = bytes_.subspan(start, std::min(count, bytes_.size() - start));
    position_ += result.size();
    return result;
  }
  // The next `count` bytes, or nothing (and the cursor at the end) where there are fewer.
  std::optional<Bytes> ReadExactly(std::size_t count) {
    const Bytes result = Read(count);
    if (result.size() < count) return std::nullopt;
    return result;
  }
  // The next number in the file's byte order, or nothing where the bytes end.
  template <typename Unsigned>
  std::optional<Unsigned> ReadNumber() {
    const std::optional<Bytes> bytes = ReadExactly(sizeof(Unsigned));
    if (!bytes.has_value()) return std::nullopt;
    return LoadNumber<Unsigned>(*bytes, order_);
  }

 private:
  Bytes bytes_;
  std::endian order_;
  std::size_t position_ = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_BYTE_READER_H_
