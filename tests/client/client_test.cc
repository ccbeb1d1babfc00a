#include "client/cpp/client.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_service.h"

namespace pixembed::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::chrono::seconds kLong(60);

std::unique_ptr<Client> ConnectTo(const FakeServer& server, const ClientOptions& options = {}) {
  return *Client::Connect({server.address()}, options);
}

// An address of loopback that nobody listens at: the port was given out and taken back.
std::string DeadAddress() {
  const FakeServer server;
  return server.address();
}

std::vector<Image> Images(std::initializer_list<const char*> data) {
  std::vector<Image> images;
  for (const char* bytes : data) {
    images.push_back({.data = bytes, .id = absl::StrCat("id-", images.size())});
  }
  return images;
}

// Gives the images one after another, then nothing.
auto Source(std::vector<Image>& images) {
  return [&images, i = std::size_t{0}]() mutable -> std::optional<absl::StatusOr<Image>> {
    if (i == images.size()) {
      return std::nullopt;
    }
    return absl::StatusOr<Image>(images[i++]);
  };
}

TEST(Connect, RefusesNoAddressAndOptionsOutOfRange) {
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect({}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect({"localhost:1", ""}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect({"a:1"}, {.max_attempts = 0}).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Client::Connect({"a:1"}, {.channels_per_address = 0}).status()));
}

TEST(Embed, GivesVectorsInTheOrderOfTheImages) {
  const FakeServer server;
  const auto results = ConnectTo(server)->Embed(Images({"A", "BB", "CCC"}));
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_THAT(*results, SizeIs(3));
  for (int i = 0; i < 3; ++i) {
    const Result& result = (*results)[i];
    EXPECT_EQ(result.index, i);
    EXPECT_EQ(result.id, absl::StrCat("id-", i));
    EXPECT_EQ(result.fingerprint, kFingerprint);
    ASSERT_TRUE(result.embedding.ok());
    EXPECT_THAT(result.embedding->Floats(),
                ElementsAre(static_cast<float>(i + 1), static_cast<float>('A' + i), 0.5F, -1.0F));
  }
}

TEST(Embed, ReadsVectorsThatAreNotPacked) {
  FakeServer server;
  server.embedding.Set({.unpacked = true});
  const auto results = ConnectTo(server)->Embed(Images({"A"}));
  ASSERT_TRUE(results.ok());
  EXPECT_THAT(results->front().embedding->Floats(), ElementsAre(1.0F, 65.0F, 0.5F, -1.0F));
}

TEST(Embed, ABrokenImageFailsAloneWithItsReason) {
  const FakeServer server;
  const auto results = ConnectTo(server)->Embed(Images({"A", "bad", "C"}));
  ASSERT_TRUE(results.ok());
  EXPECT_TRUE((*results)[0].embedding.ok());
  EXPECT_TRUE((*results)[2].embedding.ok());
  const absl::Status status = (*results)[1].embedding.status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_EQ(ErrorReason(status), "TRUNCATED_IMAGE");
  EXPECT_EQ(ErrorText(status), "TRUNCATED_IMAGE: it ends early");
}

TEST(Embed, SendsItsOptions) {
  FakeServer server;
  ASSERT_TRUE(ConnectTo(server)
                  ->Embed(Images({"A"}), {.pooling = v1::POOLING_CLS,
                                          .layers = {2, -1},
                                          .exif_orientation = v1::EXIF_ORIENTATION_APPLY,
                                          .background = Color{255, 128, 1},
                                          .normalize = true,
                                          .dimensions = 3,
                                          .data_type = v1::DATA_TYPE_INT8,
                                          .lane = v1::LANE_BULK,
                                          .expected_fingerprint = "f"})
                  .ok());
  const v1::EmbedOptions options = server.embedding.last_options();
  EXPECT_EQ(options.pooling(), v1::POOLING_CLS);
  EXPECT_THAT(options.layers(), ElementsAre(2, -1));
  EXPECT_EQ(options.exif_orientation(), v1::EXIF_ORIENTATION_APPLY);
  EXPECT_EQ(options.background().red(), 255);
  EXPECT_EQ(options.background().green(), 128);
  EXPECT_EQ(options.background().blue(), 1);
  EXPECT_TRUE(options.normalize());
  EXPECT_EQ(options.dimensions(), 3);
  EXPECT_EQ(options.data_type(), v1::DATA_TYPE_INT8);
  EXPECT_EQ(options.lane(), v1::LANE_BULK);
  EXPECT_EQ(options.expected_fingerprint(), "f");
  EXPECT_TRUE(options.packed());
}

