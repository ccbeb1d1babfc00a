#include "server/config.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/certificates.h"
#include "server/listen.h"
#include "server/server.h"
#include "src/command_line/command_line.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/launch/launch.h"

using pixembed::ByteSize;
using pixembed::FlagList;

ABSL_FLAG(std::string, model_repository, "",
          "Directory whose subdirectories are model directories, each under its own name. They are "
          "loaded where --load_model says so, or by --model_control. Empty: there is none");
ABSL_FLAG(FlagList, load_model, {},
          "Name of a model of --model_repository that is loaded at start, as those of --model are; "
          "* is all of them. May repeat");
ABSL_FLAG(std::string, model_control, "none",
          "Whether models are loaded, reloaded and unloaded while the server runs, by Triton's "
          "RepositoryModelLoad and RepositoryModelUnload: none, or explicit, for whoever reaches "
          "the port. Names are those of --model and --model_repository");
ABSL_FLAG(FlagList, listen, {"127.0.0.1:50051"},
          "Address to listen on: host:port, [IPv6]:port, or unix:path. May repeat. Port 0 takes a "
          "free port");
ABSL_FLAG(std::string, http_listen, "",
          "Address of the HTTP bridge (OpenAI, Weaviate, curl): host:port or [IPv6]:port. Empty: "
          "there is none");
ABSL_FLAG(std::string, metrics_listen, "",
          "Address of GET /metrics for Prometheus, without TLS and tokens: host:port or "
          "[IPv6]:port. Empty: there is none, and nothing is counted");
ABSL_FLAG(absl::Duration, http_timeout, absl::Seconds(60),
          "How long an HTTP request may take; its images are DEADLINE_EXCEEDED then");
ABSL_FLAG(
    std::string, tls_certificate_file, "",
    "Certificate of the server in PEM, with those between it and an authority: TLS on --listen "
    "(but for unix sockets) and --http_listen. What is renewed on disk is taken for the next "
    "connection. Empty: no TLS");
ABSL_FLAG(std::string, tls_private_key_file, "",
          "Private key of --tls_certificate_file in PEM, without a passphrase; renewed as that is");
ABSL_FLAG(std::string, tls_client_ca_file, "",
          "Authorities in PEM: every client must have a certificate that one of them signed. "
          "Renewed as --tls_certificate_file is. Empty: clients need none");
ABSL_FLAG(
    std::string, auth_token_file, "",
    "Tokens, one a line, of which every call must show one as \"authorization: Bearer TOKEN\", "
    "but for health; # begins a comment. Read again within a second of a change. Empty: "
    "whoever reaches the port may call");
ABSL_FLAG(std::int64_t, max_request_images, 256,
          "Images of one request message. EmbedStream takes any number of messages");
ABSL_FLAG(ByteSize, max_message_bytes, ByteSize{std::size_t{64} << 20},
          "Size of one request message. Larger ones are refused with MESSAGE_TOO_LARGE; from 2 GiB "
          "on by gRPC itself");
ABSL_FLAG(
    ByteSize, max_receive_bytes, ByteSize{std::size_t{2} << 30},
    "Bytes of all messages that are being received at once; past it gRPC ends calls with "
    "RESOURCE_EXHAUSTED. gRPC counts roughly: clients that stop in the middle of messages make "
    "it hold 1.5 times as much at 2GiB, 2 times at 1GiB, 3 times at 256MiB, 4 times at 64MiB. "
    "Bodies of HTTP are as many again, and counted exactly");
ABSL_FLAG(std::int64_t, stream_window, 64,
          "Images that one EmbedStream may have in flight; the server reads no further meanwhile");
ABSL_FLAG(std::int64_t, max_calls, 10'000,
          "Calls at once; more are refused with OVERLOADED before their message is read");
ABSL_FLAG(int, grpc_threads, 0,
          "Threads that serve gRPC, with a completion queue each. 0: as many as cores");
