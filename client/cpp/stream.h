// One EmbedStream call: two threads, a bounded window, each image answered exactly once.
#ifndef PIXEMBED_CLIENT_CPP_STREAM_H_
#define PIXEMBED_CLIENT_CPP_STREAM_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {

// What Client::EmbedStream promises, on a stub. `max_message_bytes`: an image above it fails alone,
// unsent.
absl::Status RunEmbedStream(v1::EmbeddingService::Stub& stub, std::size_t max_message_bytes,
                            const EmbedOptions& options, const StreamOptions& stream_options,
                            const ImageSource& next, const ResultSink& on_result);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_STREAM_H_