TEST(Embed, WorksOverAUnixSocket) {
  const std::string path = absl::StrCat(testing::TempDir(), "/pixembed_client_", getpid());
  const FakeServer server("unix:" + path);
  EXPECT_TRUE(ConnectTo(server)->Embed(Images({"A"})).ok());
}

TEST(Embed, RefusesARequestAboveTheLimitWithBothNumbers) {
  const FakeServer server;
  const auto client = ConnectTo(server, {.max_message_bytes = 1000});
  const auto results = client->Embed({{.data = std::string(2000, 'x')}});
  EXPECT_TRUE(absl::IsInvalidArgument(results.status()));
  EXPECT_THAT(std::string(results.status().message()), HasSubstr("20"));
  EXPECT_THAT(std::string(results.status().message()), HasSubstr("1000"));
}

TEST(Retry, AnOverloadedServerIsTriedAgainAfterTheTimeItNamed) {
  FakeServer server;
  server.embedding.Set({.refusals = 2, .refusal = Overloaded(std::chrono::milliseconds(1))});
  EXPECT_TRUE(ConnectTo(server)->Embed(Images({"A"})).ok());
  EXPECT_EQ(server.embedding.calls(), 3);
}

TEST(Retry, ACallThatIsRefusedManyTimesComesThrough) {
  FakeServer server;
  server.embedding.Set({.refusals = 6, .refusal = Overloaded(std::chrono::milliseconds(0))});
  const auto results = ConnectTo(server)->Embed(Images({"A"}));
  EXPECT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(server.embedding.calls(), 7);
}

TEST(Retry, GivesUpAfterMaxAttemptsWithTheServersReason) {
  FakeServer server;
  server.embedding.Set({.refusals = 100, .refusal = Overloaded(std::chrono::milliseconds(1))});
  const auto results = ConnectTo(server, {.max_attempts = 3})->Embed(Images({"A"}));
  EXPECT_TRUE(absl::IsResourceExhausted(results.status()));
  EXPECT_EQ(ErrorText(results.status()), "OVERLOADED: the queue is full");
  EXPECT_EQ(server.embedding.calls(), 3);
}

TEST(Retry, DoesNotWaitPastItsTimeout) {
  FakeServer server;
  server.embedding.Set({.refusals = 100, .refusal = Overloaded(std::chrono::hours(1))});
  const auto results = ConnectTo(server)->Embed(Images({"A"}));
  EXPECT_TRUE(absl::IsResourceExhausted(results.status()));
  EXPECT_EQ(server.embedding.calls(), 1);
}

TEST(Retry, ResourceExhaustedWithoutATimeIsNotTriedAgain) {
  FakeServer server;
  server.embedding.Set({.refusals = 1, .refusal = {grpc::RESOURCE_EXHAUSTED, "too large"}});
  EXPECT_TRUE(absl::IsResourceExhausted(ConnectTo(server)->Embed(Images({"A"})).status()));
  EXPECT_EQ(server.embedding.calls(), 1);
}

TEST(Retry, AnUnavailableServerIsTriedAgain) {
  FakeServer server;
  server.embedding.Set({.refusals = 2, .refusal = {grpc::UNAVAILABLE, "draining"}});
  const auto results = ConnectTo(server)->Embed(Images({"A"}));
  EXPECT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(server.embedding.calls(), 3);
}

