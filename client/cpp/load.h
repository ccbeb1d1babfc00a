// A closed-loop load generator: a fixed number of requests (or images) is always on its way.
#ifndef PIXEMBED_CLIENT_CPP_LOAD_H_
#define PIXEMBED_CLIENT_CPP_LOAD_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/cpp/client.h"

namespace pixembed::client {

struct LoadOptions {
  std::vector<std::string> addresses = {};
  // `channels_per_address` connections share the load; retries are off.
  ClientOptions client = {};
  EmbedOptions embed = {};
  // Sent in turn. Not empty.
  std::vector<Image> images = {};
  // Unary: requests on their way at once. Stream: images, over all streams.
  int concurrency = 1;
  // Unary only.
  int images_per_request = 1;
  // EmbedStream, one stream a channel, instead of Embed.
  bool stream = false;
  // Ends after so many requests (stream: images); 0: after `duration`.
  std::uint64_t requests = 0;
  std::chrono::nanoseconds duration = std::chrono::seconds(10);
  // Unary only: a pause after each answer before the next request.
  std::chrono::nanoseconds idle_gap{0};
};

// Latencies of any number of requests in bounded memory: all of them up to kCapacity, a uniform
// sample beyond. One thread at a time.
class Latencies {
 public:
  static constexpr std::size_t kCapacity = 1'000'000;

  void Add(std::chrono::nanoseconds latency);
  std::uint64_t count() const { return count_; }
  // Of the sample, nearest rank; 0 <= share <= 1; 0 of none.
  std::chrono::nanoseconds Percentile(double share);
  // Of all.
  std::chrono::nanoseconds Mean() const;

 private:
  std::vector<std::chrono::nanoseconds> sample_;
  bool sorted_ = true;
  std::uint64_t count_ = 0;
  double sum_ = 0;  // nanoseconds
  std::mt19937_64 random_{0x9E3779B97F4A7C15};
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
  std::uint64_t refused = 0;   // RESOURCE_EXHAUSTED with a time to come back; tried again then
  std::uint64_t images = 0;    // with a vector
  std::map<std::string, std::uint64_t> failed_images = {};  // by reason
  std::chrono::nanoseconds elapsed{0};
  // Of requests (stream: of images).
  std::chrono::nanoseconds mean{0};
  std::array<std::chrono::nanoseconds, kPercentiles.size()> percentiles = {};

  double ImagesPerSecond() const;
};

// Runs the load and returns when everything that was sent is answered.
// Errors: INVALID_ARGUMENT for an option out of range; the first error of a call other than
// overload, which ends the run; DEADLINE_EXCEEDED when no connection comes about in time.
absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options);

std::string ToText(const LoadReport& report);
// One line; times in milliseconds.
std::string ToJson(const LoadReport& report);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_LOAD_H_
