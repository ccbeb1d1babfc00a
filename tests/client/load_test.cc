#include "client/cpp/load.h"

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"

namespace pixembed::client {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

LoadOptions Load(const FakeServer& server) {
  return {.addresses = {server.address()},
          .images = {{.data = "A"}, {.data = "BB"}, {.data = "bad"}},
          .concurrency = 4,
          .requests = 30};
}

TEST(Latencies, PercentilesAreNearestRanksAndTheMeanIsOfAll) {
  Latencies latencies;
  EXPECT_EQ(latencies.Percentile(0.5), milliseconds(0));
  EXPECT_EQ(latencies.Mean(), milliseconds(0));
  for (int i = 100; i >= 1; --i) {
    latencies.Add(milliseconds(i));
  }
  EXPECT_EQ(latencies.Percentile(0), milliseconds(1));
  EXPECT_EQ(latencies.Percentile(0.5), milliseconds(50));
  EXPECT_EQ(latencies.Percentile(0.99), milliseconds(99));
  EXPECT_EQ(latencies.Percentile(1), milliseconds(100));
  EXPECT_EQ(latencies.Mean(), std::chrono::microseconds(50'500));
}

TEST(Latencies, BeyondTheCapacityASampleStaysAndTheCountGoesOn) {
  Latencies latencies;
  for (std::size_t i = 0; i < Latencies::kCapacity; ++i) {
    latencies.Add(milliseconds(1));
  }
  for (std::size_t i = 0; i < Latencies::kCapacity; ++i) {
    latencies.Add(milliseconds(3));
  }
  EXPECT_EQ(latencies.count(), 2 * Latencies::kCapacity);
  EXPECT_EQ(latencies.Mean(), milliseconds(2));
  EXPECT_EQ(latencies.Percentile(0.4), milliseconds(1));
  EXPECT_EQ(latencies.Percentile(0.6), milliseconds(3));
}

TEST(RunLoad, SendsSoManyUnaryRequestsAndCountsWhatBecameOfTheImages) {
  const FakeServer server;
  LoadOptions options = Load(server);
  options.images_per_request = 3;
  options.client.channels_per_address = 2;
  const auto report = RunLoad(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(server.embedding.calls(), 30);
  EXPECT_EQ(report->requests, 30);
  EXPECT_EQ(report->images, 60);
  EXPECT_THAT(report->failed_images, ElementsAre(Pair("TRUNCATED_IMAGE", 30)));
  EXPECT_GT(report->ImagesPerSecond(), 0);
  EXPECT_LE(report->percentiles.front(), report->percentiles.back());
}

TEST(RunLoad, StreamsSoManyImages) {
  const FakeServer server;
  LoadOptions options = Load(server);
  options.stream = true;
  options.client.channels_per_address = 2;
  const auto report = RunLoad(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 30);
  EXPECT_EQ(report->images, 20);
}

TEST(RunLoad, EndsAfterItsDuration) {
  const FakeServer server;
  LoadOptions options = Load(server);
  options.requests = 0;
  options.duration = milliseconds(20);
  const auto report = RunLoad(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GE(report->elapsed, milliseconds(20));
  EXPECT_GE(report->requests, 1);
}

TEST(RunLoad, PausesBetweenRequests) {
  const FakeServer server;
  LoadOptions options = Load(server);
  options.concurrency = 1;
  options.requests = 3;
  options.idle_gap = milliseconds(20);
  const auto report = RunLoad(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GE(report->elapsed, milliseconds(40));
}

TEST(RunLoad, ComesBackWhenARefusingServerSaid) {
  FakeServer server;
  server.embedding.Set({.refusals = 5, .refusal = Overloaded(milliseconds(1))});
  const auto report = RunLoad(Load(server));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 30);
  EXPECT_EQ(report->refused, 5);
}

TEST(RunLoad, AnotherErrorEndsIt) {
  FakeServer server;
  server.embedding.Set({.refusals = 1000, .refusal = {grpc::UNAVAILABLE, "draining"}});
  for (const bool stream : {false, true}) {
    LoadOptions options = Load(server);
    options.stream = stream;
    EXPECT_TRUE(absl::IsUnavailable(RunLoad(options).status()));
  }
}

TEST(RunLoad, OptionsOutOfRangeAreRefused) {
  const FakeServer server;
  LoadOptions no_images = Load(server);
  no_images.images.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(RunLoad(no_images).status()));
  LoadOptions nobody = Load(server);
  nobody.concurrency = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(RunLoad(nobody).status()));
  LoadOptions paused_stream = Load(server);
  paused_stream.stream = true;
  paused_stream.idle_gap = milliseconds(1);
  EXPECT_TRUE(absl::IsInvalidArgument(RunLoad(paused_stream).status()));
}

TEST(LoadReportText, SaysTheSameInWordsAndInJson) {
  LoadReport report{.requests = 4,
                    .refused = 1,
                    .images = 8,
                    .failed_images = {{"CORRUPT_IMAGE", 2}},
                    .elapsed = std::chrono::seconds(2),
                    .mean = milliseconds(5)};
  report.percentiles.fill(milliseconds(7));
  const std::string text = ToText(report);
  EXPECT_THAT(text, HasSubstr("4.0 images/s: 8 images in 2.00 s; 4 requests, 1 refused"));
  EXPECT_THAT(text, HasSubstr("mean 5.00, min 7.00, p50 7.00"));
  EXPECT_THAT(text, HasSubstr("failed: 2 images, CORRUPT_IMAGE"));
  const auto json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["images_per_second"], 4.0);
  EXPECT_EQ(json["latency_ms"]["p99"], 7.0);
  EXPECT_EQ(json["failed_images"]["CORRUPT_IMAGE"], 2);
}

}  // namespace
}  // namespace pixembed::client
