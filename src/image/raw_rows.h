// Uncompressed rows, as Pillow's "raw" decoder reads them.
// Source: Pillow 13.0.0 src/libImaging/RawDecode.c.
#ifndef PIXEMBED_SRC_IMAGE_RAW_ROWS_H_
#define PIXEMBED_SRC_IMAGE_RAW_ROWS_H_

#include <cstddef>

#include "src/image/byte_reader.h"

namespace pixembed {

// Where the rows of one tile lie.
struct RawRows {
  std::size_t row_bytes;
  // From one row to the next; 0: row_bytes.
  std::size_t stride;
  int rows;
  bool bottom_up;
};

enum class RawRowsResult {
  kOk,
  kTruncated,
  kStrideTooSmall,  // a row does not fit: Pillow refuses the configuration
};

// Calls put(y, row) for every row, in the order of the data. The last row needs no padding.
template <typename Put>
RawRowsResult ReadRawRows(Bytes data, const RawRows& layout, Put put) {
  const std::size_t stride = layout.stride == 0 ? layout.row_bytes : layout.stride;
  if (stride < layout.row_bytes) return RawRowsResult::kStrideTooSmall;
  for (int i = 0; i < layout.rows; ++i) {
    const std::size_t start = static_cast<std::size_t>(i) * stride;
    if (start > data.size() || data.size() - start < layout.row_bytes) {
      return RawRowsResult::kTruncated;
    }
    put(layout.bottom_up ? layout.rows - 1 - i : i, data.data() + start);
  }
  return RawRowsResult::kOk;
}

}  // namespace pixembed

#endif  // PIXEMBED_SRC_IMAGE_RAW_ROWS_H_
