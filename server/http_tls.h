// TLS for HTTP: what libmicrohttpd leaves to its user, by GnuTLS.
#ifndef PIXEMBED_SERVER_HTTP_TLS_H_
#define PIXEMBED_SERVER_HTTP_TLS_H_

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "server/certificates.h"
#include "server/reloaded.h"
#include "src/engine/engine.h"

namespace pixembed {

// Hands the certificate and its key to a handshake, which owns them then: the end of a
// gnutls_certificate_retrieve_function3. 0, or -1 where GnuTLS cannot read them.
int GiveCertificate(const Certificates& certificates, gnutls_pcert_st** chain, unsigned int* length,
                    gnutls_privkey_t* key, unsigned int* flags);

// Authorities that sign certificates of clients, as GnuTLS holds them. Thread-safe.
class AuthorityList {
 public:
  // `pem`: one certificate or more. What cannot be read is left out: nobody is then let in by it.
  explicit AuthorityList(const std::string& pem);
  AuthorityList(const AuthorityList&) = delete;
  AuthorityList& operator=(const AuthorityList&) = delete;
  ~AuthorityList();

  // Whether one of them signed `chain` (DER; the client's own certificate, then those that lead to
  // an authority), for a client. Errors: INVALID_TOKEN: the chain is empty, cannot be read, or is
  // of others.
  absl::Status Check(std::span<const gnutls_datum_t> chain) const;

 private:
  gnutls_x509_trust_list_t list_ = nullptr;
};

// The authorities in force, read once for each version of the files. Thread-safe.
class ClientAuthorities {
 public:
  explicit ClientAuthorities(std::shared_ptr<Reloaded<Certificates>> certificates);

  // Null: there are none, and clients need no certificate.
  std::shared_ptr<const AuthorityList> Get(TimePoint now);

 private:
  const std::shared_ptr<Reloaded<Certificates>> certificates_;
  std::mutex mutex_;
  std::shared_ptr<const Certificates> version_;  // guarded by mutex_: what list_ was read from
  std::shared_ptr<const AuthorityList> list_;    // guarded by mutex_
};

// AuthorityList::Check of the certificates that the client of a session showed.
absl::Status CheckClientCertificate(gnutls_session_t session, const AuthorityList& authorities);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_HTTP_TLS_H_
