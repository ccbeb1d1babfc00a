// Where and how the client connects: addresses, and TLS and tokens against the real server, with a
// fake model.
#include "client/cpp/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/client.h"
#include "client/cpp/load.h"
#include "nlohmann/json.hpp"
#include "server/bearer_tokens.h"
#include "server/certificates.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/authority.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"

namespace pixembed {
namespace {

using client::Client;
using client::ClientOptions;
using client::Tls;
using ::testing::AllOf;
using ::testing::HasSubstr;

// The table that the clients in Python and Go are held to, too.
std::vector<std::string> Addresses(const char* kind) {
  std::ifstream file(PIXEMBED_ADDRESSES);
  return nlohmann::json::parse(file).at(kind).get<std::vector<std::string>>();
}

TEST(CheckAddressesTest, TakesWhatGrpcReadsAsItIsWritten) {
  for (const std::string& address : Addresses("taken")) {
    EXPECT_EQ(client::CheckAddresses({address}), absl::OkStatus()) << address;
  }
  EXPECT_EQ(client::CheckAddresses({"xds:///name"}), absl::OkStatus());
}

TEST(CheckAddressesTest, RefusesWhatWouldReachAnotherPortOrNone) {
  std::vector<std::string> refused = Addresses("refused");
  refused.emplace_back("a:1,b:1");
  refused.emplace_back("xds:///");
  refused.emplace_back("xds:name");
  for (const std::string& address : refused) {
    const absl::Status status = client::CheckAddresses({"localhost:1", address});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("\"" + address + "\" is not host:port"), HasSubstr("1 to 65535"),
                      HasSubstr("unix:PATH")));
  }
  EXPECT_THAT(std::string(client::CheckAddresses({}).message()), HasSubstr("no address"));
}

TEST(CheckAddressesTest, SoDoClientAndLoad) {
  EXPECT_THAT(std::string(Client::Connect({"localhost"}).status().message()),
              HasSubstr("\"localhost\" is not"));
  client::LoadOptions load;
  load.addresses = {"localhost:99999"};
  load.images = {{.data = SolidImage(1)}};
  EXPECT_THAT(std::string(client::RunLoad(load).status().message()),
              HasSubstr("\"localhost:99999\" is not"));
}

class SecureChannelTest : public ServerTest {
 protected:
  // A server that wants a token, over TLS with a certificate of the client or in plain text.
  void StartSecure(bool tls) {
    ServerOptions options;
    options.listen = {"127.0.0.1:0"};
    options.tokens = *BearerTokens::Open(Write("tokens", "secret\n"), nullptr);
    if (tls) {
      const KeyPair pair = authority_.Issue("server", 1);
      const auto certificates =
          OpenCertificates({.certificate = Write("tls.crt", pair.certificate),
                            .private_key = Write("tls.key", pair.private_key),
                            .client_ca = Write("ca.crt", authority_.certificate())},
                           nullptr);
      ASSERT_TRUE(certificates.ok()) << certificates.status();
      options.certificates = *certificates;
    }
    StartUnconnected(std::move(options));
  }
  std::string Write(const std::string& name, const std::string& content) const {
    std::string path = (folder_.path() / name).string();
    std::ofstream(path) << content;
    return path;
  }

  ClientOptions Known() const {
    const KeyPair pair = authority_.Issue("client", 2);
    return {.tls = Tls{.ca = authority_.certificate(),
                       .certificate = pair.certificate,
                       .private_key = pair.private_key},
            .token = "secret",
            .max_attempts = 1};
  }

  absl::Status EmbedWith(const ClientOptions& options) const {
    const auto client = Client::Connect({address_}, options);
    if (!client.ok()) return client.status();
    const auto results = (*client)->Embed({{.data = SolidImage(1)}});
    return results.ok() ? results->front().embedding.status() : results.status();
  }

  const TemporaryDirectory folder_;
  const Authority authority_;
};