ABSL_FLAG(absl::Duration, drain_grace, absl::ZeroDuration(),
          "After SIGTERM: how long to serve on while health says NOT_SERVING, so that load "
          "balancers look elsewhere first");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(30),
          "After the grace: how long accepted work may take to finish before it is cut off");

namespace pixembed {
namespace {

// This program's own flags, in the order of the documentation, which has the first of
// LaunchFlags(), --model, before all, and the others between these two.
constexpr std::array<std::string_view, 11> kReachFlags = {
    "model_repository",     "load_model",         "model_control",   "listen",
    "http_listen",          "http_timeout",       "metrics_listen",  "tls_certificate_file",
    "tls_private_key_file", "tls_client_ca_file", "auth_token_file",
};
constexpr std::array<std::string_view, 8> kTrafficFlags = {
    "max_request_images", "max_message_bytes", "max_receive_bytes", "stream_window",
    "max_calls",          "grpc_threads",      "drain_grace",       "drain_timeout",
};

// All flags, in the order of the documentation.
std::vector<std::string_view> Flags() {
  const std::span<const std::string_view> launch = LaunchFlags();
  std::vector<std::string_view> flags = {launch.front()};
  flags.insert(flags.end(), kReachFlags.begin(), kReachFlags.end());
  flags.insert(flags.end(), launch.begin() + 1, launch.end());
  flags.insert(flags.end(), kTrafficFlags.begin(), kTrafficFlags.end());
  return flags;
}

// Words of the command line that are no flags with a value.
struct ActionRow {
  std::string_view argument;
  Action action;
  std::string_view help;
};
constexpr std::array kActions = {
    ActionRow{"--help", Action::kPrintHelp, "Prints every flag and exits"},
    ActionRow{"--help_markdown", Action::kPrintMarkdown,
              "Prints the tables of flags, reasons and metrics of README.md and docs/metrics.md "
              "and exits"},
    ActionRow{"--version", Action::kPrintVersion, "Prints the version and exits"},
};

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Invalid(std::string_view text) { return MakeError(Reason::kInvalidOption, text); }

absl::Status CheckValues() {
  constexpr std::int64_t kMaxThreads = 1024;
  constexpr std::int64_t kMaxBytes = std::int64_t{1} << 50;
  constexpr std::int64_t kMaxMessage = std::numeric_limits<int>::max();  // protobuf's bound
  constexpr std::int64_t kDay = std::int64_t{24} * 3600 * 1000;
  const std::array ranges = {
      FlagRange{"max_request_images", absl::GetFlag(FLAGS_max_request_images), 1, 65'536},
      FlagRange{"max_message_bytes", Bytes(absl::GetFlag(FLAGS_max_message_bytes)), 1, kMaxMessage},
      FlagRange{"max_receive_bytes", Bytes(absl::GetFlag(FLAGS_max_receive_bytes)), 1 << 20,
                kMaxBytes},
      FlagRange{"stream_window", absl::GetFlag(FLAGS_stream_window), 1, 1'000'000},
      FlagRange{"max_calls", absl::GetFlag(FLAGS_max_calls), 1, 1'000'000},
      FlagRange{"grpc_threads", absl::GetFlag(FLAGS_grpc_threads), 0, kMaxThreads},
      FlagRange{"http_timeout", Milliseconds(absl::GetFlag(FLAGS_http_timeout)), 1, kDay},
      FlagRange{"drain_grace", Milliseconds(absl::GetFlag(FLAGS_drain_grace)), 0, kDay},
      FlagRange{"drain_timeout", Milliseconds(absl::GetFlag(FLAGS_drain_timeout)), 0, kDay},
  };
  return CheckRanges(ranges);
}

// A limit that lets in what another one can never take would refuse it for ever.
absl::Status CheckPairs(const EngineOptions& engine) {
  const std::int64_t request_images = absl::GetFlag(FLAGS_max_request_images);
  if (static_cast<std::size_t>(request_images) > engine.max_queued_images) {
    return Invalid(absl::StrCat("--max_request_images is ", request_images,
                                ", more than --max_queued_images, ", engine.max_queued_images));
  }
  const ByteSize message = absl::GetFlag(FLAGS_max_message_bytes);
  for (const auto& [name, size] :
       {std::pair("max_queued_bytes", ByteSize{engine.max_queued_bytes}),
        std::pair("max_receive_bytes", absl::GetFlag(FLAGS_max_receive_bytes))}) {
    if (message.bytes > size.bytes) {
      return Invalid(absl::StrCat("--max_message_bytes is ", AbslUnparseFlag(message),
                                  ", more than --", name, ", ", AbslUnparseFlag(size)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckAddresses() {
  const FlagList addresses = absl::GetFlag(FLAGS_listen);
  if (addresses.empty()) return Invalid("--listen is empty");
  for (const std::string& address : addresses) {
    if (absl::Status status = CheckListenText(address); !status.ok()) return status;
  }
  for (const auto& [address, flag] :
       {std::pair(absl::GetFlag(FLAGS_http_listen), kHttpListenFlag),
        std::pair(absl::GetFlag(FLAGS_metrics_listen), kMetricsListenFlag)}) {
    if (address.empty()) continue;
    if (absl::Status status = CheckListenText(address, flag); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// Whether there is, or can be, something to serve.
absl::Status CheckModelsToServe(bool any_model, bool control) {
  const bool repository = !absl::GetFlag(FLAGS_model_repository).empty();
  const bool loads = !absl::GetFlag(FLAGS_load_model).empty();
  if (loads && !repository) {
    return Invalid("--load_model names models of --model_repository, which is missing");
  }
  if (any_model || loads || (repository && control)) return absl::OkStatus();
  if (repository) {
    return Invalid(
        "nothing of --model_repository would be served: --load_model loads models at start, "
        "--model_control=explicit while the server runs");
  }
  return Invalid("--model is missing: the directory of the model to serve");
}

std::string_view ModelControlName(bool control) { return control ? "explicit" : "none"; }

absl::StatusOr<bool> ReadModelControl() {
  return ReadChoice("model_control", absl::GetFlag(FLAGS_model_control), std::array{false, true},
                    ModelControlName);
}

ServerOptions ReadServerOptions() {
  return {
      .listen = absl::GetFlag(FLAGS_listen),
      .limits = {.max_message_bytes = absl::GetFlag(FLAGS_max_message_bytes).bytes,
                 .max_request_images =
                     static_cast<std::size_t>(absl::GetFlag(FLAGS_max_request_images))},
      .stream_window = static_cast<std::size_t>(absl::GetFlag(FLAGS_stream_window)),
      .threads = absl::GetFlag(FLAGS_grpc_threads),
      .max_calls = static_cast<std::size_t>(absl::GetFlag(FLAGS_max_calls)),
      .max_receive_bytes = absl::GetFlag(FLAGS_max_receive_bytes).bytes,
      .http_listen = absl::GetFlag(FLAGS_http_listen),
      .http_timeout = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_http_timeout)),
      .metrics_listen = absl::GetFlag(FLAGS_metrics_listen),
      .model_control = std::nullopt,
  };
}

absl::StatusOr<TlsFiles> ReadTlsFiles() {
  TlsFiles files{.certificate = absl::GetFlag(FLAGS_tls_certificate_file),
                 .private_key = absl::GetFlag(FLAGS_tls_private_key_file),
                 .client_ca = absl::GetFlag(FLAGS_tls_client_ca_file)};
  if (files.certificate.empty() && !files.private_key.empty()) {
    return Invalid("--tls_private_key_file needs --tls_certificate_file, which is missing");
  }
  if (files.private_key.empty() && !files.certificate.empty()) {
    return Invalid("--tls_certificate_file needs --tls_private_key_file, which is missing");
  }
  if (files.certificate.empty() && !files.client_ca.empty()) {
    return Invalid(
        "--tls_client_ca_file needs --tls_certificate_file and --tls_private_key_file, which are "
        "missing");
  }
  return files;
}

absl::StatusOr<ServerConfig> ReadConfig() {
  if (absl::Status status = CheckValues(); !status.ok()) return status;
  absl::StatusOr<LaunchConfig> launch = ReadLaunchFlags();
  if (!launch.ok()) return launch.status();
  if (absl::Status status = CheckPairs(launch->engine); !status.ok()) return status;
  if (absl::Status status = CheckAddresses(); !status.ok()) return status;
  const absl::StatusOr<bool> control = ReadModelControl();
  if (!control.ok()) return control.status();
  if (absl::Status status = CheckModelsToServe(!launch->models.empty(), *control); !status.ok()) {
    return status;
  }
  absl::StatusOr<TlsFiles> tls = ReadTlsFiles();
  if (!tls.ok()) return tls.status();
  ServerConfig config;
  static_cast<LaunchConfig&>(config) = *std::move(launch);
  config.model_repository = absl::GetFlag(FLAGS_model_repository);
  config.load_models = absl::GetFlag(FLAGS_load_model);
  config.model_control = *control;
  config.server = ReadServerOptions();
  config.tls = *std::move(tls);
  config.auth_token_file = absl::GetFlag(FLAGS_auth_token_file);
  config.drain_grace = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_drain_grace));
  config.drain_timeout = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_drain_timeout));
  for (const std::string_view name : Flags()) {
    config.flags.emplace_back(name, FindFlag(name).CurrentValue());
  }
  return config;
}

std::string DefaultOf(std::string_view flag) {
  std::string value = FindFlag(flag).DefaultValue();
  return value.empty() ? "(none)" : value;
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(std::span<const char* const> arguments,
                                             const Environment& environment) {
  for (const char* const argument : arguments) {
    for (const ActionRow& row : kActions) {
      if (argument == row.argument) return CommandLine{.action = row.action, .config = {}};
    }
  }
  if (absl::Status status = SetFlags(Flags(), arguments, environment); !status.ok()) return status;
  absl::StatusOr<ServerConfig> config = ReadConfig();
  if (!config.ok()) return config.status();
  return CommandLine{.action = Action::kServe, .config = *std::move(config)};
}

std::string VersionText() { return absl::StrCat("pixembed-server ", PIXEMBED_VERSION); }

std::string HelpText() {
  std::string text = absl::StrCat(
      VersionText(),
      ": serves embeddings of images over gRPC.\n\n"
      "  pixembed-server --model=DIRECTORY [--flag=value ...]\n\n"
      "Every flag can also be given in the environment, as PIXEMBED_ and its name in capitals.\n");
  for (const std::string_view name : Flags()) {
    absl::StrAppend(&text, "\n  --", View(name), " (default: ", DefaultOf(name), ")\n      ",
                    FindFlag(name).Help(), ".\n");
  }
  for (const ActionRow& row : kActions) {
    absl::StrAppend(&text, "\n  ", View(row.argument), "\n      ", View(row.help), ".\n");
  }
  return text;
}

std::string FlagsMarkdown() {
  std::string text = "| flag | default | meaning |\n| --- | --- | --- |\n";
  for (const std::string_view name : Flags()) {
    absl::StrAppend(&text, "| `--", View(name), "` | `", DefaultOf(name), "` | ",
                    FindFlag(name).Help(), ". |\n");
  }
  for (const ActionRow& row : kActions) {
    absl::StrAppend(&text, "| `", View(row.argument), "` | | ", View(row.help), ". |\n");
  }
  return text;
}

std::string ReasonsMarkdown() {
  std::string text = "| reason | status | meaning |\n| --- | --- | --- |\n";
  for (const ReasonInfo& info : AllReasons()) {
    absl::StrAppend(&text, "| `", View(info.name), "` | `", absl::StatusCodeToString(info.code),
                    "` | ", View(info.meaning), " |\n");
  }
  return text;
}

}  // namespace pixembed
