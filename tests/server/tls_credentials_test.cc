// TLS over real connections: who gets one, and that renewed files are taken without a restart.
#include "server/tls_credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "server/certificates.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/authority.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"
#include "tests/server/tls_peer.h"

namespace pixembed {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class TlsTest : public ServerTest {
 protected:
  TlsTest() { Install(authority_.Issue("server", 1)); }

  // What a renewal writes.
  void Install(const KeyPair& pair) const {
    Write(files_.certificate, pair.certificate);
    Write(files_.private_key, pair.private_key);
  }
  static void Write(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }
  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }

  void StartTls() {
    const Log log = [this](LogLevel, const std::string& line) {
      const std::lock_guard lock(mutex_);
      log_.push_back(line);
    };
    const auto certificates = OpenCertificates(files_, log);
    ASSERT_TRUE(certificates.ok()) << certificates.status();
    ServerOptions options;
    options.certificates = *certificates;
    options.log = log;
    options.listen = {"127.0.0.1:0", "127.0.0.1:0", "unix:" + Path("socket")};
    StartUnconnected(std::move(options));
  }

  void StartMutual() {
    files_.client_ca = Path("ca.crt");
    Write(files_.client_ca, authority_.certificate());
    StartTls();
  }

  static grpc::SslCredentialsOptions Trusting(const Authority& authority, const KeyPair& own = {}) {
    return {.pem_root_certs = authority.certificate(),
            .pem_private_key = own.private_key,
            .pem_cert_chain = own.certificate};
  }

  // One call on a connection of its own.
  static grpc::Status CallOnce(const std::string& address,
                               const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub =
        v1::EmbeddingService::NewStub(grpc::CreateCustomChannel(address, credentials, arguments));
    v1::EmbedResponse response;
    return stub->Embed(Context().get(), Request({SolidImage(1)}), &response);
  }
  grpc::Status CallOnce(const grpc::SslCredentialsOptions& options) const {
    return CallOnce(address_, grpc::SslCredentials(options));
  }

  // Connects until the server shows the certificate of this serial number.
  static void AwaitSerial(std::int64_t serial, const std::string& address) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (TlsPeerSerial(address) != serial) ASSERT_LT(std::chrono::steady_clock::now(), end);
  }

  std::vector<std::string> log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }

  const TemporaryDirectory folder_;
  const Authority authority_;
  TlsFiles files_{.certificate = Path("tls.crt"), .private_key = Path("tls.key")};
  std::mutex mutex_;
  std::vector<std::string> log_;  // guarded by mutex_
};

TEST_F(TlsTest, ServesThoseWhoTrustItsAuthorityOnEveryAddress) {
  StartTls();
  for (const std::string& address : {server_->addresses()[0], server_->addresses()[1]}) {
    const grpc::Status status = CallOnce(address, grpc::SslCredentials(Trusting(authority_)));
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  EXPECT_EQ(CallOnce(Trusting(Authority("another"))).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(CallOnce(address_, grpc::InsecureChannelCredentials()).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, UnixSocketsStayPlain) {
  StartMutual();
  const grpc::Status status =
      CallOnce("unix:" + Path("socket"), grpc::InsecureChannelCredentials());
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(TlsTest, MutualMeansThatEveryClientHasACertificateOfTheAuthorities) {
  StartMutual();
  const grpc::Status status = CallOnce(Trusting(authority_, authority_.Issue("client", 2)));
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(CallOnce(Trusting(authority_)).error_code(), grpc::StatusCode::UNAVAILABLE);
  const Authority other("another");
  EXPECT_EQ(CallOnce(Trusting(authority_, other.Issue("client", 2))).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, ARenewedCertificateIsTakenWithoutARestartAndOldConnectionsStay) {
  StartTls();
  channel_ = grpc::CreateChannel(address_, grpc::SslCredentials(Trusting(authority_)));
  stub_ = v1::EmbeddingService::NewStub(channel_);
  RoundTrip();
  EXPECT_EQ(TlsPeerSerial(address_), 1);
  Install(authority_.Issue("server", 2));
  for (const std::string& address : {server_->addresses()[0], server_->addresses()[1]}) {
    AwaitSerial(2, address);
  }
  RoundTrip();
  EXPECT_TRUE(CallOnce(Trusting(authority_)).ok());
  EXPECT_THAT(log(), Contains(HasSubstr("serial 2,")));
}

TEST_F(TlsTest, ABrokenRenewalKeepsTheOldOneAndIsLogged) {
  StartTls();
  const KeyPair next = authority_.Issue("server", 2);
  Write(files_.certificate, next.certificate);  // the key is still the old one's
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (log().back().find("does not belong") == std::string::npos) {
    ASSERT_EQ(TlsPeerSerial(address_), 1);
    ASSERT_LT(std::chrono::steady_clock::now(), end);
  }
  EXPECT_TRUE(CallOnce(Trusting(authority_)).ok());
  Write(files_.private_key, next.private_key);
  AwaitSerial(2, address_);
}

TEST_F(TlsTest, RenewedAuthoritiesDecideWhoConnectsNext) {
  StartMutual();
  const Authority other("another");
  const grpc::SslCredentialsOptions old_client =
      Trusting(authority_, authority_.Issue("client", 2));
  const grpc::SslCredentialsOptions new_client = Trusting(authority_, other.Issue("client", 2));
  ASSERT_TRUE(CallOnce(old_client).ok());
  Write(files_.client_ca, other.certificate());
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!CallOnce(new_client).ok()) ASSERT_LT(std::chrono::steady_clock::now(), end);
  EXPECT_EQ(CallOnce(old_client).error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace pixembed
