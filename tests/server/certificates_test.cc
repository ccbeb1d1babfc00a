// What the files of TLS must hold, and what is said of those that do not.
#include "server/certificates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "src/error/error.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/authority.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CertificatesTest : public ::testing::Test {
 protected:
  CertificatesTest() {
    Write(files_.certificate, pair_.certificate + authority_.certificate());
    Write(files_.private_key, pair_.private_key);
    Write(files_.client_ca, authority_.certificate());
  }

  std::string Path(const std::string& name) const { return (folder_.path() / name).string(); }
  static void Write(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  std::string Refusal() {
    const auto certificates = OpenCertificates(files_, nullptr);
    EXPECT_EQ(ReasonOf(certificates.status()), Reason::kInvalidOption);
    return std::string(certificates.status().message());
  }

  const TemporaryDirectory folder_;
  const Authority authority_;
  const KeyPair pair_ = authority_.Issue("server", 0xABCD);
  TlsFiles files_{
      .certificate = Path("tls.crt"), .private_key = Path("tls.key"), .client_ca = Path("ca.crt")};
};

TEST_F(CertificatesTest, AreReadWholeAndNamedInTheLog) {
  std::vector<std::string> log;
  const auto certificates =
      OpenCertificates(files_, [&log](LogLevel, const std::string& line) { log.push_back(line); });
  ASSERT_TRUE(certificates.ok()) << certificates.status();
  const auto current = (*certificates)->Get(std::chrono::steady_clock::now());
  EXPECT_EQ(current->chain, pair_.certificate + authority_.certificate());
  EXPECT_EQ(current->private_key, pair_.private_key);
  EXPECT_EQ(current->client_ca, authority_.certificate());
  // Made just now for an hour; minutes are for a slow machine.
  EXPECT_NEAR(static_cast<double>(current->end - std::time(nullptr)), 3600, 600);
  EXPECT_THAT(log,
              ElementsAre(AllOf(HasSubstr("--tls_certificate_file=" + files_.certificate),
                                HasSubstr("CN = server, serial ABCD, until "), HasSubstr("GMT"))));
}

TEST_F(CertificatesTest, ClientsNeedNoneWithoutAuthorities) {
  files_.client_ca.clear();
  const auto certificates = OpenCertificates(files_, nullptr);
  ASSERT_TRUE(certificates.ok()) << certificates.status();
  EXPECT_EQ((*certificates)->Get(std::chrono::steady_clock::now())->client_ca, "");
}

TEST_F(CertificatesTest, AKeyOfAnotherCertificateIsRefused) {
  Write(files_.private_key, authority_.Issue("server", 2).private_key);
  EXPECT_EQ(Refusal(), "--tls_private_key_file=" + files_.private_key +
                           " does not belong to the first certificate of --tls_certificate_file=" +
                           files_.certificate);
}

TEST_F(CertificatesTest, WhatIsNoPemOfThatKindIsRefused) {
  for (const std::string& bad :
       {std::string(), std::string("hello"), pair_.private_key,
        pair_.certificate + "-----BEGIN CERTIFICATE-----\nMII!\n-----END CERTIFICATE-----\n",
        pair_.certificate + pair_.certificate.substr(0, 200)}) {
    Write(files_.certificate, bad);
    EXPECT_THAT(Refusal(), AllOf(HasSubstr("--tls_certificate_file=" + files_.certificate),
                                 HasSubstr("no list of certificates in PEM")))
        << bad;
  }
  Write(files_.certificate, pair_.certificate);
  for (const std::string& bad : {std::string(), pair_.certificate}) {
    Write(files_.private_key, bad);
    EXPECT_THAT(Refusal(), AllOf(HasSubstr("--tls_private_key_file=" + files_.private_key),
                                 HasSubstr("no private key in PEM without a passphrase")));
  }
  Write(files_.private_key, pair_.private_key);
  Write(files_.client_ca, pair_.private_key);
  EXPECT_THAT(Refusal(), HasSubstr("--tls_client_ca_file=" + files_.client_ca));
}

TEST_F(CertificatesTest, AnEncryptedKeyIsRefusedWithoutAskingAnyone) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                &EVP_PKEY_free);
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> bio(BIO_new(BIO_s_mem()), &BIO_free_all);
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), EVP_aes_256_cbc(), "word", 4, nullptr,
                                nullptr);
  const char* data = nullptr;
  const auto size = static_cast<std::size_t>(BIO_get_mem_data(bio.get(), &data));
  Write(files_.private_key, std::string(data, size));
  EXPECT_THAT(Refusal(), HasSubstr("without a passphrase"));
}

TEST_F(CertificatesTest, AMissingFileIsRefusedByItsFlag) {
  files_.client_ca = Path("none");
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("--tls_client_ca_file=" + files_.client_ca),
                               HasSubstr("No such file")));
}

}  // namespace
}  // namespace pixembed
