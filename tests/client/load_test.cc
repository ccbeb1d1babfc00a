#include "client/cpp/load.h"

#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/arrivals.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"

namespace pixembed::client {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

LoadOptions Load(const FakeServer& server) {
  return {.addresses = {server.address()},
          .images = {{.data = "A"}, {.data = "BB"}, {.data = "bad"}},
          .concurrency = 4,
          .requests = 30};
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

TEST(RunLoad, WhatComesTooLateIsCountedAsFailedAndTheLoopGoesOn) {
  FakeServer server;
  for (const milliseconds idle_gap : {milliseconds(0), milliseconds(1)}) {
    server.embedding.Set({.refusals = 5, .refusal = {grpc::DEADLINE_EXCEEDED, "late"}});
    LoadOptions options = Load(server);
    options.images_per_request = 3;
    options.idle_gap = idle_gap;
    const auto report = RunLoad(options);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->requests, 25);
    EXPECT_EQ(report->images, 50);
    EXPECT_THAT(report->failed_images,
                ElementsAre(Pair("DEADLINE_EXCEEDED", 15), Pair("TRUNCATED_IMAGE", 25)));
  }
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

// Uniform, faster than anything can be answered.
LoadOptions OpenLoad(const FakeServer& server) {
  LoadOptions options = Load(server);
  options.rate = 100'000;
  options.arrivals = Arrivals::kUniform;
  return options;
}

TEST(RunLoad, AnOpenLoopSendsSoMany) {
  const FakeServer server;
  for (const bool stream : {false, true}) {
    for (const Arrivals arrivals : {Arrivals::kPoisson, Arrivals::kUniform}) {
      LoadOptions options = OpenLoad(server);
      options.arrivals = arrivals;
      options.stream = stream;
      options.client.channels_per_address = 2;
      const auto report = RunLoad(options);
      ASSERT_TRUE(report.ok()) << report.status();
      EXPECT_EQ(report->requests, 30);
      EXPECT_EQ(report->dropped, 0);
      EXPECT_EQ(report->images, 20);
      EXPECT_THAT(report->failed_images, ElementsAre(Pair("TRUNCATED_IMAGE", 10)));
      EXPECT_GT(report->send_delay_max, milliseconds(0));
      EXPECT_LE(report->send_delay_p99, report->percentiles.back());
    }
  }
}

TEST(RunLoad, AnOpenLoopEndsWithTheLastArrivalOfItsDuration) {
  const FakeServer server;
  LoadOptions options = OpenLoad(server);
  options.requests = 0;
  options.rate = 1000;
  options.duration = std::chrono::microseconds(20'500);
  options.images_per_request = 3;
  const auto report = RunLoad(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 20);
  EXPECT_EQ(report->images, 40);
  EXPECT_GE(report->elapsed, milliseconds(20));
}

TEST(RunLoad, AnOpenLoopIsNotBlockedByAnswersAndCountsLatencyFromWhenItIsDue) {
  FakeServer server;
  server.embedding.Set({.hold_after = 10});
  LoadOptions options = OpenLoad(server);
  options.stream = true;
  options.requests = 10;
  options.rate = 1000;
  absl::StatusOr<LoadReport> report;
  std::thread load([&] { report = RunLoad(options); });
  server.embedding.WaitUntilRead(10);  // all of them, and none is answered
  server.embedding.Release();
  load.join();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 10);
  // The first was due 9 ms before the last.
  EXPECT_GE(report->percentiles.back(), milliseconds(9));
}

TEST(RunLoad, AnOpenLoopDropsWhatIsOverItsBound) {
  FakeServer server;
  server.embedding.Set({.hold_after = 4});
  LoadOptions options = OpenLoad(server);
  options.stream = true;
  options.requests = 10'000;
  options.rate = 1e9;
  options.max_outstanding = 4;
  absl::StatusOr<LoadReport> report;
  std::thread load([&] { report = RunLoad(options); });
  server.embedding.WaitUntilRead(4);
  server.embedding.Release();
  load.join();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_GT(report->dropped, 0);
  EXPECT_EQ(report->requests + report->dropped, 10'000);
  options.stream = false;
  report = RunLoad(options);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests + report->dropped, 10'000);
}

TEST(RunLoad, WhatAServerRefusesAnOpenLoopIsLost) {
  FakeServer server;
  server.embedding.Set({.refusals = 5, .refusal = Overloaded(milliseconds(1))});
  auto report = RunLoad(OpenLoad(server));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 25);
  EXPECT_EQ(report->refused, 5);
  server.embedding.Set({.refusals = 5, .refusal = {grpc::DEADLINE_EXCEEDED, "late"}});
  report = RunLoad(OpenLoad(server));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->requests, 25);
  EXPECT_EQ(report->failed_images["DEADLINE_EXCEEDED"], 5);
}

TEST(RunLoad, AnotherErrorEndsAnOpenLoopAtOnce) {
  FakeServer server;
  server.embedding.Set({.refusals = 1'000'000, .refusal = {grpc::UNAVAILABLE, "draining"}});
  for (const bool stream : {false, true}) {
    LoadOptions options = OpenLoad(server);
    options.stream = stream;
    options.requests = 0;
    options.rate = 100;
    options.duration = std::chrono::hours(1);
    EXPECT_TRUE(absl::IsUnavailable(RunLoad(options).status()));
  }
}

TEST(RunLoad, OptionsOutOfRangeAreRefusedByName) {
  const FakeServer server;
  using Change = void (*)(LoadOptions&);
  const std::vector<std::pair<Change, std::string>> cases = {
      {[](LoadOptions& load) { load.images.clear(); }, "no image"},
      {[](LoadOptions& load) { load.concurrency = 0; }, "concurrency is 0; it must be at least 1"},
      {[](LoadOptions& load) { load.images_per_request = 0; }, "images_per_request is 0"},
      {[](LoadOptions& load) { load.max_outstanding = 0; }, "max_outstanding is 0"},
      {[](LoadOptions& load) { load.client.channels_per_address = 0; },
       "channels_per_address is 0; it must be at least 1"},
      {[](LoadOptions& load) { load.client.channels_per_address = -1; }, "it must be at least 1"},
      {[](LoadOptions& load) { load.client.token = "secret"; }, "plain text"},
      {[](LoadOptions& load) { load.client.timeout = milliseconds(-1); }, "timeout is -1 ms"},
      {[](LoadOptions& load) { load.duration = milliseconds(0); },
       "duration is 0; it must be above"},
      {[](LoadOptions& load) { load.duration = milliseconds(-1); }, "duration is -1ms"},
      {[](LoadOptions& load) { load.duration = std::chrono::nanoseconds::max(); }, "at most 8760h"},
      {[](LoadOptions& load) { load.idle_gap = milliseconds(-1); }, "idle_gap is -1ms"},
      {[](LoadOptions& load) { load.idle_gap = std::chrono::nanoseconds::max(); }, "0 to 8760h"},
      {[](LoadOptions& load) { load.idle_gap = milliseconds(1), load.stream = true; }, "a stream"},
      {[](LoadOptions& load) { load.idle_gap = milliseconds(1), load.rate = 1; }, "closed loop"},
      {[](LoadOptions& load) { load.rate = -1; }, "rate is -1; possible are 0 and 1e-06 to 1e+09"},
      {[](LoadOptions& load) { load.rate = 1e-7; }, "rate is 1e-07"},
      {[](LoadOptions& load) { load.rate = 1e10; }, "rate is 1e+10"},
      {[](LoadOptions& load) { load.rate = std::nan(""); }, "rate is nan"},
  };
  for (const auto& [change, text] : cases) {
    LoadOptions options = Load(server);
    change(options);
    const absl::Status status = RunLoad(options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
  EXPECT_EQ(server.embedding.calls(), 0);
}

TEST(LoadReportText, SaysTheSameInWordsAndInJson) {
  LoadReport report{.requests = 4,
                    .refused = 1,
                    .dropped = 3,
                    .images = 8,
                    .failed_images = {{"CORRUPT_IMAGE", 2}},
                    .elapsed = std::chrono::seconds(2),
                    .client_cpu = milliseconds(4),
                    .mean = milliseconds(5),
                    .histogram = {{milliseconds(6), 1}, {milliseconds(7), 3}}};
  report.percentiles.fill(milliseconds(7));
  std::string text = ToText(report);
  EXPECT_THAT(text, HasSubstr("4.0 images/s: 8 images in 2.00 s; 4 requests, 1 refused, 3 dropped; "
                              "client's CPU time 500 us an image"));
  EXPECT_THAT(text, HasSubstr("mean 5.00, min 7.00, p50 7.00"));
  EXPECT_THAT(text, HasSubstr("failed: 2 images, CORRUPT_IMAGE"));
  EXPECT_THAT(text, Not(HasSubstr("before sending")));
  report.send_delay_p99 = milliseconds(1);
  report.send_delay_max = milliseconds(2);
  text = ToText(report);
  EXPECT_THAT(text, HasSubstr("\nof these spent before sending: p99 1.00, max 2.00\n"));
  const auto json = nlohmann::json::parse(ToJson(report));
  EXPECT_EQ(json["images_per_second"], 4.0);
  EXPECT_EQ(json["dropped"], 3);
  EXPECT_EQ(json["client_cpu_us_per_image"], 500.0);
  EXPECT_EQ(json["latency_ms"]["p99"], 7.0);
  EXPECT_EQ(json["send_delay_ms"]["max"], 2.0);
  EXPECT_EQ(json["latency_histogram_ms"], nlohmann::json::parse("[[6.0, 1], [7.0, 3]]"));
  EXPECT_EQ(json["failed_images"]["CORRUPT_IMAGE"], 2);
}

}  // namespace
}  // namespace pixembed::client
