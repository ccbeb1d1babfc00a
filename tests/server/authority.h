// Certificates for a test, made in its process.
#ifndef PIXEMBED_TESTS_SERVER_AUTHORITY_H_
#define PIXEMBED_TESTS_SERVER_AUTHORITY_H_

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

namespace pixembed {

// A certificate and its private key, in PEM.
struct KeyPair {
  std::string certificate;
  std::string private_key;
};

// Signs certificates of an hour.
class Authority {
 public:
  explicit Authority(const std::string& name = "authority")
      : name_(name), key_(EVP_EC_gen("P-256"), &EVP_PKEY_free) {
    certificate_ = Sign(name, 1, *key_, {{NID_basic_constraints, "critical,CA:TRUE"}});
  }

  // Of the authority itself, in PEM.
  const std::string& certificate() const { return certificate_; }

  // For 127.0.0.1 and localhost, as a server and as a client.
  KeyPair Issue(const std::string& name, std::int64_t serial) const {
    const Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
    return {.certificate = Sign(name, serial, *key,
                                {{NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost"},
                                 {NID_ext_key_usage, "serverAuth,clientAuth"}}),
            .private_key = Pem([&key](BIO* bio) {
              return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr,
                                                   nullptr);
            })};
  }

 private:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  struct Extension {
    int kind;
    const char* value;
  };

  template <typename Write>
  static std::string Pem(const Write& write) {
    const std::unique_ptr<BIO, decltype(&BIO_free_all)> bio(BIO_new(BIO_s_mem()), &BIO_free_all);
    if (write(bio.get()) != 1) throw std::runtime_error("no PEM");
    const char* data = nullptr;
    const auto size = static_cast<std::size_t>(BIO_get_mem_data(bio.get(), &data));
    return {data, size};
  }

  static void SetName(X509_NAME* subject, const std::string& name) {
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  }

  std::string Sign(const std::string& name, std::int64_t serial, EVP_PKEY& key,
                   std::initializer_list<Extension> extensions) const {
    constexpr std::int64_t kHour = 3600;
    const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), &X509_free);
    X509_set_version(made.get(), 2);  // X.509 v3
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), serial);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -kHour);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), kHour);
    SetName(X509_get_subject_name(made.get()), name);
    SetName(X509_get_issuer_name(made.get()), name_);
    X509_set_pubkey(made.get(), &key);
    for (const Extension& extension : extensions) {
      const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> part(
          X509V3_EXT_conf_nid(nullptr, nullptr, extension.kind, extension.value),
          &X509_EXTENSION_free);
      X509_add_ext(made.get(), part.get(), -1);
    }
    if (X509_sign(made.get(), key_.get(), EVP_sha256()) == 0) {
      throw std::runtime_error("no signature");
    }
    return Pem([&made](BIO* bio) { return PEM_write_bio_X509(bio, made.get()); });
  }

  const std::string name_;
  const Key key_;
  std::string certificate_;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_AUTHORITY_H_
