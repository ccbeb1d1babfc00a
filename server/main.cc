// pixembed-server: the composition root, the one place where all rooms meet.
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/bearer_tokens.h"
#include "server/certificates.h"
#include "server/config.h"
#include "server/listen.h"
#include "server/model_directories.h"
#include "server/model_repository.h"
#include "server/reloaded.h"
#include "server/server.h"
#include "server/stop_signal.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/model/model.h"
#include "src/verify/verify.h"

namespace pixembed {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitWrongFlags = 2;
constexpr int kExitNotVerified = 3;

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The last word of a server that cannot run: one line that names the thing.
int Fail(const absl::Status& status, int code = kExitFailure) {
  spdlog::shutdown();
  std::cerr << "pixembed-server: " << status.message() << '\n';
  return code;
}

std::optional<std::string> FromEnvironment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe)
  if (value == nullptr) return std::nullopt;
  return value;
}

void LogGrpc(gpr_log_func_args* args) {
  const auto level =
      args->severity == GPR_LOG_SEVERITY_ERROR ? spdlog::level::warn : spdlog::level::debug;
  spdlog::log(level, "gRPC: {}", args->message);
}

// Protobuf writes a line for every hostile request; the status that the caller gets says it all.
void LogProtobuf(google::protobuf::LogLevel /*level*/, const char* /*file*/, int /*line*/,
                 const std::string& message) {
  spdlog::debug("protobuf: {}", message);
}

