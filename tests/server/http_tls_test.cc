// Whose certificates are taken over HTTP, and that the authorities are read when their file
// changes, not for every request.
#include "server/http_tls.h"

#include <gmock/gmock.h>
#include <gnutls/gnutls.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "server/certificates.h"
#include "server/reloaded.h"
#include "src/error/error.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/authority.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

gnutls_datum_t Datum(const std::string& text) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          static_cast<unsigned int>(text.size())};
}

// Of the first certificate in `pem`.
std::string Der(const std::string& pem) {
  const gnutls_datum_t text = Datum(pem);
  gnutls_datum_t der;
  if (gnutls_pem_base64_decode2("CERTIFICATE", &text, &der) < 0) return "";
  std::string bytes(reinterpret_cast<const char*>(der.data), der.size);
  gnutls_free(der.data);
  return bytes;
}

// What the authorities say of a client that shows one certificate.
absl::Status Check(const AuthorityList& authorities, const std::string& der) {
  const std::vector<gnutls_datum_t> chain = {Datum(der)};
  return authorities.Check(chain);
}

TEST(AuthorityListTest, TakesWhatOneOfThemSigned) {
  const Authority first("first");
  const Authority second("second");
  const AuthorityList both(first.certificate() + second.certificate());
  EXPECT_EQ(Check(both, Der(first.Issue("client", 7).certificate)), absl::OkStatus());
  EXPECT_EQ(Check(both, Der(second.Issue("client", 7).certificate)), absl::OkStatus());
}

TEST(AuthorityListTest, RefusesEveryOther) {
  const Authority authority("known");
  const AuthorityList authorities(authority.certificate());
  const Authority stranger("known");  // of the same name
  for (const absl::Status& status :
       {authorities.Check({}), Check(authorities, ""), Check(authorities, "no certificate"),
        Check(authorities, Der(stranger.Issue("client", 7).certificate)),
        Check(AuthorityList("no PEM"), Der(authority.Issue("client", 7).certificate))}) {
    EXPECT_EQ(ReasonOf(status), Reason::kInvalidToken) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("certificate"), HasSubstr("--tls_client_ca_file")));
  }
}

class ClientAuthoritiesTest : public ::testing::Test {
 protected:
  ClientAuthoritiesTest() {
    const KeyPair pair = authority_.Issue("server", 1);
    Write(files_.certificate, pair.certificate);
    Write(files_.private_key, pair.private_key);
    Write(files_.client_ca, authority_.certificate());
  }

  static void Write(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  std::shared_ptr<Reloaded<Certificates>> Open() const {
    auto certificates = OpenCertificates(files_, nullptr);
    EXPECT_TRUE(certificates.ok()) << certificates.status();
    return *certificates;
  }

  const TemporaryDirectory folder_;
  const Authority authority_{"known"};
  TlsFiles files_{.certificate = (folder_.path() / "tls.crt").string(),
                  .private_key = (folder_.path() / "tls.key").string(),
                  .client_ca = (folder_.path() / "ca.crt").string()};
  TimePoint now_ = std::chrono::steady_clock::now();
};

TEST_F(ClientAuthoritiesTest, AreReadOnceForEachVersionOfTheFiles) {
  ClientAuthorities authorities(Open());
  const auto first = authorities.Get(now_);
  EXPECT_EQ(authorities.Get(now_ += 2 * kLookInterval), first);
  EXPECT_EQ(authorities.Get(now_ += 2 * kLookInterval), first);
  const Authority next("next");
  Write(files_.client_ca, next.certificate());
  const auto second = authorities.Get(now_ += 2 * kLookInterval);
  ASSERT_NE(second, first);
  EXPECT_EQ(authorities.Get(now_ += 2 * kLookInterval), second);
  const std::string client = Der(next.Issue("client", 7).certificate);
  EXPECT_EQ(Check(*second, client), absl::OkStatus());
  // Whoever still holds the old one goes on with it.
  EXPECT_EQ(ReasonOf(Check(*first, client)), Reason::kInvalidToken);
}

TEST_F(ClientAuthoritiesTest, AFileThatMakesNoneChangesNothing) {
  ClientAuthorities authorities(Open());
  const auto first = authorities.Get(now_);
  Write(files_.client_ca, "no PEM");
  EXPECT_EQ(authorities.Get(now_ += 2 * kLookInterval), first);
}

TEST_F(ClientAuthoritiesTest, ThereAreNoneWhereClientsNeedNoCertificate) {
  files_.client_ca.clear();
  EXPECT_EQ(ClientAuthorities(Open()).Get(now_), nullptr);
}

TEST_F(ClientAuthoritiesTest, ManyThreadsShareOneList) {
  constexpr int kThreads = 4;
  constexpr int kChecks = 20;
  ClientAuthorities authorities(Open());
  const std::string known = Der(authority_.Issue("client", 7).certificate);
  const std::string stranger = Der(Authority("known").Issue("client", 7).certificate);
  std::vector<std::shared_ptr<const AuthorityList>> seen(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (auto& list : seen) {
    threads.emplace_back([&] {
      for (int i = 0; i < kChecks; ++i) {
        list = authorities.Get(now_);
        EXPECT_EQ(Check(*list, known), absl::OkStatus());
        EXPECT_EQ(ReasonOf(Check(*list, stranger)), Reason::kInvalidToken);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 1U);
}

}  // namespace
}  // namespace pixembed