TEST(Retry, AnotherAddressStandsInForADeadOne) {
  const FakeServer server;
  const auto client = *Client::Connect({DeadAddress(), server.address()});
  for (int i = 0; i < 4; ++i) {
    const auto results = client->Embed(Images({"A"}));
    EXPECT_TRUE(results.ok()) << results.status();
  }
}

TEST(Retry, OneAttemptIsNeverTriedAgain) {
  const std::vector<grpc::Status> refusals = {{grpc::UNAVAILABLE, "draining"},
                                              {grpc::CANCELLED, "stopped between two steps"},
                                              Overloaded(std::chrono::milliseconds(0))};
  for (const grpc::Status& refusal : refusals) {
    FakeServer server;
    server.embedding.Set({.refusals = 1, .refusal = refusal});
    const auto results = ConnectTo(server, {.max_attempts = 1})->Embed(Images({"A"}));
    EXPECT_EQ(static_cast<int>(results.status().code()), refusal.error_code());
    EXPECT_EQ(server.embedding.calls(), 1);
  }
}

TEST(Retry, WhereNobodyEverListenedACallIsGivenUpSoonAndNamesTheAddress) {
  for (const std::vector<std::string>& addresses :
       {std::vector<std::string>{"unix:/none/a"}, {"unix:/none/b", "unix:/none/a"}}) {
    const auto client = *Client::Connect(addresses, {.timeout = std::chrono::hours(1)});
    const absl::Status status = client->Embed(Images({"A"})).status();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("unix:/none/"));
  }
}

TEST(EmbedStream, IsOpenedAgainIfTheServerWasNotAvailableForIt) {
  FakeServer server;
  server.embedding.Set({.refusals = 2, .refusal = {grpc::UNAVAILABLE, "draining"}});
  std::vector<Image> images = Images({"A", "BB", "CCC"});
  int answers = 0;
  const absl::Status status =
      ConnectTo(server)->EmbedStream({}, {}, Source(images), [&](const Result&) { ++answers; });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answers, 3);
  EXPECT_EQ(server.embedding.calls(), 3);
}

TEST(EmbedStream, AnswersEachImageOnceWhateverTheOrder) {
  FakeServer server;
  server.embedding.Set({.reverse = 3});
  std::vector<Image> images = Images({"A", "bad", "CCC", "DDDD", "EEEEE"});
  std::vector<int> answers(images.size());
  const absl::Status status =
      ConnectTo(server)->EmbedStream({}, {}, Source(images), [&](const Result& result) {
        ++answers.at(result.index);
        EXPECT_EQ(result.id, absl::StrCat("id-", result.index));
        EXPECT_EQ(result.fingerprint, kFingerprint);
        if (result.index == 1) {
          EXPECT_EQ(ErrorReason(result.embedding.status()), "TRUNCATED_IMAGE");
        } else {
          EXPECT_EQ(result.embedding->Floats()[0], result.index + 1);
        }
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(answers, ElementsAre(1, 1, 1, 1, 1));
}

TEST(EmbedStream, TakesNoMoreImagesThanItsWindow) {
  FakeServer server;
  server.embedding.Set({.hold_after = 4});
  std::atomic<int> taken = 0;
  std::atomic<int> answered = 0;
  std::thread releaser([&] {
    server.embedding.WaitUntilRead(4);
    EXPECT_EQ(answered, 0);
    server.embedding.Release();
  });
  const absl::Status status = ConnectTo(server)->EmbedStream(
      {}, {.max_in_flight_images = 4},
      [&]() -> std::optional<absl::StatusOr<Image>> {
        EXPECT_LT(taken - answered, 4);
        if (taken == 100) {
          return std::nullopt;
        }
        ++taken;
        return Image{.data = "A"};
      },
      [&](const Result&) { ++answered; });
  releaser.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answered, 100);
}

TEST(EmbedStream, BytesInFlightAreBoundedToo) {
  FakeServer server;
  std::atomic<int> taken = 0;
  std::atomic<int> answered = 0;
  const absl::Status status = ConnectTo(server)->EmbedStream(
      {}, {.max_in_flight_bytes = 1000},
      [&]() -> std::optional<absl::StatusOr<Image>> {
        EXPECT_LE(taken - answered, 2);
        if (taken == 20) {
          return std::nullopt;
        }
        ++taken;
        return Image{.data = std::string(2000, 'x')};
      },
      [&](const Result&) { ++answered; });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answered, 20);
}

