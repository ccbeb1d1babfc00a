// A TLS client that looks at what the server shows, and trusts anything; and a connection for HTTP.
#ifndef PIXEMBED_TESTS_SERVER_TLS_PEER_H_
#define PIXEMBED_TESTS_SERVER_TLS_PEER_H_

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "tests/server/authority.h"

namespace pixembed {

class TlsConnection {
 public:
  // `address`: "127.0.0.1:port". `own`: the client's certificate, if it has one.
  explicit TlsConnection(const std::string& address, const KeyPair& own = {},
                         std::string_view protocol = "\x08http/1.1")
      : context_(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free), bio_(nullptr, &BIO_free_all) {
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_NONE, nullptr);
    SSL_CTX_set_alpn_protos(context_.get(), reinterpret_cast<const unsigned char*>(protocol.data()),
                            static_cast<unsigned int>(protocol.size()));
    if (!own.certificate.empty()) UseCertificate(own);
    bio_.reset(BIO_new_ssl_connect(context_.get()));
    BIO_set_conn_hostname(bio_.get(), address.c_str());
    connected_ = BIO_do_connect(bio_.get()) == 1 && BIO_do_handshake(bio_.get()) == 1;
    ERR_clear_error();
  }
  TlsConnection(const TlsConnection&) = delete;
  TlsConnection& operator=(const TlsConnection&) = delete;
  ~TlsConnection() = default;

  bool connected() const { return connected_; }

  // Of the server's certificate; -1 if there is no connection.
  std::int64_t PeerSerial() const {
    SSL* ssl = nullptr;
    if (!connected_ || BIO_get_ssl(bio_.get(), &ssl) != 1) return -1;
    const X509* const certificate = SSL_get0_peer_certificate(ssl);
    return certificate == nullptr ? -1 : ASN1_INTEGER_get(X509_get0_serialNumber(certificate));
  }

  bool Send(std::string_view bytes) const {
    return BIO_write(bio_.get(), bytes.data(), static_cast<int>(bytes.size())) ==
           static_cast<int>(bytes.size());
  }

  // Blocks until the server closes the connection; what it sent before.
  std::string ReceiveAll() const {
    std::string received;
    char buffer[4096];
    for (;;) {
      const int size = BIO_read(bio_.get(), buffer, sizeof buffer);
      if (size <= 0) break;
      received.append(buffer, static_cast<std::size_t>(size));
    }
    ERR_clear_error();
    return received;
  }

 private:
  void UseCertificate(const KeyPair& own) const {
    using Bio = std::unique_ptr<BIO, decltype(&BIO_free_all)>;
    const Bio certificate(BIO_new_mem_buf(own.certificate.data(), -1), &BIO_free_all);
    const Bio key(BIO_new_mem_buf(own.private_key.data(), -1), &BIO_free_all);
    const std::unique_ptr<X509, decltype(&X509_free)> x509(
        PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr), &X509_free);
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pkey(
        PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
    SSL_CTX_use_certificate(context_.get(), x509.get());
    SSL_CTX_use_PrivateKey(context_.get(), pkey.get());
  }

  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<BIO, decltype(&BIO_free_all)> bio_;
  bool connected_ = false;
};

// The serial number that a gRPC server at `address` shows; -1 if there is no handshake.
inline std::int64_t TlsPeerSerial(const std::string& address) {
  return TlsConnection(address, {}, "\x02h2").PeerSerial();
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_TLS_PEER_H_
