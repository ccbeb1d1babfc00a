// TLS for HTTP: what libmicrohttpd leaves to its user, by GnuTLS.
#ifndef PIXEMBED_SERVER_HTTP_TLS_H_
#define PIXEMBED_SERVER_HTTP_TLS_H_

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>

#include "absl/status/status.h"
#include "server/certificates.h"

namespace pixembed {

// Hands the certificate and its key to a handshake, which owns them then: the end of a
// gnutls_certificate_retrieve_function3. 0, or -1 where GnuTLS cannot read them.
int GiveCertificate(const Certificates& certificates, gnutls_pcert_st** chain, unsigned int* length,
                    gnutls_privkey_t* key, unsigned int* flags);

// Whether the client of a session showed a certificate of the authorities in `client_ca` (PEM), for
// a client. Errors: INVALID_TOKEN: it showed none, or one of others.
absl::Status CheckClientCertificate(gnutls_session_t session, const std::string& client_ca);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_HTTP_TLS_H_
