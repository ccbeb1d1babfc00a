// The tensors that KServe v2 sees of a model, and the bytes that they are on the wire.
//
//   in:  images      BYTES [N] or [N, 1], an encoded image each
//   out: embeddings  FP32, or as asked for FP16 or BF16, [N, D]
//        status      BYTES [N, 1], only where a request names it: "" or "REASON: message" per image
#ifndef PIXEMBED_SERVER_INFERENCE_TENSORS_H_
#define PIXEMBED_SERVER_INFERENCE_TENSORS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "inference/grpc_service.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/model/model.h"

namespace pixembed {

inline constexpr char kImagesTensor[] = "images";
inline constexpr char kEmbeddingsTensor[] = "embeddings";
inline constexpr char kStatusTensor[] = "status";
inline constexpr char kBytesDatatype[] = "BYTES";

// A data type of vectors that KServe has a name for. INT8, which needs a scale per vector, and
// BINARY are not among them.
struct TensorType {
  DataType type;
  v1::DataType option;      // of EmbedOptions
  const char* option_name;  // "float32"
  const char* datatype;     // "FP32"
  std::string_view nan;     // one element, little-endian
};
std::span<const TensorType> TensorTypes();

// REQUIRES: the type is among TensorTypes().
const TensorType& TensorTypeOf(DataType type);

// The elements of a BYTES tensor's raw contents: each is its length, 4 bytes, little-endian, and
// then itself. They are views of `raw`.
// Errors: MALFORMED_REQUEST, unless `raw` is exactly `count` elements; both numbers in the text.
absl::StatusOr<std::vector<std::string_view>> SplitBytesTensor(std::string_view raw,
                                                               std::size_t count);

// Appends one element to raw contents. REQUIRES: it is shorter than 4 GiB.
void AppendBytesElement(std::string_view element, std::string& raw);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_INFERENCE_TENSORS_H_
