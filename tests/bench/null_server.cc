// pixembed-server with a model that costs nothing: what remains is the cost of serving. The vector
// of an image is the mean of its pixels, 768 times. Prints "listening ADDRESS" and serves until
// SIGTERM or SIGINT. Uses the cores that it may run on (taskset). What it says of the process is
// what pixembed-server says: malloc keeps freed memory, and no lock is checked for deadlocks.
//
// usage: null_server [--listen=ADDRESS] [--input_side=PIXELS] [--metrics_listen=ADDRESS]
//                    [--tls_certificate_file=FILE --tls_private_key_file=FILE]
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/certificates.h"
#include "server/metrics.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "tests/bench/null_model.h"

ABSL_FLAG(std::string, listen, "127.0.0.1:0", "Address to serve on");
ABSL_FLAG(int, input_side, 224,
          "Pixels on a side of the model's input; images of this size are not resized");
ABSL_FLAG(std::string, metrics_listen, "", "Count, and answer GET /metrics there");
ABSL_FLAG(std::string, tls_certificate_file, "", "Serve with TLS: the certificate, PEM");
ABSL_FLAG(std::string, tls_private_key_file, "", "Serve with TLS: its key, PEM");

namespace pixembed {
namespace {

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "null_server: %s\n", status.ToString().c_str());
  return 1;
}

int Serve(const std::string& address, Size input, const std::string& metrics_address,
          const TlsFiles& tls) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts

  EngineOptions engine_options;
  engine_options.max_batch_size = 32;
  ServerOptions options;
  options.listen = {address};
  if (!metrics_address.empty()) {
    options.metrics_listen = metrics_address;
    options.metrics = std::make_shared<Metrics>();
    engine_options.observer = options.metrics;
  }
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      Engine::Start({std::make_shared<NullModel>(input)}, engine_options);
  if (!engine.ok()) return Fail(engine.status());
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
  absl::ParseCommandLine(argc, argv);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const int side = absl::GetFlag(FLAGS_input_side);
  return pixembed::Serve(absl::GetFlag(FLAGS_listen), {.height = side, .width = side},
                         absl::GetFlag(FLAGS_metrics_listen),
                         {.certificate = absl::GetFlag(FLAGS_tls_certificate_file),
                          .private_key = absl::GetFlag(FLAGS_tls_private_key_file)});
}
