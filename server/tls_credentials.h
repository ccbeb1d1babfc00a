// TLS for gRPC.
#ifndef PIXEMBED_SERVER_TLS_CREDENTIALS_H_
#define PIXEMBED_SERVER_TLS_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/certificates.h"
#include "server/reloaded.h"

namespace pixembed {

// Credentials of one listening port: every handshake takes the certificates that are in force then.
// With client authorities, a client without a certificate of theirs has no connection. Whether
// there are any does not change. Keep them until the server is gone.
//
// Why not gRPC's own FileWatcherCertificateProvider: in 1.51 it lets go of the certificate in force
// before it has tried the next, so that files that do not belong together, as they are for a moment
// in every renewal of two files, end all new connections.
std::shared_ptr<grpc::ServerCredentials> TlsCredentials(
    std::shared_ptr<Reloaded<Certificates>> certificates);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_TLS_CREDENTIALS_H_
