// A stream outlives its server, and so does a call.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_service.h"

namespace pixembed::client {
namespace {

using ::testing::SizeIs;

// No limit, so that a test under load does not meet it.
constexpr std::chrono::milliseconds kNever(0);

std::unique_ptr<Client> ConnectTo(const FakeServer& server, const ClientOptions& options = {}) {
  return *Client::Connect({server.address()}, options);
}

constexpr int kEndless = 1 << 30;

// So many images of one byte.
ImageSource Source(int count) {
  return [count, taken = 0]() mutable -> std::optional<absl::StatusOr<Image>> {
    if (taken == count) {
      return std::nullopt;
    }
    ++taken;
    return Image{.data = "A"};
  };
}

struct Outcome {
  absl::Status status;
  std::vector<std::uint64_t> order;  // of the answers
  int failed = 0;
};

Outcome Stream(Client& client, const ImageSource& source, const StreamOptions& options = {}) {
  Outcome outcome;
  outcome.status = client.EmbedStream({}, options, source, [&](const Result& result) {
    outcome.order.push_back(result.index);
    outcome.failed += result.embedding.ok() ? 0 : 1;
  });
  return outcome;
}

std::vector<std::uint64_t> UpTo(std::uint64_t count) {
  std::vector<std::uint64_t> all(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    all[i] = i;
  }
  return all;
}

TEST(Recovery, AStreamGoesOnAsLongAsResultsCome) {
  for (const grpc::StatusCode code : {grpc::UNAVAILABLE, grpc::CANCELLED}) {
    FakeServer server;
    server.embedding.Set({.break_after = 3, .broken = {code, "broken"}});
    const Outcome outcome =
        Stream(*ConnectTo(server, {.timeout = kNever, .max_attempts = 2}), Source(10));
    EXPECT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.order, UpTo(10));
    EXPECT_EQ(outcome.failed, 0);
    EXPECT_EQ(server.embedding.calls(), 4);
    // What follows a break must be of the space of what came before.
    EXPECT_EQ(server.embedding.last_options().expected_fingerprint(), kFingerprint);
  }
}

TEST(Recovery, EachImageIsAnsweredOnceWhateverTheOrder) {
  FakeServer server;
  server.embedding.Set({.reverse = 4, .break_after = 4});
  Outcome outcome = Stream(*ConnectTo(server, {.timeout = kNever}), Source(50));
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_NE(outcome.order, UpTo(50));
  std::sort(outcome.order.begin(), outcome.order.end());
  EXPECT_EQ(outcome.order, UpTo(50));
}

TEST(Recovery, ImagesThatCannotBeSentKeepTheirPlaceInTheOrder) {
  FakeServer server;
  server.embedding.Set({.break_after = 3});
  const ImageSource source = [taken = 0]() mutable -> std::optional<absl::StatusOr<Image>> {
    switch (taken++ % 10) {
      case 0:
      case 7:
        return absl::NotFoundError("no such file");
      case 8:
        return Image{.data = std::string(2000, 'x')};
      default:
        return taken > 60 ? std::nullopt : std::optional(absl::StatusOr<Image>(Image{.data = "A"}));
    }
  };
  const Outcome outcome = Stream(*ConnectTo(server, {.timeout = kNever, .max_message_bytes = 1000}),
                                 source, {.ordered = true});
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.order, UpTo(61));
  EXPECT_EQ(outcome.failed, 19);
}

TEST(Recovery, AStreamThatBreaksAfterItsLastResultIsWhole) {
  FakeServer server;
  server.embedding.Set({.end = {grpc::UNAVAILABLE, "broken"}});
  const Outcome outcome = Stream(*ConnectTo(server, {.max_attempts = 1}), Source(10));
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.order, SizeIs(10));
  EXPECT_EQ(server.embedding.calls(), 1);
}

TEST(Recovery, TheWindowHoldsOverABreak) {
  FakeServer server;
  server.embedding.Set({.silent_calls = 3, .silent_reads = 4});
  std::atomic<int> taken = 0;
  std::atomic<int> answered = 0;
  const absl::Status status = ConnectTo(server, {.timeout = kNever})
                                  ->EmbedStream(
                                      {}, {.max_in_flight_images = 4, .ordered = true},
                                      [&]() -> std::optional<absl::StatusOr<Image>> {
                                        EXPECT_LT(taken - answered, 4);
                                        if (taken == 50) {
                                          return std::nullopt;
                                        }
                                        ++taken;
                                        return Image{.data = "A"};
                                      },
                                      [&](const Result& result) {
                                        EXPECT_EQ(result.index, answered);
                                        ++answered;
                                      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answered, 50);
  EXPECT_EQ(server.embedding.calls(), 4);
}

TEST(Recovery, AStreamWithoutResultsIsGivenUp) {
  FakeServer server;
  server.embedding.Set({.refusals = 100, .refusal = {grpc::UNAVAILABLE, "broken"}});
  const Outcome outcome =
      Stream(*ConnectTo(server, {.timeout = kNever, .max_attempts = 3}), Source(10));
  EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status;
  EXPECT_EQ(outcome.failed, static_cast<int>(outcome.order.size()));
  EXPECT_EQ(server.embedding.calls(), 3);
}

TEST(Recovery, WhatIsNoFaultOfTheConnectionEndsTheStream) {
  const std::vector<grpc::Status> ends = {{grpc::INVALID_ARGUMENT, "broken"},
                                          {grpc::RESOURCE_EXHAUSTED, "no time to come back"}};
  for (const grpc::Status& end : ends) {
    FakeServer server;
    server.embedding.Set({.break_after = 3, .broken = end});
    const Outcome outcome = Stream(*ConnectTo(server), Source(10));
    EXPECT_EQ(static_cast<int>(outcome.status.code()), end.error_code());
    EXPECT_EQ(static_cast<int>(outcome.order.size()) - outcome.failed, 3);
    EXPECT_EQ(server.embedding.calls(), 1);
  }
}

TEST(Recovery, AStreamThatWasRefusedForLoadComesBack) {
  FakeServer server;
  server.embedding.Set({.refusals = 2, .refusal = Overloaded(std::chrono::milliseconds(1))});
  const Outcome outcome = Stream(*ConnectTo(server), Source(10));
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.order, UpTo(10));
  EXPECT_EQ(server.embedding.calls(), 3);
}

