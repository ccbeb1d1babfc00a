#include "client/cpp/load.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/cpp/channel.h"
#include "client/cpp/client.h"
#include "client/cpp/closed_load.h"
#include "client/cpp/open_load.h"
#include "nlohmann/json.hpp"

namespace pixembed::client {
namespace {

double Milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

absl::Status CheckCounts(const LoadOptions& options) {
  struct Count {
    const char* option;
    int value;
  };
  for (const Count& count : {Count{"concurrency", options.concurrency},
                             Count{"images_per_request", options.images_per_request},
                             Count{"max_outstanding", options.max_outstanding}}) {
    if (count.value < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(count.option, " is ", count.value, "; it must be at least 1"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTimes(const LoadOptions& options) {
  const auto text = [](std::chrono::nanoseconds time) {
    return absl::FormatDuration(absl::FromChrono(time));
  };
  if (options.duration.count() <= 0 || options.duration > kLongestTime) {
    return absl::InvalidArgumentError(absl::StrCat("duration is ", text(options.duration),
                                                   "; it must be above 0 and at most ",
                                                   text(kLongestTime)));
  }
  if (options.idle_gap.count() < 0 || options.idle_gap > kLongestTime) {
    return absl::InvalidArgumentError(absl::StrCat("idle_gap is ", text(options.idle_gap),
                                                   "; possible are 0 to ", text(kLongestTime)));
  }
  return absl::OkStatus();
}

}  // namespace

double LoadReport::ImagesPerSecond() const {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  return seconds > 0 ? static_cast<double>(images) / seconds : 0.0;
}

std::chrono::nanoseconds LoadReport::ClientCpuPerImage() const {
  return images == 0 ? std::chrono::nanoseconds(0) : client_cpu / static_cast<std::int64_t>(images);
}

absl::Status CheckLoadOptions(const LoadOptions& options) {
  absl::Status status = CheckClientOptions(options.addresses, options.client);
  status.Update(CheckCounts(options));
  status.Update(CheckTimes(options));
  if (!status.ok()) {
    return status;
  }
  if (options.images.empty()) {
    return absl::InvalidArgumentError("no image to send");
  }
  if (options.stream && (options.images_per_request > 1 || options.idle_gap.count() != 0)) {
    return absl::InvalidArgumentError(
        "images_per_request and idle_gap are for unary requests, not for a stream");
  }
  const bool is_open = options.rate >= kSlowestRate && options.rate <= kFastestRate;
  if (options.rate != 0 && !is_open) {  // also where it is no number
    return absl::InvalidArgumentError(absl::StrCat("rate is ", options.rate,
                                                   "; possible are 0 and ", kSlowestRate, " to ",
                                                   kFastestRate, " a second"));
  }
  if (options.rate > 0 && options.idle_gap.count() != 0) {
    return absl::InvalidArgumentError("idle_gap is for a closed loop, rate for an open one");
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadReport> RunLoad(const LoadOptions& options) {
  if (absl::Status status = CheckLoadOptions(options); !status.ok()) {
    return status;
  }
  ClientOptions client = options.client;
  client.max_attempts = 1;
  const std::vector<NamedChannel> channels = MakeChannels(options.addresses, client);
  // The first request shall not pay for the connection.
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(10);
  for (const NamedChannel& named : channels) {
    if (!named.channel->WaitForConnected(deadline)) {
      return absl::DeadlineExceededError(
          absl::StrCat(named.address, ": no connection within 10 s"));
    }
  }
  return options.rate > 0 ? RunOpenLoad(channels, options) : RunClosedLoad(channels, options);
}

std::string ToText(const LoadReport& report) {
  std::string text = absl::StrFormat(
      "%.1f images/s: %d images in %.2f s; %d requests, %d refused, %d dropped; client's CPU time "
      "%.0f us an image\nlatency, ms: mean %.2f",
      report.ImagesPerSecond(), report.images, Milliseconds(report.elapsed) / 1000, report.requests,
      report.refused, report.dropped, Milliseconds(report.ClientCpuPerImage()) * 1000,
      Milliseconds(report.mean));
  for (std::size_t i = 0; i < kPercentiles.size(); ++i) {
    absl::StrAppendFormat(&text, ", %s %.2f", kPercentiles[i].first,
                          Milliseconds(report.percentiles[i]));
  }
  if (report.send_delay_max.count() > 0) {
    absl::StrAppendFormat(&text, "\nof these spent before sending: p99 %.2f, max %.2f",
                          Milliseconds(report.send_delay_p99), Milliseconds(report.send_delay_max));
  }
  text += '\n';
  for (const auto& [reason, count] : report.failed_images) {
    absl::StrAppendFormat(&text, "failed: %d images, %s\n", count, reason);
  }
  return text;
}

std::string ToJson(const LoadReport& report) {
  nlohmann::ordered_json json = {
      {"images_per_second", report.ImagesPerSecond()},
      {"images", report.images},
      {"seconds", Milliseconds(report.elapsed) / 1000},
      {"requests", report.requests},
      {"refused", report.refused},
      {"dropped", report.dropped},
      {"failed_images", report.failed_images},
      {"client_cpu_us_per_image", Milliseconds(report.ClientCpuPerImage()) * 1000}};
  json["latency_ms"]["mean"] = Milliseconds(report.mean);
  for (std::size_t i = 0; i < kPercentiles.size(); ++i) {
    json["latency_ms"][kPercentiles[i].first] = Milliseconds(report.percentiles[i]);
  }
  json["send_delay_ms"] = {{"p99", Milliseconds(report.send_delay_p99)},
                           {"max", Milliseconds(report.send_delay_max)}};
  json["latency_histogram_ms"] = nlohmann::ordered_json::array();
  for (const auto& [latency, count] : report.histogram) {
    json["latency_histogram_ms"].push_back({Milliseconds(latency), count});
  }
  return json.dump() + "\n";
}

}  // namespace pixembed::client
