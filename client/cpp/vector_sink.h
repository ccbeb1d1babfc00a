// Where the vectors of `pixembed embed` go.
#ifndef PIXEMBED_CLIENT_CPP_VECTOR_SINK_H_
#define PIXEMBED_CLIENT_CPP_VECTOR_SINK_H_

#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"

namespace pixembed::client {

// Takes results in the order of the images, then Finish once. One thread at a time.
class VectorSink {
 public:
  VectorSink() = default;
  VectorSink(const VectorSink&) = delete;
  VectorSink& operator=(const VectorSink&) = delete;
  virtual ~VectorSink() = default;

  // What became of the image called `id`. Errors: those of the system while writing.
  virtual absl::Status Add(const std::string& id, const Result& result) = 0;
  // Files appear under their names only here, whole.
  virtual absl::Status Finish() = 0;
};

// By the extension of `path`:
// .npy    the vectors as numpy reads them, [N, dimension] float32, in the order of the images that
//         have one; beside it PATH without .npy + ".ids.json": {"ids": [N], "fingerprint"}.
// .jsonl  a line for every image: {"id", "embedding"} or {"id", "error": {"reason", "message"}}.
// `dimension` is the width of an .npy without a row.
// Errors: INVALID_ARGUMENT (another extension); those of the system, naming the path.
absl::StatusOr<std::unique_ptr<VectorSink>> OpenVectorFile(const std::string& path, int dimension);

// A line for every vector: id, dimension and the first numbers, separated by tabs.
std::unique_ptr<VectorSink> NewHeadPrinter(std::ostream& out);

// For each image, once all are there, the first numbers of its vector and its nearest neighbour
// among the others with their cosine. Keeps the vectors; more than kMaxNeighbours is an error.
inline constexpr int kMaxNeighbours = 10'000;
std::unique_ptr<VectorSink> NewNeighbourPrinter(std::ostream& out);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_VECTOR_SINK_H_
