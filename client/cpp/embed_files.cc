#include "client/cpp/embed_files.h"

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "client/cpp/image_files.h"
#include "client/cpp/progress.h"
#include "client/cpp/vector_sink.h"

namespace pixembed::client {
namespace {

absl::Status AddToAll(const std::vector<VectorSink*>& sinks, const std::string& id,
                      const Result& result) {
  absl::Status status;
  for (VectorSink* sink : sinks) {
    status.Update(sink->Add(id, result));
  }
  return status;
}

void Count(const std::string& path, const Result& result, EmbedFilesReport& report) {
  if (result.embedding.ok()) {
    ++report.embedded;
    report.fingerprint = result.fingerprint;
    return;
  }
  ++report.failed;
  if (report.failures.size() < kMaxListedFailures) {
    report.failures.emplace_back(path, result.embedding.status());
  }
}

// The failures since the last vector, or since one for another reason.
struct LastFailures {
  absl::Status status;
  std::uint64_t count = 0;

  void Add(const absl::Status& next) {
    count = next == status ? count + 1 : 1;
    status = next;
  }
};

// The images that a stream left unanswered failed with its own status, which is told once.
void Uncount(const LastFailures& last, EmbedFilesReport& report) {
  if (report.status.ok() || last.status != report.status) {
    return;
  }
  report.failed -= last.count;
  if (report.failures.size() > report.failed) {
    report.failures.resize(report.failed);
  }
}

}  // namespace

EmbedFilesReport EmbedFiles(Client& client, const std::vector<ImageFile>& files,
                            const EmbedFilesOptions& options, std::istream& input,
                            const std::vector<VectorSink*>& sinks, Progress& progress) {
  EmbedFilesReport report;
  std::stop_source stop;
  std::size_t taken = 0;
  // Ids stay here: a path need not be UTF-8, and results carry their index.
  const auto next = [&]() -> std::optional<absl::StatusOr<Image>> {
    if (taken == files.size()) {
      return std::nullopt;
    }
    absl::StatusOr<std::string> data = ReadImage(files[taken++], options.max_image_bytes, input);
    return data.ok() ? absl::StatusOr<Image>(Image{.data = *std::move(data)}) : data.status();
  };
  absl::Status sink_status;
  LastFailures last;
  const auto on_result = [&](const Result& result) {
    const std::string& path = files[result.index].path;
    if (!sink_status.ok()) {
      return;
    }
    Count(path, result, report);
    last.Add(result.embedding.status());
    progress.Update(report.embedded + report.failed, report.failed);
    sink_status = AddToAll(sinks, path, result);
    if (!sink_status.ok()) {
      stop.request_stop();
    }
  };
  report.status = client.EmbedStream(options.embed,
                                     {.max_in_flight_images = options.max_in_flight_images,
                                      .ordered = true,
                                      .stop = stop.get_token()},
                                     next, on_result);
  Uncount(last, report);
  if (!sink_status.ok()) {
    report.status = sink_status;
  }
  for (std::size_t i = 0; report.status.ok() && i < sinks.size(); ++i) {
    report.status = sinks[i]->Finish();
  }
  return report;
}

}  // namespace pixembed::client
