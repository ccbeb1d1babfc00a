// The parameters of a ModelInferRequest -> EmbedOptions.
#ifndef PIXEMBED_SERVER_INFERENCE_PARAMETERS_H_
#define PIXEMBED_SERVER_INFERENCE_PARAMETERS_H_

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/map.h"
#include "inference/grpc_service.pb.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed {

using InferParameters = google::protobuf::Map<std::string, inference::InferParameter>;

// What a request asks for beside its images.
struct InferOptions {
  v1::EmbedOptions embed;
  // How long the images may wait, from the request's arrival on.
  std::optional<std::chrono::microseconds> timeout;
};

// Reads
//   pooling, normalize, dimensions, layers ("0,-1"), data_type, exif_orientation, background
//   ("RRGGBB"), lane, expected_fingerprint: as in EmbedOptions, enum values by their names;
//   priority: 1 is the online lane, everything above the bulk lane; `lane` wins;
//   timeout: microseconds; 0 is none.
// The other names that the protocol reserves (sequence_*, headers, binary_data_output, triton_*)
// have no effect.
// Errors: INVALID_OPTION with the parameter, its value, and what is possible; also for one that is
// not known, since a misspelt option would give another vector than the one that was asked for.
absl::StatusOr<InferOptions> ReadInferParameters(const InferParameters& parameters);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_INFERENCE_PARAMETERS_H_