TEST(Recovery, ADrainIsWaitedForMoreOftenThanThereAreAttempts) {
  FakeServer server;
  server.embedding.Set({.refusals = 4, .refusal = Draining()});
  const Outcome outcome =
      Stream(*ConnectTo(server, {.timeout = kNever, .max_attempts = 2}), Source(10));
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.order, UpTo(10));
  EXPECT_EQ(server.embedding.calls(), 5);
}

TEST(Recovery, ADrainIsNotWaitedForWithoutRetriesNorPastTheTimeout) {
  FakeServer server;
  server.embedding.Set({.refusals = 1 << 20, .refusal = Draining()});
  EXPECT_EQ(ErrorReason(Stream(*ConnectTo(server, {.max_attempts = 1}), Source(1)).status),
            "DRAINING");
  EXPECT_EQ(server.embedding.calls(), 1);
  const auto client = ConnectTo(server, {.timeout = std::chrono::milliseconds(300)});
  EXPECT_EQ(ErrorReason(Stream(*client, Source(1)).status), "DRAINING");
}

TEST(Recovery, AServerThatComesBackAtItsAddressGoesOnWithTheStream) {
  auto server = std::make_unique<FakeServer>();
  const std::string address = server->address();
  const auto client = *Client::Connect({address}, {.timeout = kNever});
  int answers = 0;
  const absl::Status status = client->EmbedStream(
      {}, {.max_in_flight_images = 10, .ordered = true}, Source(200), [&](const Result& result) {
        EXPECT_TRUE(result.embedding.ok()) << result.embedding.status();
        EXPECT_EQ(result.index, answers);
        if (++answers % 60 == 0) {
          server.reset();
          server = std::make_unique<FakeServer>(address);
        }
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answers, 200);
}

TEST(Recovery, AnEmbedOutlivesARestart) {
  auto server = std::make_unique<FakeServer>();
  const std::string address = server->address();
  // Until it is gone.
  server->embedding.Set({.refusals = kEndless, .refusal = Draining()});
  const auto client = *Client::Connect({address}, {.timeout = kNever});
  std::thread restarter([&] {
    server->embedding.WaitUntilCalled(6);
    server.reset();
    server = std::make_unique<FakeServer>(address);
  });
  const auto results = client->Embed({{.data = "A"}});
  restarter.join();
  EXPECT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(server->embedding.calls(), 1);
}

TEST(Recovery, AnotherAddressGoesOnWithTheStream) {
  auto first = std::make_unique<FakeServer>();
  auto second = std::make_unique<FakeServer>();
  const std::string address = first->address();
  const auto client = *Client::Connect({address, second->address()}, {.timeout = kNever});
  int answers = 0;
  const absl::Status status = client->EmbedStream({}, {.max_in_flight_images = 10, .ordered = true},
                                                  Source(200), [&](const Result& result) {
                                                    EXPECT_EQ(result.index, answers);
                                                    if (++answers == 50) {
                                                      first.reset();  // where the stream began
                                                    }
                                                    if (answers == 100) {
                                                      first = std::make_unique<FakeServer>(address);
                                                      second.reset();
                                                    }
                                                  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answers, 200);
}

TEST(Recovery, AServerThatNeverComesBackIsWaitedForUntilTheTimeout) {
  auto server = std::make_unique<FakeServer>();
  const auto client = ConnectTo(*server, {.timeout = std::chrono::milliseconds(300)});
  std::vector<std::uint64_t> order;
  const absl::Status status =
      client->EmbedStream({}, {}, Source(kEndless), [&](const Result& result) {
        order.push_back(result.index);
        server.reset();
      });
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(order, UpTo(order.size()));
}

TEST(Recovery, AStopEndsTheWaitForAServer) {
  const std::vector<bool> by_death = {true, false};
  for (const bool dies : by_death) {
    auto server = std::make_unique<FakeServer>();
    server->embedding.Set(
        {.break_after = dies ? std::size_t{0} : 1, .broken = Overloaded(std::chrono::hours(1))});
    const auto client = ConnectTo(*server, {.timeout = kNever});
    std::stop_source stop;
    std::thread stopper;
    const absl::Status status = client->EmbedStream(
        {}, {.stop = stop.get_token()}, Source(kEndless), [&](const Result& result) {
          if (result.index == 0) {
            if (dies) {
              server.reset();
            }
            stopper = std::thread([&] { stop.request_stop(); });
          }
        });
    stopper.join();
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
  }
}

}  // namespace
}  // namespace pixembed::client
