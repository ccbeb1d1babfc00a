// pixembed-server with a model that costs nothing: what remains is the cost of serving. The vector
// of an image is the mean of its pixels, 768 times. Prints "listening ADDRESS" and serves until
// SIGTERM or SIGINT.
//
// usage: null_server [ADDRESS [CERTIFICATE KEY]]        default: 127.0.0.1:0, without TLS
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/certificates.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/bench/null_model.h"

namespace pixembed {
namespace {

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "null_server: %s\n", status.ToString().c_str());
  return 1;
}

int Serve(const std::string& address, const TlsFiles& tls) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts

  EngineOptions engine_options;
  engine_options.max_batch_size = 32;
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      Engine::Start({std::make_shared<NullModel>()}, engine_options);
  if (!engine.ok()) return Fail(engine.status());
  ServerOptions options;
  options.listen = {address};
  if (!tls.certificate.empty()) {
    const auto certificates = OpenCertificates(tls, nullptr);
    if (!certificates.ok()) return Fail(certificates.status());
    options.certificates = *certificates;
  }
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(**engine, {"null"}, options);
  if (!server.ok()) return Fail(server.status());
  std::printf("listening %s\n", (*server)->addresses().front().c_str());
  std::fflush(stdout);

  int signal = 0;
  sigwait(&signals, &signal);
  const absl::Status stopped =
      (*server)->Stop(std::chrono::steady_clock::now() + std::chrono::seconds(10));
  return stopped.ok() ? 0 : Fail(stopped);
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  return pixembed::Serve(argc > 1 ? argv[1] : "127.0.0.1:0",
                         argc > 3
                             ? pixembed::TlsFiles{.certificate = argv[2], .private_key = argv[3]}
                             : pixembed::TlsFiles());
}
