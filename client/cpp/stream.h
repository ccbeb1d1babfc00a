// A stream of images over one EmbedStream call, or several where servers go away: a bounded window,
// each image answered exactly once.
#ifndef PIXEMBED_CLIENT_CPP_STREAM_H_
#define PIXEMBED_CLIENT_CPP_STREAM_H_

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "client/cpp/connections.h"

namespace pixembed::client {

// What Client::EmbedStream promises. Of the client's options: `max_message_bytes` (an image above
// it fails alone, unsent), `max_attempts` and `timeout`.
absl::Status RunEmbedStream(Connections& connections, const ClientOptions& client,
                            const EmbedOptions& options, const StreamOptions& stream_options,
                            const ImageSource& next, const ResultSink& on_result);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_STREAM_H_
