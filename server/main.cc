// pixembed-server: the composition root, the one place where all rooms meet.
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
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
#include "absl/synchronization/mutex.h"
#include "server/bearer_tokens.h"
#include "server/certificates.h"
#include "server/config.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/model_directories.h"
#include "server/model_repository.h"
#include "server/reloaded.h"
#include "server/server.h"
#include "server/stop_signal.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/launch/launch.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitWrongFlags = 2;
constexpr int kExitNotVerified = 3;

using Clock = std::chrono::steady_clock;

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

// Debian's Abseil checks every lock for deadlocks, gRPC's too, under one lock of the whole process:
// a few percent of what a request costs. The tests of the server in their own process keep it.
void LeaveLocksUnchecked() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

void WriteLog(LogLevel level, const std::string& line) {
  spdlog::log(level == LogLevel::kInfo ? spdlog::level::info : spdlog::level::warn, "{}", line);
}

void LogConfig(const ServerConfig& config) {
  spdlog::info("{}", VersionText());
  for (const auto& [flag, value] : config.flags) spdlog::info("--{}={}", flag, value);
}

// A repository whose models are not there starts a server of nothing: what is not taken of it is
// told. Errors: those of CheckRepository, and INVALID_OPTION where --load_model=* finds nothing,
// unless something can be loaded later.
absl::Status LookIntoRepository(const ServerConfig& config, const ModelDirectories& directories) {
  if (absl::Status status = directories.CheckRepository(); !status.ok()) return status;
  for (const ModelDirectories::LeftOut& left : directories.AllLeftOut()) {
    WriteLog(LogLevel::kWarning,
             absl::StrCat("--model_repository: ", Quoted(left.name), " is left out: ", left.why));
  }
  const bool all = std::ranges::find(config.load_models, "*") != config.load_models.end();
  if (!all || directories.Names().size() > config.models.size()) return absl::OkStatus();
  const std::string nothing = absl::StrCat(
      "--load_model=* finds no model in --model_repository=", config.model_repository.string(),
      ": its subdirectories are models");
  if (!config.model_control) return MakeError(Reason::kInvalidOption, nothing);
  WriteLog(LogLevel::kWarning,
           absl::StrCat(nothing, "; --model_control=explicit can load one that comes"));
  return absl::OkStatus();
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

// How models are loaded while others are served. `config` and `directories` outlive it.
ModelControl MakeModelControl(const ServerConfig& config, const ModelDirectories& directories,
                              const ModelOptions& options) {
  const auto load =
      [&config, &directories, options](
          const std::string& name,
          const std::stop_token& stop) -> absl::StatusOr<std::shared_ptr<const Model>> {
    const absl::StatusOr<ModelSource> source = directories.Find(name);
    if (!source.ok()) return source.status();
    absl::StatusOr<std::shared_ptr<const Model>> model = LoadSource(*source, options, WriteLog);
    if (!model.ok()) return model.status();
    if (stop.stop_requested()) {
      return MakeError(Reason::kDraining, "the server is shutting down");
    }
    // On one core: the others are in use.
    absl::Status status = VerifySource(config, *source, **model, /*threads=*/1, WriteLog);
    if (!status.ok()) return status;
    return model;
  };
  return {.names = [&directories] { return directories.Names(); },
          .load = load,
          .log = [](const std::string& line) { spdlog::info("{}", line); }};
}

// What --tls_* name; null if they name nothing.
absl::StatusOr<std::shared_ptr<Reloaded<Certificates>>> OpenTls(const ServerConfig& config) {
  if (config.tls.certificate.empty()) return nullptr;
  return OpenCertificates(config.tls, WriteLog);
}

// What --auth_token_file names; null if it names nothing.
absl::StatusOr<std::shared_ptr<BearerTokens>> OpenTokens(const ServerConfig& config) {
  if (config.auth_token_file.empty()) return nullptr;
  return BearerTokens::Open(config.auth_token_file, WriteLog);
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

// Whether the addresses can be listened on now.
absl::Status CheckAddresses(const ServerOptions& options) {
  for (const std::string& address : options.listen) {
    if (absl::Status status = CheckListenAddress(address); !status.ok()) return status;
  }
  for (const auto& [address, flag] : {std::pair(&options.http_listen, kHttpListenFlag),
                                      std::pair(&options.metrics_listen, kMetricsListenFlag)}) {
    if (address->empty()) continue;
    if (absl::Status status = CheckListenAddress(*address, flag); !status.ok()) return status;
  }
  return absl::OkStatus();
}

int Serve(const ServerConfig& config, StopSignal& signal) {
  LogConfig(config);
  // Before minutes of loading: an address that is taken will still be taken, and no file of TLS
  // will be there that is not.
  const bool serves = config.verify != VerifyMode::kOnly;
  if (serves) {
    if (absl::Status status = CheckAddresses(config.server); !status.ok()) return Fail(status);
  }
  const auto certificates = OpenTls(config);
  if (!certificates.ok()) return Fail(certificates.status());
  const auto tokens = OpenTokens(config);
  if (!tokens.ok()) return Fail(tokens.status());
  InitializeRuntime();
  const ModelDirectories directories(config.models, config.model_repository);
  if (absl::Status status = LookIntoRepository(config, directories); !status.ok()) {
    return Fail(status);
  }
  const absl::StatusOr<std::vector<ModelSource>> sources = SourcesAtStart(config, directories);
  if (!sources.ok()) return Fail(sources.status());
  const absl::StatusOr<ModelOptions> options = ReadModelOptions(config, WriteLog);
  if (!options.ok()) return Fail(options.status());
  LaunchConfig launch = config;
  ServerOptions server_options = config.server;
  if (!config.server.metrics_listen.empty()) {
    server_options.metrics = std::make_shared<Metrics>();
    launch.engine.observer = server_options.metrics;
  }
  const auto engine = LaunchEngine(launch, *sources, *options, WriteLog);
  if (!engine.ok()) {
    const bool differs = ReasonOf(engine.status()) == Reason::kGoldenMismatch;
    return Fail(engine.status(), differs ? kExitNotVerified : kExitFailure);
  }
  if (!serves) return EXIT_SUCCESS;
  std::vector<std::string> names;
  for (const ModelSource& source : *sources) names.push_back(source.name);
  if (config.model_control) {
    server_options.model_control = MakeModelControl(config, directories, *options);
  }
  server_options.certificates = *certificates;
  server_options.tokens = *tokens;
  server_options.log = WriteLog;
  const auto server = Server::Start(**engine, names, server_options);
  if (!server.ok()) return Fail(server.status());
  signal.Serving();
  if (const std::string http = (*server)->http_address(); !http.empty()) {
    spdlog::info("serving HTTP on {}", http);
  }
  if (const std::string metrics = (*server)->metrics_address(); !metrics.empty()) {
    spdlog::info("serving metrics on {}", metrics);
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
      std::cout << FlagsMarkdown() << '\n' << ReasonsMarkdown() << '\n' << MetricsMarkdown();
      return EXIT_SUCCESS;
    case Action::kPrintVersion:
      std::cout << VersionText() << '\n';
      return EXIT_SUCCESS;
    case Action::kServe:
      break;
  }
  StopSignal signal;  // before any thread
  LeaveLocksUnchecked();
  StartLogging();
  return Serve(command->config, signal);
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  const std::span<const char* const> words(argv, static_cast<std::size_t>(argc));
  return pixembed::Main(words.empty() ? words : words.subspan(1));
}
