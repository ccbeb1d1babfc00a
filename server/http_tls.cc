#include "server/http_tls.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/certificates.h"
#include "server/reloaded.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

// The longest chain that is sent or looked at.
constexpr unsigned int kMaxChain = 16;

gnutls_datum_t Datum(const std::string& text) {
  // GnuTLS does not write to it.
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          static_cast<unsigned int>(text.size())};
}

struct Crt {
  Crt() { gnutls_x509_crt_init(&handle); }
  Crt(const Crt&) = delete;
  Crt& operator=(const Crt&) = delete;
  ~Crt() { gnutls_x509_crt_deinit(handle); }
  gnutls_x509_crt_t handle = nullptr;
};

absl::Status Refuse(const char* why) {
  return MakeError(Reason::kInvalidToken, std::string(why) +
                                              "; wanted is one that an authority of the server's "
                                              "--tls_client_ca_file signed");
}

}  // namespace

int GiveCertificate(const Certificates& certificates, gnutls_pcert_st** chain, unsigned int* length,
                    gnutls_privkey_t* key, unsigned int* flags) {
  *length = kMaxChain;
  *chain = static_cast<gnutls_pcert_st*>(gnutls_calloc(kMaxChain, sizeof(gnutls_pcert_st)));
  if (*chain == nullptr) return -1;
  const gnutls_datum_t pem = Datum(certificates.chain);
  if (gnutls_pcert_list_import_x509_raw(*chain, length, &pem, GNUTLS_X509_FMT_PEM, 0) < 0) {
    gnutls_free(*chain);
    return -1;
  }
  const gnutls_datum_t key_pem = Datum(certificates.private_key);
  *key = nullptr;
  if (gnutls_privkey_init(key) < 0 ||
      gnutls_privkey_import_x509_raw(*key, &key_pem, GNUTLS_X509_FMT_PEM, nullptr, 0) < 0) {
    if (*key != nullptr) gnutls_privkey_deinit(*key);
    for (unsigned int i = 0; i < *length; ++i) gnutls_pcert_deinit(*chain + i);
    gnutls_free(*chain);
    return -1;
  }
  *flags |= GNUTLS_CERT_RETR_DEINIT_ALL;
  return 0;
}

AuthorityList::AuthorityList(const std::string& pem) {
  gnutls_x509_trust_list_init(&list_, 0);
  const gnutls_datum_t data = Datum(pem);
  gnutls_x509_trust_list_add_trust_mem(list_, &data, nullptr, GNUTLS_X509_FMT_PEM, 0, 0);
}

AuthorityList::~AuthorityList() { gnutls_x509_trust_list_deinit(list_, /*all=*/1); }

absl::Status AuthorityList::Check(std::span<const gnutls_datum_t> chain) const {
  if (chain.empty()) return Refuse("the client shows no certificate");
  std::vector<std::unique_ptr<Crt>> owned;
  std::vector<gnutls_x509_crt_t> handles;
  for (const gnutls_datum_t& der : chain.first(std::min<std::size_t>(chain.size(), kMaxChain))) {
    owned.push_back(std::make_unique<Crt>());
    if (gnutls_x509_crt_import(owned.back()->handle, &der, GNUTLS_X509_FMT_DER) < 0) {
      return Refuse("the client's certificate cannot be read");
    }
    handles.push_back(owned.back()->handle);
  }
  gnutls_typed_vdata_st purpose{
      GNUTLS_DT_KEY_PURPOSE_OID,
      reinterpret_cast<unsigned char*>(const_cast<char*>(GNUTLS_KP_TLS_WWW_CLIENT)), 0};
  unsigned int verdict = GNUTLS_CERT_INVALID;
  if (gnutls_x509_trust_list_verify_crt2(list_, handles.data(),
                                         static_cast<unsigned int>(handles.size()), &purpose, 1, 0,
                                         &verdict, nullptr) < 0 ||
      verdict != 0) {
    return Refuse("the client's certificate is not of an authority that is trusted");
  }
  return absl::OkStatus();
}

ClientAuthorities::ClientAuthorities(std::shared_ptr<Reloaded<Certificates>> certificates)
    : certificates_(std::move(certificates)) {}

std::shared_ptr<const AuthorityList> ClientAuthorities::Get(TimePoint now) {
  std::shared_ptr<const Certificates> current = certificates_->Get(now);
  const std::lock_guard lock(mutex_);
  if (current != version_) {
    list_ = current->client_ca.empty() ? nullptr
                                       : std::make_shared<const AuthorityList>(current->client_ca);
    version_ = std::move(current);
  }
  return list_;
}

absl::Status CheckClientCertificate(gnutls_session_t session, const AuthorityList& authorities) {
  unsigned int count = 0;
  const gnutls_datum_t* const shown = gnutls_certificate_get_peers(session, &count);
  return authorities.Check({shown, shown == nullptr ? 0 : count});
}

}  // namespace pixembed
