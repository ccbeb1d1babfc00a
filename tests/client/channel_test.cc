// Where and how the client connects: addresses, and TLS and tokens against the real server, with a
// fake model.
#include "client/cpp/channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(CheckAddressesTest, TakesWhatGrpcReadsAsItIsWritten) {
  for (const char* const address :
       {"localhost:50051", "127.0.0.1:1", "[::1]:65535", "unix:/run/a.sock", "unix:relative",
        "unix:///run/a.sock", "unix-abstract:name", "dns:///name:50051", "dns:name:50051",
        "dns://8.8.8.8/name:50051", "ipv4:10.0.0.1:1,10.0.0.2:1", "ipv6:[::1]:1", "xds:///name"}) {
    EXPECT_EQ(client::CheckAddresses({address}), absl::OkStatus()) << address;
  }
}

TEST(CheckAddressesTest, RefusesWhatWouldReachAnotherPortOrNone) {
  for (const char* const address :
       {"", "localhost", "localhost:", ":50051", "localhost:0", "localhost:99999", "localhost:-1",
        "localhost:http", "localhost: 50051", "local host:1", "::1", "[::1]", "[]:1",
        "http://localhost:50051", "dns:///localhost", "dns://8.8.8.8", "unix:", "a:1,b:1"}) {
    const absl::Status status = client::CheckAddresses({"localhost:1", address});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("\"" + std::string(address) + "\" is not host:port"),
                      HasSubstr("1 to 65535"), HasSubstr("unix:PATH")));
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

TEST_F(SecureChannelTest, WhatDoesNotFitHasNoConnection) {
  StartSecure(/*tls=*/true);
  ClientOptions options = Known();
  options.tls->ca = Authority("another").certificate();
  EXPECT_EQ(EmbedWith(options).code(), absl::StatusCode::kUnavailable);
  options = Known();
  options.tls->certificate = options.tls->private_key = "";
  EXPECT_EQ(EmbedWith(options).code(), absl::StatusCode::kUnavailable);
  options = Known();
  options.tls->server_name = "other.test";
  EXPECT_EQ(EmbedWith(options).code(), absl::StatusCode::kUnavailable);
  options.tls->server_name = "localhost";  // also in the certificate
  EXPECT_TRUE(EmbedWith(options).ok());
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

}  // namespace
}  // namespace pixembed
