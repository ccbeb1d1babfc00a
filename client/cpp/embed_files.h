// What `pixembed embed` does between its arguments and its exit code.
#ifndef PIXEMBED_CLIENT_CPP_EMBED_FILES_H_
#define PIXEMBED_CLIENT_CPP_EMBED_FILES_H_

#include <cstddef>
#include <cstdint>
#include <istream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "client/cpp/image_files.h"
#include "client/cpp/progress.h"
#include "client/cpp/vector_sink.h"

namespace pixembed::client {

struct EmbedFilesOptions {
  EmbedOptions embed = {};
  int max_in_flight_images = 256;
  // A larger file fails without being sent.
  std::size_t max_image_bytes = std::size_t{32} << 20;
};

struct EmbedFilesReport {
  std::uint64_t embedded = 0;
  std::uint64_t failed = 0;
  // Path and reason, of the first kMaxListedFailures.
  std::vector<std::pair<std::string, absl::Status>> failures = {};
  std::string fingerprint = {};
  // Why the stream ended early, or a sink took no more; the images that were left are not counted.
  absl::Status status = {};
};

inline constexpr std::size_t kMaxListedFailures = 1000;

// Streams the files through the server, in bounded memory and in order, into every sink, and
// finishes the sinks when the stream ended well. `input` is read for the path "-".
EmbedFilesReport EmbedFiles(Client& client, const std::vector<ImageFile>& files,
                            const EmbedFilesOptions& options, std::istream& input,
                            const std::vector<VectorSink*>& sinks, Progress& progress);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_EMBED_FILES_H_
