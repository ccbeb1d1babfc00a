// A load generator. Its closed loop keeps a fixed number of requests (stream: images) on their way;
// its open loop sends them at a rate of its own, whatever the server does.
#ifndef PIXEMBED_CLIENT_CPP_LOAD_H_
#define PIXEMBED_CLIENT_CPP_LOAD_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/arrivals.h"
#include "client/cpp/client.h"

namespace pixembed::client {

inline constexpr double kSlowestRate = 1e-6;
inline constexpr double kFastestRate = 1e9;
inline constexpr std::chrono::hours kLongestTime{24 * 365};

struct LoadOptions {
  std::vector<std::string> addresses = {};
  // `channels_per_address` connections share the load; retries are off.
  ClientOptions client = {};
  EmbedOptions embed = {};
  // Sent in turn. Not empty.
  std::vector<Image> images = {};
  // Closed loop. Unary: requests on their way at once. Stream: images, over all streams.
  int concurrency = 1;
  // Unary only.
  int images_per_request = 1;
  // EmbedStream, one stream a channel, instead of Embed.
  bool stream = false;
  // Ends after so many requests (stream: images); 0: after `duration`.
  std::uint64_t requests = 0;
  // Above 0, at most kLongestTime.
  std::chrono::nanoseconds duration = std::chrono::seconds(10);
  // Closed loop, unary only: a pause after each answer before the next request. At most
  // kLongestTime.
  std::chrono::nanoseconds idle_gap{0};
  // Above 0: an open loop of so many requests (stream: images) a second on average, kSlowestRate to
  // kFastestRate. Channels take turns.
  double rate = 0;
  Arrivals arrivals = Arrivals::kPoisson;
  std::uint64_t seed = 0;
  // Open loop: so many may be due and unanswered; what comes due above that is dropped.
  int max_outstanding = 1024;
};

inline constexpr std::array<std::pair<const char*, double>, 7> kPercentiles = {{{"min", 0.0},
                                                                                {"p50", 0.5},
                                                                                {"p90", 0.9},
                                                                                {"p95", 0.95},
                                                                                {"p99", 0.99},
                                                                                {"p999", 0.999},
                                                                                {"max", 1.0}}};

struct LoadReport {
  std::uint64_t requests = 0;  // answered (stream: images)
  // RESOURCE_EXHAUSTED with a time to come back: tried again then; in an open loop lost.
  std::uint64_t refused = 0;
  // Open loop: due while max_outstanding were unanswered, or kept back by Schedule; never sent.
  std::uint64_t dropped = 0;
  std::uint64_t images = 0;                                 // with a vector
  std::map<std::string, std::uint64_t> failed_images = {};  // by reason
  std::chrono::nanoseconds elapsed{0};
  // CPU time of the whole process meanwhile.
  std::chrono::nanoseconds client_cpu{0};
  // Latency of requests (stream: of images) that were answered, from when they were sent; in an
  // open loop from when they were due.
  std::chrono::nanoseconds mean{0};
  std::array<std::chrono::nanoseconds, kPercentiles.size()> percentiles = {};
  // As Latencies::Histogram.
  std::vector<std::pair<std::chrono::nanoseconds, std::uint64_t>> histogram = {};
  // Open loop: from when a request was due to when it was given to gRPC. The generator itself is
  // late if these are not far below the latencies.
  std::chrono::nanoseconds send_delay_p99{0};
  std::chrono::nanoseconds send_delay_max{0};

  double ImagesPerSecond() const;
  std::chrono::nanoseconds ClientCpuPerImage() const;
};

// Errors: INVALID_ARGUMENT names an option that is out of range.
absl::Status CheckLoadOptions(const LoadOptions& options);

// Runs the load and returns when everything that was sent is answered.
// Errors: those of CheckLoadOptions; DEADLINE_EXCEEDED when no connection comes about in time; the
// first error of a call, which ends the run, other than overload and than DEADLINE_EXCEEDED, whose
// images count as failed.
absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options);

std::string ToText(const LoadReport& report);
// One line; times in milliseconds.
std::string ToJson(const LoadReport& report);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_LOAD_H_
