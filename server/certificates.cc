#include "server/certificates.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<&BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Freed<&X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<&EVP_PKEY_free>>;
using Number = std::unique_ptr<BIGNUM, Freed<&BN_free>>;

Bio ReadOnly(std::string_view text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string TextOf(BIO* bio) {
  const char* data = nullptr;
  const auto size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

absl::Status Invalid(const FlagFile& file, std::string_view what) {
  ERR_clear_error();
  return MakeError(Reason::kInvalidOption, absl::StrCat(file.Text(), std::string(what)));
}

// All certificates of a file, at least one.
absl::StatusOr<std::vector<Certificate>> ReadChain(const FlagFile& file, std::string_view pem) {
  const Bio bio = ReadOnly(pem);
  std::vector<Certificate> chain;
  for (;;) {
    Certificate next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (next == nullptr) break;
    chain.push_back(std::move(next));
  }
  // At the end of the file, and only there, no further one begins.
  const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (chain.empty() || !at_end) {
    return Invalid(file, absl::StrCat(" is no list of certificates in PEM: number ",
                                      chain.size() + 1, " cannot be read"));
  }
  ERR_clear_error();
  return chain;
}

absl::StatusOr<Key> ReadKey(const FlagFile& file, std::string_view pem) {
  const Bio bio = ReadOnly(pem);
  // Nobody is asked for a passphrase.
  const auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) return Invalid(file, " is no private key in PEM without a passphrase");
  return key;
}

// "CN = server, serial 0A1B, until Nov 27 10:00:00 2027 GMT".
std::string About(const X509& certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(&certificate), 0, XN_FLAG_ONELINE);
  BIO_puts(bio.get(), ", serial ");
  const Number serial(ASN1_INTEGER_to_BN(X509_get0_serialNumber(&certificate), nullptr));
  BN_print(bio.get(), serial.get());
  BIO_puts(bio.get(), ", until ");
  ASN1_TIME_print(bio.get(), X509_get0_notAfter(&certificate));
  if (X509_cmp_current_time(X509_get0_notAfter(&certificate)) < 0) {
    BIO_puts(bio.get(), ", which is over");
  }
  return TextOf(bio.get());
}

std::int64_t EndOf(const X509& certificate) {
  std::tm end{};
  return ASN1_TIME_to_tm(X509_get0_notAfter(&certificate), &end) == 1 ? timegm(&end) : 0;
}

absl::StatusOr<Certificates> ReadCertificates(const std::vector<FlagFile>& files,
                                              const std::vector<std::string>& contents) {
  const absl::StatusOr<std::vector<Certificate>> chain = ReadChain(files[0], contents[0]);
  if (!chain.ok()) return chain.status();
  const absl::StatusOr<Key> key = ReadKey(files[1], contents[1]);
  if (!key.ok()) return key.status();
  if (X509_check_private_key(chain->front().get(), key->get()) != 1) {
    return Invalid(files[1],
                   absl::StrCat(" does not belong to the first certificate of ", files[0].Text()));
  }
  if (files.size() > 2) {
    if (const auto authorities = ReadChain(files[2], contents[2]); !authorities.ok()) {
      return authorities.status();
    }
  }
  return Certificates{.chain = contents[0],
                      .private_key = contents[1],
                      .client_ca = files.size() > 2 ? contents[2] : "",
                      .about = About(*chain->front()),
                      .end = EndOf(*chain->front())};
}

}  // namespace

absl::StatusOr<std::shared_ptr<Reloaded<Certificates>>> OpenCertificates(const TlsFiles& files,
                                                                         const Log& log) {
  std::vector<FlagFile> named = {{.flag = "tls_certificate_file", .path = files.certificate},
                                 {.flag = "tls_private_key_file", .path = files.private_key}};
  if (!files.client_ca.empty()) {
    named.push_back({.flag = "tls_client_ca_file", .path = files.client_ca});
  }
  return Reloaded<Certificates>::Open(
      named,
      [named](const std::vector<std::string>& contents) {
        return ReadCertificates(named, contents);
      },
      log, std::chrono::steady_clock::now());
}

}  // namespace pixembed