TEST_F(SecureChannelTest, CallsAndStreamsReachAServerWithTlsBothWaysAndTokens) {
  StartSecure(/*tls=*/true);
  const auto client = Client::Connect({address_}, Known());
  ASSERT_TRUE(client.ok()) << client.status();
  const auto results = (*client)->Embed({{.data = SolidImage(7)}});
  ASSERT_TRUE(results.ok()) << results.status();
  EXPECT_EQ(results->front().embedding->Floats().front(), 7.0F);
  int left = 3;
  int answered = 0;
  const absl::Status status = (*client)->EmbedStream(
      {}, {},
      [&left]() -> std::optional<absl::StatusOr<client::Image>> {
        if (left-- == 0) return std::nullopt;
        return client::Image{.data = SolidImage(1)};
      },
      [&answered](const client::Result& result) { answered += result.embedding.ok() ? 1 : 0; });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(answered, 3);
  EXPECT_TRUE((*client)->CheckHealth().ok());
  EXPECT_TRUE((*client)->ListModels().ok());
}

// Waiting would mend nothing, and could be for an hour.
TEST_F(SecureChannelTest, WhatDoesNotFitHasNoConnectionAndIsToldAtOnce) {
  StartSecure(/*tls=*/true);
  ClientOptions patient = Known();
  patient.timeout = std::chrono::hours(1);
  patient.max_attempts.reset();
  ClientOptions options = patient;
  options.tls->ca = Authority("another").certificate();
  EXPECT_EQ(EmbedWith(options).code(), absl::StatusCode::kUnavailable);
  options = patient;
  options.tls->server_name = "other.test";
  EXPECT_EQ(EmbedWith(options).code(), absl::StatusCode::kUnavailable);
  options.tls->server_name = "localhost";  // also in the certificate
  EXPECT_TRUE(EmbedWith(options).ok());
  options = Known();
  options.tls->certificate = options.tls->private_key = "";
  EXPECT_EQ(EmbedWith(options).code(), absl::StatusCode::kUnavailable);
}

TEST_F(SecureChannelTest, AServerWithoutTlsIsToldAtOnce) {
  StartSecure(/*tls=*/false);
  ClientOptions options = Known();
  options.timeout = std::chrono::hours(1);
  options.max_attempts.reset();
  EXPECT_EQ(EmbedWith(options).code(), absl::StatusCode::kUnavailable);
}

TEST_F(SecureChannelTest, AWrongTokenIsToldByItsReason) {
  StartSecure(/*tls=*/true);
  for (const char* const token : {"", "other"}) {
    ClientOptions options = Known();
    options.token = token;
    const absl::Status status = EmbedWith(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(client::ErrorReason(status), "INVALID_TOKEN");
  }
}

TEST_F(SecureChannelTest, ATokenTravelsInPlainTextOnlyWhereThatIsSaid) {
  StartSecure(/*tls=*/false);
  EXPECT_THAT(std::string(EmbedWith({.token = "secret"}).message()), HasSubstr("insecure_token"));
  EXPECT_TRUE(EmbedWith({.token = "secret", .insecure_token = true}).ok());
}

TEST_F(SecureChannelTest, ACertificateNeedsItsKey) {
  EXPECT_THAT(
      std::string(Client::Connect({"x:1"}, {.tls = Tls{.certificate = "pem"}}).status().message()),
      HasSubstr("it needs both"));
}

TEST_F(SecureChannelTest, WhatIsNoPemIsToldBeforeAnythingIsSent) {
  const ClientOptions known = Known();
  const auto refusal = [](const ClientOptions& options) {
    const absl::Status status = Client::Connect({"x:1"}, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  ClientOptions options = known;
  options.tls->ca = "\xff\xd8\xff";
  EXPECT_THAT(refusal(options), HasSubstr("tls.ca has 3 bytes, and none is PEM"));
  options = known;
  options.tls->certificate = known.tls->private_key;
  EXPECT_THAT(refusal(options), HasSubstr("tls.certificate has "));
  options = known;
  options.tls->private_key = known.tls->certificate;
  EXPECT_THAT(refusal(options), HasSubstr("tls.private_key has "));
}

// gRPC would end the process.
TEST_F(SecureChannelTest, ATokenThatNoHeaderHoldsIsRefused) {
  for (const char* const token : {"secret\n", "se cret", "\xff\xd8", "s\x01"}) {
    const absl::Status status =
        Client::Connect({"x:1"}, {.token = token, .insecure_token = true}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << token;
    EXPECT_THAT(std::string(status.message()), HasSubstr("token has a character"));
  }
}

}  // namespace
}  // namespace pixembed
