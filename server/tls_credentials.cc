#include "server/tls_credentials.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_metadata_processor.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace pixembed {
namespace {

// gRPC's C++ has no credentials with a fetcher; its C has.
class FetchedCredentials final : public grpc::ServerCredentials {
 public:
  explicit FetchedCredentials(std::shared_ptr<Reloaded<Certificates>> certificates)
      : certificates_(std::move(certificates)) {
    const bool mutual = !certificates_->Get(std::chrono::steady_clock::now())->client_ca.empty();
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
            &FetchedCredentials::Fetch, this));
  }
  FetchedCredentials(const FetchedCredentials&) = delete;
  FetchedCredentials& operator=(const FetchedCredentials&) = delete;
  ~FetchedCredentials() override { grpc_server_credentials_release(credentials_); }

  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // Before every handshake of the port, on any thread.
  static grpc_ssl_certificate_config_reload_status Fetch(
      void* self, grpc_ssl_server_certificate_config** config) {
    auto& credentials = *static_cast<FetchedCredentials*>(self);
    auto current = credentials.certificates_->Get(std::chrono::steady_clock::now());
    const std::lock_guard lock(credentials.mutex_);
    if (current == credentials.given_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair{.private_key = current->private_key.c_str(),
                                          .cert_chain = current->chain.c_str()};
    // gRPC wants authorities here even where it asks for no certificate, and then ignores them.
    const std::string& authorities =
        current->client_ca.empty() ? current->chain : current->client_ca;
    *config = grpc_ssl_server_certificate_config_create(authorities.c_str(), &pair, 1);
    credentials.given_ = std::move(current);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<Reloaded<Certificates>> certificates_;
  grpc_server_credentials* credentials_ = nullptr;
  std::mutex mutex_;
  std::shared_ptr<const Certificates> given_;  // guarded by mutex_: what the port has
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> TlsCredentials(
    std::shared_ptr<Reloaded<Certificates>> certificates) {
  return std::make_shared<FetchedCredentials>(std::move(certificates));
}

}  // namespace pixembed