void StartLogging() {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("pixembed"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  spdlog::flush_on(spdlog::level::info);
  gpr_set_log_function(LogGrpc);
  google::protobuf::SetLogHandler(LogProtobuf);
}

void LogConfig(const ServerConfig& config) {
  spdlog::info("{}", VersionText());
  for (const auto& [flag, value] : config.flags) spdlog::info("--{}={}", flag, value);
}

// That "auto" means the CPU here surprises on a machine that has a GPU.
void LogChoice(const ServerConfig& config, const std::vector<Device>& devices) {
  if (config.device != "auto" || devices.front().kind != Device::Kind::kCpu) return;
  const auto cuda = CudaDevices();
  if (!cuda.ok()) {
    spdlog::info("--device=auto is the CPU: {}", absl::StrCat(cuda.status().message()));
  }
}

void LogModel(const ModelSource& source, const Model& model, double seconds) {
  const ModelInfo& info = model.info();
  std::vector<std::string> devices;
  for (const Device& device : model.devices()) devices.push_back(DeviceName(device));
  const std::string input =
      absl::StrCat(info.input.height, "x", info.input.width, " pixels",
                   info.max_patches > 0 ? " or another shape of as many patches" : "");
  spdlog::info("model {}: {} from {}, {} parameters, {} tokens of {} dimensions, {}, {}",
               source.name, info.model_type, source.directory.string(), info.parameters,
               info.tokens, info.dimension, input, BackendName(info.preprocess.backend));
  spdlog::info("model {}: {}{} on {}, kernels: {}; loaded in {:.2f} s", source.name,
               PrecisionName(info.precision), info.deterministic ? ", deterministic" : "",
               absl::StrJoin(devices, ", "), info.kernels, seconds);
  if (info.precision != Precision::kFloat32) {
    spdlog::info("model {}: smallest cosine with float32 {:.7f} (at least {:.7f})", source.name,
                 info.precision_cosine, info.precision_min_cosine);
  }
  spdlog::info("model {}: fingerprint of mean pooling {}", source.name,
               model.Fingerprint({.pooling = Pooling::kMean}));
}

void LogEngine(const EngineOptions& options, double seconds) {
  spdlog::info(
      "engine: {} cores, {} decode threads, {} workers per device, at most {} images a batch; "
      "warmed up in {:.2f} s",
      options.cores, options.decode_threads, options.workers_per_device, options.max_batch_size,
      seconds);
}

// How every model is loaded.
absl::StatusOr<ModelOptions> ReadModelOptions(const ServerConfig& config) {
  absl::StatusOr<std::vector<Device>> devices = ResolveDevices(config.device);
  if (!devices.ok()) return Annotate(devices.status(), "--device");
  LogChoice(config, *devices);
  return ModelOptions{.backend = config.backend,
                      .format = config.format,
                      .trust_model_code = config.trust_model_code,
                      .devices = *std::move(devices),
                      .deterministic = config.deterministic,
                      .precision = config.precision,
                      .precision_min_cosine = config.precision_min_cosine};
}

// What is loaded before the server serves: --model, then --load_model.
absl::StatusOr<std::vector<ModelSource>> SourcesAtStart(const ServerConfig& config,
                                                        const ModelDirectories& directories) {
  std::vector<ModelSource> sources = config.models;
  std::vector<std::string> names;
  for (const std::string& name : config.load_models) {
    const std::vector<std::string> found =
        name == "*" ? directories.Names() : std::vector<std::string>{name};
    names.insert(names.end(), found.begin(), found.end());
  }
  for (const std::string& name : names) {
    const bool known =
        std::ranges::any_of(sources, [&name](const ModelSource& s) { return s.name == name; });
    if (known) continue;
    absl::StatusOr<ModelSource> source = directories.Find(name);
    if (!source.ok()) return Annotate(source.status(), "--load_model");
    sources.push_back(*std::move(source));
  }
  return sources;
}

absl::StatusOr<std::shared_ptr<const Model>> LoadSource(const ModelSource& source,
                                                        const ModelOptions& options) {
  const Clock::time_point start = Clock::now();
  auto model = LoadModel(source.directory, options);
  if (!model.ok()) {
    return Annotate(model.status(), absl::StrCat("cannot load model ", source.name, " from ",
                                                 source.directory.string()));
  }
  LogModel(source, **model, SecondsSince(start));
  return model;
}

void LogVerification(const ModelSource& source, const GoldenFile& golden,
                     const Verification& verification) {
  for (const Agreement& image : verification.images) {
    if (!image.decoded.ok()) {
      spdlog::warn("model {}: golden image {}: refused: {}", source.name, image.name,
                   absl::StrCat(image.decoded.message()));
      continue;
    }
    spdlog::log(image.ok() ? spdlog::level::info : spdlog::level::warn,
                "model {}: golden image {}: pixels {}, max-abs {:.3g}, cosine {:.7f}", source.name,
                image.name, image.same_pixels ? "equal" : "DIFFER", image.max_abs, image.cosine);
  }
  spdlog::info("model {}: on {} against {} golden images of {}: max-abs {:.3g}, cosine {:.7f}",
               source.name, DeviceName(verification.device), verification.images.size(),
               golden.made_with, verification.max_abs(), verification.cosine());
}

// Compares a model with the golden file beside it.
absl::Status CompareWithGolden(const ModelSource& source, const Model& model,
                               const DecodeLimits& limits, int threads) {
  const absl::StatusOr<GoldenFile> golden = OpenGoldenFile(source.directory);
  if (!golden.ok()) return golden.status();
  const auto verifications = Verify(model, *golden, limits, threads);
  if (!verifications.ok()) return verifications.status();
  for (const Verification& verification : *verifications) {
    LogVerification(source, *golden, verification);
  }
  for (const Verification& verification : *verifications) {
    if (absl::Status verdict = verification.Verdict(); !verdict.ok()) return verdict;
  }
  spdlog::info("model {}: verified", source.name);
  return absl::OkStatus();
}

// What --verify asks for. `threads`: as Runner::Embed. Errors: the model may not be served.
absl::Status VerifyModel(const ServerConfig& config, const ModelSource& source, const Model& model,
                         int threads) {
  if (config.verify == VerifyMode::kOff) return absl::OkStatus();
  if (config.verify != VerifyMode::kOnly && !HasGoldenFile(source.directory)) {
    spdlog::info("model {}: not verified: no {} beside it", source.name, kGoldenFileName);
    return absl::OkStatus();
  }
  absl::Status status = CompareWithGolden(source, model, config.engine.limits, threads);
  if (status.ok()) return status;
  if (config.verify != VerifyMode::kWarn) {
    return Annotate(status, absl::StrCat("model ", source.name, " is not verified"));
  }
  spdlog::warn("model {}: not verified, but served (--verify=warn): {}", source.name,
               absl::StrCat(status.message()));
  return absl::OkStatus();
}

// An engine with the models of `sources`, which are checked. Holds none of them for itself.
absl::StatusOr<std::unique_ptr<Engine>> StartEngine(const ServerConfig& config,
                                                    const std::vector<ModelSource>& sources,
                                                    const ModelOptions& options) {
  std::vector<std::shared_ptr<const Model>> models;
  for (const ModelSource& source : sources) {
    absl::StatusOr<std::shared_ptr<const Model>> model = LoadSource(source, options);
    if (!model.ok()) return model.status();
    models.push_back(*std::move(model));
  }
  const Clock::time_point start = Clock::now();
  EngineOptions engine_options = config.engine;
  engine_options.devices = options.devices;
  auto engine = Engine::Start(models, engine_options);
  if (!engine.ok()) return Annotate(engine.status(), "cannot start the engine");
  LogEngine((*engine)->options(), SecondsSince(start));
  for (std::size_t i = 0; i < models.size(); ++i) {
    absl::Status status = VerifyModel(config, sources[i], *models[i], (*engine)->options().cores);
    if (!status.ok()) return status;
  }
  return engine;
}

// How models are loaded while others are served. `config` and `directories` outlive it.
ModelControl MakeModelControl(const ServerConfig& config, const ModelDirectories& directories,
                              const ModelOptions& options) {
  const auto load =
      [&config, &directories, options](
          const std::string& name,
          const std::stop_token& stop) -> absl::StatusOr<std::shared_ptr<const Model>> {
    const absl::StatusOr<ModelSource> source = directories.Find(name);
    if (!source.ok()) return source.status();
    absl::StatusOr<std::shared_ptr<const Model>> model = LoadSource(*source, options);
    if (!model.ok()) return model.status();
    if (stop.stop_requested()) {
      return MakeError(Reason::kDraining, "the server is shutting down");
    }
    // On one core: the others are in use.
    absl::Status status = VerifyModel(config, *source, **model, /*threads=*/1);
    if (!status.ok()) return status;
    return model;
  };
  return {.names = [&directories] { return directories.Names(); },
          .load = load,
          .log = [](const std::string& line) { spdlog::info("{}", line); }};
}

void LogServer(Severity severity, const std::string& line) {
  spdlog::log(severity == Severity::kWarning ? spdlog::level::warn : spdlog::level::info, "{}",
              line);
}

// What --tls_* name; null if they name nothing.
absl::StatusOr<std::shared_ptr<Reloaded<Certificates>>> OpenTls(const ServerConfig& config) {
  if (config.tls.certificate.empty()) return nullptr;
  return OpenCertificates(config.tls, LogServer);
}

// What --auth_token_file names; null if it names nothing.
absl::StatusOr<std::shared_ptr<BearerTokens>> OpenTokens(const ServerConfig& config) {
  if (config.auth_token_file.empty()) return nullptr;
  return BearerTokens::Open(config.auth_token_file, LogServer);
}

// Serves on for the grace, in which a second signal still ends the process.
void Linger(std::chrono::nanoseconds grace) {
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  const auto end = Clock::now() + grace;
  never.wait_until(lock, end, [end] { return Clock::now() >= end; });
}

void LogEnd(const EngineStats& stats, const absl::Status& drained) {
  spdlog::info("{} images answered, {} failed, {} refused, in {} batches", stats.completed,
               stats.failed, stats.refused, stats.batches);
  if (drained.ok()) {
    spdlog::info("drained; nothing was lost");
  } else {
    spdlog::warn("drained: {}", absl::StrCat(drained.message()));
  }
}

int Serve(const ServerConfig& config, StopSignal& signal) {
  LogConfig(config);
  // Before minutes of loading: an address that is taken will still be taken, and no file of TLS
  // will be there that is not.
  const bool serves = config.verify != VerifyMode::kOnly;
  for (const std::string& address : serves ? config.server.listen : std::vector<std::string>()) {
    if (absl::Status status = CheckListenAddress(address); !status.ok()) return Fail(status);
  }
  const auto certificates = OpenTls(config);
  if (!certificates.ok()) return Fail(certificates.status());
  const auto tokens = OpenTokens(config);
  if (!tokens.ok()) return Fail(tokens.status());
  InitializeRuntime();
  const ModelDirectories directories(config.models, config.model_repository);
  const absl::StatusOr<std::vector<ModelSource>> sources = SourcesAtStart(config, directories);
  if (!sources.ok()) return Fail(sources.status());
  const absl::StatusOr<ModelOptions> options = ReadModelOptions(config);
  if (!options.ok()) return Fail(options.status());
  const auto engine = StartEngine(config, *sources, *options);
  if (!engine.ok()) {
    const bool differs = ReasonOf(engine.status()) == Reason::kGoldenMismatch;
    return Fail(engine.status(), differs ? kExitNotVerified : kExitFailure);
  }
  if (!serves) return EXIT_SUCCESS;
  std::vector<std::string> names;
  for (const ModelSource& source : *sources) names.push_back(source.name);
  ServerOptions server_options = config.server;
  if (config.model_control) {
    server_options.model_control = MakeModelControl(config, directories, *options);
  }
  server_options.certificates = *certificates;
  server_options.tokens = *tokens;
  server_options.log = LogServer;
  const auto server = Server::Start(**engine, names, server_options);
  if (!server.ok()) return Fail(server.status());
  signal.Serving();
  if (const std::string http = (*server)->http_address(); !http.empty()) {
    spdlog::info("serving HTTP on {}", http);
  }
  spdlog::info("serving on {}", absl::StrJoin((*server)->addresses(), ", "));

  spdlog::info("{}: not serving new clients; draining", signal.Wait());
  (*server)->AnnounceDrain();
  Linger(config.drain_grace);
  const absl::Status drained = (*server)->Stop(Clock::now() + config.drain_timeout);
  LogEnd((*engine)->stats(), drained);
  return EXIT_SUCCESS;
}

int Main(std::span<const char* const> arguments) {
  const absl::StatusOr<CommandLine> command = ParseCommandLine(arguments, FromEnvironment);
  if (!command.ok()) return Fail(command.status(), kExitWrongFlags);
  switch (command->action) {
    case Action::kPrintHelp:
      std::cout << HelpText();
      return EXIT_SUCCESS;
    case Action::kPrintMarkdown:
      std::cout << FlagsMarkdown() << '\n' << ReasonsMarkdown();
      return EXIT_SUCCESS;
    case Action::kPrintVersion:
      std::cout << VersionText() << '\n';
      return EXIT_SUCCESS;
    case Action::kServe:
      break;
  }
  StopSignal signal;  // before any thread
  StartLogging();
  return Serve(command->config, signal);
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  const std::span<const char* const> words(argv, static_cast<std::size_t>(argc));
  return pixembed::Main(words.empty() ? words : words.subspan(1));
}
