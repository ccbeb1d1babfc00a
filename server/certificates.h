// Who the server is, and who may call it, in X.509: what the three files of TLS hold, checked
// before any library of TLS sees it.
#ifndef PIXEMBED_SERVER_CERTIFICATES_H_
#define PIXEMBED_SERVER_CERTIFICATES_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/reloaded.h"

namespace pixembed {

// Files in PEM.
struct TlsFiles {
  // The server's certificate, then those that lead to an authority. Flag: --tls_certificate_file.
  std::string certificate = {};
  // Of that certificate, without a passphrase. Flag: --tls_private_key_file.
  std::string private_key = {};
  // Authorities, one of which must have signed the client's certificate; empty: clients need none.
  // Flag: --tls_client_ca_file.
  std::string client_ca = {};
};

// What they hold.
struct Certificates {
  std::string chain;
  std::string private_key;
  std::string client_ca;
  // The certificate's subject, serial number and end.
  std::string about;
  std::int64_t end = 0;  // of the certificate, in seconds since the epoch
};

// The files, followed while others renew them. `log` may be null.
// Errors: INVALID_OPTION names the flag and the file that cannot be read or is no PEM of that kind,
// or the two that do not belong together.
absl::StatusOr<std::shared_ptr<Reloaded<Certificates>>> OpenCertificates(const TlsFiles& files,
                                                                         const Log& log);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_CERTIFICATES_H_