TEST(EmbedStream, ImagesThatCannotBeSentKeepTheirPlaceInTheOrder) {
  const FakeServer server;
  std::vector<std::uint64_t> order;
  std::vector<std::uint64_t> failed;
  int taken = 0;
  const absl::Status status = ConnectTo(server, {.max_message_bytes = 1000})
                                  ->EmbedStream(
                                      {}, {.ordered = true},
                                      [&]() -> std::optional<absl::StatusOr<Image>> {
                                        switch (taken++) {
                                          case 0:
                                          case 3:
                                            return absl::NotFoundError("no such file");
                                          case 4:
                                            return Image{.data = std::string(2000, 'x')};
                                          case 6:
                                            return std::nullopt;
                                          default:
                                            return Image{.data = "A"};
                                        }
                                      },
                                      [&](const Result& result) {
                                        order.push_back(result.index);
                                        if (!result.embedding.ok()) {
                                          failed.push_back(result.index);
                                        }
                                      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(failed, ElementsAre(0, 3, 4));
}

TEST(EmbedStream, WhenTheServerGoesForGoodTheUnansweredImagesGetItsStatus) {
  FakeServer server;
  server.embedding.Set({.break_after = 5});
  int taken = 0;
  std::vector<int> answers;
  int unavailable = 0;
  const absl::Status status =
      ConnectTo(server, {.max_attempts = 1})
          ->EmbedStream(
              {}, {.max_in_flight_images = 8},
              [&]() -> std::optional<absl::StatusOr<Image>> {
                ++taken;
                return Image{.data = "A"};
              },
              [&](const Result& result) {
                answers.resize(std::max<std::size_t>(answers.size(), result.index + 1));
                ++answers[result.index];
                if (!result.embedding.ok()) {
                  EXPECT_TRUE(absl::IsUnavailable(result.embedding.status()))
                      << result.embedding.status();
                  ++unavailable;
                }
              });
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(answers, std::vector<int>(taken, 1));
  EXPECT_EQ(taken - unavailable, 5);
}

TEST(EmbedStream, AStopEndsItAndLosesNoImage) {
  FakeServer server;
  server.embedding.Set({.hold_after = 100});
  std::stop_source stop;
  std::atomic<int> taken = 0;
  int cancelled = 0;
  const absl::Status status = ConnectTo(server)->EmbedStream(
      {}, {.max_in_flight_images = 3, .stop = stop.get_token()},
      [&]() -> std::optional<absl::StatusOr<Image>> {
        if (++taken == 3) {
          stop.request_stop();
        }
        return Image{.data = "A"};
      },
      [&](const Result& result) {
        EXPECT_TRUE(absl::IsCancelled(result.embedding.status()));
        ++cancelled;
      });
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(cancelled, taken);
}

TEST(EmbedStream, AnAnswerToNoImageEndsIt) {
  FakeServer server;
  server.embedding.Set({.wrong_index = true});
  std::vector<Image> images = Images({"A", "B"});
  int failed = 0;
  const absl::Status status =
      ConnectTo(server)->EmbedStream({}, {}, Source(images), [&](const Result& result) {
        EXPECT_FALSE(result.embedding.ok());
        ++failed;
      });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_GE(failed, 1);
}

TEST(EmbedStream, NoImagesAreNoError) {
  const FakeServer server;
  std::vector<Image> none;
  const absl::Status status = ConnectTo(server)->EmbedStream(
      {}, {}, Source(none), [](const Result&) { ADD_FAILURE() << "an answer to nothing"; });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(Models, AreListedAndFoundByName) {
  const FakeServer server;
  const auto client = ConnectTo(server);
  const auto models = client->ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  ASSERT_THAT(*models, SizeIs(1));
  EXPECT_EQ(models->front().name(), "fake");
  EXPECT_EQ(client->GetModel()->dimension(), 4);
  const auto missing = client->GetModel("other");
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_EQ(ErrorReason(missing.status()), "UNKNOWN_MODEL");
}

TEST(HealthOf, TheServerAndAnUnknownService) {
  FakeServer server;
  const auto client = ConnectTo(server);
  EXPECT_EQ(*client->CheckHealth(), Health::kServing);
  server.health.Set(FakeHealth::Response::NOT_SERVING);
  EXPECT_EQ(*client->CheckHealth(), Health::kNotServing);
  EXPECT_TRUE(absl::IsNotFound(client->CheckHealth("other").status()));
}

TEST(HealthOf, AServerThatIsAwayIsToldSoon) {
  FakeServer server;
  server.health.Refuse({grpc::UNAVAILABLE, "draining"});
  EXPECT_TRUE(absl::IsUnavailable(
      ConnectTo(server, {.timeout = std::chrono::milliseconds(0)})->CheckHealth().status()));
  EXPECT_EQ(server.health.checks(), 5);
}

TEST(HealthOf, WaitReturnsWhenTheServerTurnsServing) {
  FakeServer server;
  server.health.Set(FakeHealth::Response::NOT_SERVING);
  std::thread starter([&] {
    server.health.WaitUntilWatched();
    server.health.Set(FakeHealth::Response::SERVING);
  });
  const absl::Status status = ConnectTo(server)->WaitUntilServing("", kLong);
  starter.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(HealthOf, WaitOutlivesAServerThatIsNotThereYet) {
  const std::string path = absl::StrCat(testing::TempDir(), "/pixembed_late_", getpid());
  const auto client = *Client::Connect({"unix:" + path});
  std::unique_ptr<FakeServer> server;
  std::thread starter([&] { server = std::make_unique<FakeServer>("unix:" + path); });
  const absl::Status status = client->WaitUntilServing("", kLong);
  starter.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(HealthOf, WaitEndsAtItsTimeoutAndNamesTheAddress) {
  const std::string address = DeadAddress();
  const absl::Status status =
      (*Client::Connect({address}))->WaitUntilServing("", std::chrono::milliseconds(20));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(address));
}

TEST(HealthOf, WaitForAnUnknownServiceFailsAtOnce) {
  const FakeServer server;
  EXPECT_TRUE(absl::IsNotFound(ConnectTo(server)->WaitUntilServing("other", kLong)));
}

TEST(Floats, WidensEveryDataType) {
  const Embedding half{.data_type = v1::DATA_TYPE_FLOAT16,
                       .dimensions = 4,
                       .data = std::string("\x00\x3c\x00\xc0\x01\x00\xff\x7b", 8)};
  EXPECT_THAT(half.Floats(), ElementsAre(1.0F, -2.0F, 0x1p-24F, 65504.0F));
  const Embedding brain{.data_type = v1::DATA_TYPE_BFLOAT16,
                        .dimensions = 2,
                        .data = std::string("\x80\x3f\x49\xc0", 4)};
  EXPECT_THAT(brain.Floats(), ElementsAre(1.0F, -3.140625F));
  const Embedding byte{.data_type = v1::DATA_TYPE_INT8,
                       .dimensions = 3,
                       .scale = 0.5F,
                       .data = std::string("\x02\xff\x7f", 3)};
  EXPECT_THAT(byte.Floats(), ElementsAre(1.0F, -0.5F, 63.5F));
  const Embedding bits{
      .data_type = v1::DATA_TYPE_BINARY, .dimensions = 10, .data = std::string("\xa0\x40", 2)};
  EXPECT_THAT(bits.Floats(), ElementsAre(1, 0, 1, 0, 0, 0, 0, 0, 0, 1));
}

TEST(ErrorWords, AStatusWithoutAReasonShowsItsCode) {
  EXPECT_THAT(ErrorReason(absl::NotFoundError("x")), IsEmpty());
  EXPECT_EQ(ErrorText(absl::NotFoundError("x")), "NOT_FOUND: x");
}

}  // namespace
}  // namespace pixembed::client
