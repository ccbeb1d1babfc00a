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
#include "server/byte_size.h"
#include "server/certificates.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

using pixembed::ByteSize;
using Strings = std::vector<std::string>;

ABSL_FLAG(Strings, model, {},
          "Model directory in Hugging Face's layout, as NAME=DIRECTORY or DIRECTORY (the name is "
          "then its last component). May repeat; the first is the default model. Required, unless "
          "--model_repository is given");
ABSL_FLAG(std::string, model_repository, "",
          "Directory whose subdirectories are model directories, each under its own name. They are "
          "loaded where --load_model says so, or by --model_control. Empty: there is none");
ABSL_FLAG(Strings, load_model, {},
          "Name of a model of --model_repository that is loaded at start, as those of --model are; "
          "* is all of them. May repeat");
ABSL_FLAG(std::string, model_control, "none",
          "Whether models are loaded, reloaded and unloaded while the server runs, by Triton's "
          "RepositoryModelLoad and RepositoryModelUnload: none, or explicit, for whoever reaches "
          "the port. Names are those of --model and --model_repository");
ABSL_FLAG(Strings, listen, {"127.0.0.1:50051"},
          "Address to listen on: host:port, [IPv6]:port, or unix:path. May repeat. Port 0 takes a "
          "free port");
ABSL_FLAG(std::string, http_listen, "",
          "Address of the HTTP bridge (OpenAI, Weaviate, curl): host:port or [IPv6]:port. Empty: "
          "there is none");
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
ABSL_FLAG(std::string, device, "auto",
          "Where to compute: auto (every CUDA device, else the CPU), cpu, cuda, cuda:N, or a "
          "comma-separated list");
ABSL_FLAG(std::string, backend, "torchvision",
          "Which of Hugging Face's image processors to follow, bit for bit: torchvision or pil");
ABSL_FLAG(std::string, verify, "enforce",
          "What to do with pixembed_golden.safetensors, where a model directory holds one: enforce "
          "(refuse to serve a model that disagrees), warn, off, or only (check and exit)");
ABSL_FLAG(
    bool, deterministic, false,
    "The same bits for an image whatever the batch, the worker or the number of cores: images "
    "run one at a time, each on one core");
ABSL_FLAG(std::string, format, "auto",
          "What to load of a model directory: safetensors, torchscript (model.pt), aotinductor "
          "(model.pt2), or auto: the first of safetensors, model.pt2 and model.pt that is there");
ABSL_FLAG(bool, trust_model_code, false,
          "Lets a model be a program (model.pt, model.pt2). It runs with all rights of the server: "
          "only for files whose author you trust");
ABSL_FLAG(std::string, precision, "float32",
          "What the model's matrix products are computed in: float32, bfloat16 (refused where the "
          "device does not multiply it), int8 (CPUs with AVX512_VNNI or AVX_VNNI; products that "
          "lose too much stay in bfloat16), or auto: bfloat16 where that is faster and close "
          "enough");
ABSL_FLAG(double, precision_min_cosine, 0.999,
          "The smallest cosine with float32 that vectors in another --precision may have; measured "
          "at start on built-in pictures, and against the golden file where there is one");
ABSL_FLAG(int, cores, 0,
          "Cores that the engine may use. 0: what the cgroup's quota and the affinity allow");
ABSL_FLAG(int, decode_threads, 0, "Threads that decode and resize. 0: as many as cores");
ABSL_FLAG(int, workers_per_device, 0,
          "Inference workers of each device. 0: as many as cores on a CPU, 2 on a GPU");
ABSL_FLAG(int, max_batch_size, 0,
          "Images that run through a model at once. 0: 4 on a CPU, 32 on a GPU, 1 with "
          "--deterministic");
ABSL_FLAG(absl::Duration, max_queue_delay, absl::Milliseconds(2),
          "On a GPU: how long an idle worker waits for images that are being decoded. A lone image "
          "never waits");
ABSL_FLAG(std::int64_t, max_queued_images, 1024,
          "Images that may be inside the engine at once; more are refused with OVERLOADED");
ABSL_FLAG(ByteSize, max_queued_bytes, ByteSize{std::size_t{1} << 30},
          "Encoded bytes that may be inside the engine at once; more are refused with OVERLOADED");
ABSL_FLAG(ByteSize, max_decoded_bytes, ByteSize{std::size_t{1} << 30},
          "Decoded pixels, in bytes, that may exist at once; decoding waits for room");
ABSL_FLAG(ByteSize, max_image_bytes, ByteSize{std::size_t{32} << 20}, "Encoded size of one image");
ABSL_FLAG(std::int64_t, max_image_pixels, 89'478'485,
          "Width times height of one image; the default is where Pillow warns of a bomb");
ABSL_FLAG(int, max_image_side, 65'535, "Longest side of one image, in pixels");
ABSL_FLAG(std::int64_t, max_request_images, 256,
          "Images of one request message. EmbedStream takes any number of messages");
ABSL_FLAG(ByteSize, max_message_bytes, ByteSize{std::size_t{64} << 20},
          "Size of one request message. Larger ones are refused with MESSAGE_TOO_LARGE; from 2 GiB "
          "on by gRPC itself");
ABSL_FLAG(ByteSize, max_receive_bytes, ByteSize{std::size_t{2} << 30},
          "Bytes of all messages that are being received at once; past it gRPC ends calls with "
          "RESOURCE_EXHAUSTED");
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

// In the order of the documentation.
constexpr std::array kFlags = {
    "model",
    "model_repository",
    "load_model",
    "model_control",
    "listen",
    "http_listen",
    "http_timeout",
    "tls_certificate_file",
    "tls_private_key_file",
    "tls_client_ca_file",
    "auth_token_file",
    "device",
    "backend",
    "verify",
    "deterministic",
    "format",
    "trust_model_code",
    "precision",
    "precision_min_cosine",
    "cores",
    "decode_threads",
    "workers_per_device",
    "max_batch_size",
    "max_queue_delay",
    "max_queued_images",
    "max_queued_bytes",
    "max_decoded_bytes",
    "max_image_bytes",
    "max_image_pixels",
    "max_image_side",
    "max_request_images",
    "max_message_bytes",
    "max_receive_bytes",
    "stream_window",
    "max_calls",
    "grpc_threads",
    "drain_grace",
    "drain_timeout",
};

// Words of the command line that are no flags with a value.
struct ActionRow {
  std::string_view argument;
  Action action;
  std::string_view help;
};
constexpr std::array kActions = {
    ActionRow{"--help", Action::kPrintHelp, "Prints every flag and exits"},
    ActionRow{"--help_markdown", Action::kPrintMarkdown,
              "Prints the README's tables of flags and reasons and exits"},
    ActionRow{"--version", Action::kPrintVersion, "Prints the version and exits"},
};

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Invalid(std::string_view text) { return MakeError(Reason::kInvalidOption, text); }

absl::CommandLineFlag& Flag(std::string_view name) {
  return *absl::FindCommandLineFlag(View(name));
}

bool IsFlag(std::string_view name) {
  return std::find(kFlags.begin(), kFlags.end(), name) != kFlags.end();
}

std::string VariableName(std::string_view flag) {
  return absl::StrCat("PIXEMBED_", absl::AsciiStrToUpper(View(flag)));
}

absl::Status SetFlag(std::string_view name, std::string_view value, std::string_view origin) {
  std::string error;
  if (Flag(name).ParseFrom(View(value), &error)) return absl::OkStatus();
  return Invalid(absl::StrCat(View(origin), " is \"", View(value), "\", which is not possible",
                              error.empty() ? "" : ": ", error));
}

// The values of the command line by flag; a repeated list flag is one value with commas.
using Values = std::vector<std::pair<std::string, std::string>>;

void AddValue(const std::string& name, const std::string& value, Values& values) {
  for (auto& [known, present] : values) {
    if (known != name) continue;
    present = Flag(name).IsOfType<Strings>() ? absl::StrCat(present, ",", value) : value;
    return;
  }
  values.emplace_back(name, value);
}

absl::StatusOr<Values> SplitArguments(std::span<const char* const> arguments) {
  Values values;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string argument = arguments[i];
    if (!absl::StartsWith(argument, "--")) {
      return Invalid(absl::StrCat("\"", argument, "\" is no flag; see --help"));
    }
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (!IsFlag(name)) return Invalid(absl::StrCat("--", name, " does not exist; see --help"));
    if (equals != std::string::npos) {
      AddValue(name, argument.substr(equals + 1), values);
    } else if (Flag(name).IsOfType<bool>()) {
      AddValue(name, "true", values);
    } else if (i + 1 < arguments.size()) {
      AddValue(name, arguments[++i], values);
    } else {
      return Invalid(absl::StrCat("--", name, " lacks its value; see --help"));
    }
  }
  return values;
}

absl::Status SetFlags(std::span<const char* const> arguments, const Environment& environment) {
  const absl::StatusOr<Values> values = SplitArguments(arguments);
  if (!values.ok()) return values.status();
  for (const char* const name : kFlags) {  // nothing of an earlier parse
    if (absl::Status status = SetFlag(name, Flag(name).DefaultValue(), name); !status.ok()) {
      return status;
    }
  }
  for (const char* const name : kFlags) {
    const std::string variable = VariableName(name);
    const std::optional<std::string> value = environment(variable);
    if (!value.has_value()) continue;
    if (absl::Status status = SetFlag(name, *value, variable); !status.ok()) return status;
  }
  for (const auto& [name, value] : *values) {
    if (absl::Status status = SetFlag(name, value, absl::StrCat("--", name)); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

// What each numeric flag may be; times in milliseconds.
struct Range {
  std::string_view flag;
  std::int64_t value;
  std::int64_t least;
  std::int64_t most;
};

std::int64_t Bytes(ByteSize size) {
  constexpr std::size_t kMost = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(std::min(size.bytes, kMost));
}

std::int64_t Milliseconds(absl::Duration duration) {
  // Rounded away from zero, so that -1us is below 0.
  const std::int64_t whole = absl::ToInt64Milliseconds(duration);
  if (duration < absl::ZeroDuration() && whole == 0) return -1;
  return whole;
}

absl::Status CheckRanges() {
  constexpr std::int64_t kMaxThreads = 1024;
  constexpr std::int64_t kMaxBytes = std::int64_t{1} << 50;
  constexpr std::int64_t kMaxMessage = std::numeric_limits<int>::max();  // protobuf's bound
  constexpr std::int64_t kDay = std::int64_t{24} * 3600 * 1000;
  const std::array ranges = {
      Range{"cores", absl::GetFlag(FLAGS_cores), 0, kMaxThreads},
      Range{"decode_threads", absl::GetFlag(FLAGS_decode_threads), 0, kMaxThreads},
      Range{"workers_per_device", absl::GetFlag(FLAGS_workers_per_device), 0, kMaxThreads},
      Range{"max_batch_size", absl::GetFlag(FLAGS_max_batch_size), 0, 65'536},
      Range{"max_queue_delay", Milliseconds(absl::GetFlag(FLAGS_max_queue_delay)), 0, 60'000},
      Range{"max_queued_images", absl::GetFlag(FLAGS_max_queued_images), 1, 100'000'000},
      Range{"max_queued_bytes", Bytes(absl::GetFlag(FLAGS_max_queued_bytes)), 1, kMaxBytes},
      Range{"max_decoded_bytes", Bytes(absl::GetFlag(FLAGS_max_decoded_bytes)), 1, kMaxBytes},
      Range{"max_image_bytes", Bytes(absl::GetFlag(FLAGS_max_image_bytes)), 1, kMaxMessage},
      Range{"max_image_pixels", absl::GetFlag(FLAGS_max_image_pixels), 1, std::int64_t{1} << 40},
      Range{"max_image_side", absl::GetFlag(FLAGS_max_image_side), 1, std::int64_t{1} << 30},
      Range{"max_request_images", absl::GetFlag(FLAGS_max_request_images), 1, 65'536},
      Range{"max_message_bytes", Bytes(absl::GetFlag(FLAGS_max_message_bytes)), 1, kMaxMessage},
      Range{"max_receive_bytes", Bytes(absl::GetFlag(FLAGS_max_receive_bytes)), 1 << 20, kMaxBytes},
      Range{"stream_window", absl::GetFlag(FLAGS_stream_window), 1, 1'000'000},
      Range{"max_calls", absl::GetFlag(FLAGS_max_calls), 1, 1'000'000},
      Range{"grpc_threads", absl::GetFlag(FLAGS_grpc_threads), 0, kMaxThreads},
      Range{"http_timeout", Milliseconds(absl::GetFlag(FLAGS_http_timeout)), 1, kDay},
      Range{"drain_grace", Milliseconds(absl::GetFlag(FLAGS_drain_grace)), 0, kDay},
      Range{"drain_timeout", Milliseconds(absl::GetFlag(FLAGS_drain_timeout)), 0, kDay},
  };
  for (const Range& range : ranges) {
    if (range.value >= range.least && range.value <= range.most) continue;
    const bool is_time = Flag(range.flag).IsOfType<absl::Duration>();
    const char* const unit = is_time ? "ms" : "";
    return Invalid(absl::StrCat("--", View(range.flag), " is ", Flag(range.flag).CurrentValue(),
                                "; possible are ", range.least, unit, " to ", range.most, unit));
  }
  return absl::OkStatus();
}

// A limit that lets in what another one can never take would refuse it for ever.
absl::Status CheckPairs() {
  const std::int64_t request_images = absl::GetFlag(FLAGS_max_request_images);
  const std::int64_t queued_images = absl::GetFlag(FLAGS_max_queued_images);
  if (request_images > queued_images) {
    return Invalid(absl::StrCat("--max_request_images is ", request_images,
                                ", more than --max_queued_images, ", queued_images));
  }
  const ByteSize message = absl::GetFlag(FLAGS_max_message_bytes);
  for (const auto& [name, size] :
       {std::pair("max_queued_bytes", absl::GetFlag(FLAGS_max_queued_bytes)),
        std::pair("max_receive_bytes", absl::GetFlag(FLAGS_max_receive_bytes))}) {
    if (message.bytes > size.bytes) {
      return Invalid(absl::StrCat("--max_message_bytes is ", AbslUnparseFlag(message),
                                  ", more than --", name, ", ", AbslUnparseFlag(size)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelSource> ReadModel(const std::string& text) {
  ModelSource source{.name = "", .directory = text};
  const std::size_t equals = text.find('=');
  const std::size_t slash = text.find('/');
  if (equals != std::string::npos && (slash == std::string::npos || equals < slash)) {
    source.name = text.substr(0, equals);
    source.directory = text.substr(equals + 1);
  } else {
    const std::filesystem::path clean = (source.directory / "").parent_path();
    source.name = clean.filename().string();
  }
  const auto allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  if (source.directory.empty() || source.name.empty() ||
      !std::all_of(source.name.begin(), source.name.end(), allowed)) {
    return Invalid(absl::StrCat("--model has \"", text,
                                "\"; wanted is NAME=DIRECTORY with a NAME of letters, digits, "
                                "'.', '_' and '-'"));
  }
  return source;
}

absl::StatusOr<std::vector<ModelSource>> ReadModels() {
  std::vector<ModelSource> models;
  std::set<std::string> names;
  for (const std::string& text : absl::GetFlag(FLAGS_model)) {
    absl::StatusOr<ModelSource> model = ReadModel(text);
    if (!model.ok()) return model.status();
    if (!names.insert(model->name).second) {
      return Invalid(absl::StrCat("--model names \"", model->name, "\" twice"));
    }
    models.push_back(*std::move(model));
  }
  return models;
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

// The value that a flag names. `name` gives the name of each.
template <typename T, std::size_t N>
absl::StatusOr<T> ReadChoice(std::string_view flag, const std::string& text,
                             const std::array<T, N>& values, std::string_view (*name)(T)) {
  std::vector<std::string> names;
  for (const T value : values) {
    if (text == name(value)) return value;
    names.emplace_back(name(value));
  }
  const std::string last = names.back();
  names.pop_back();
  return Invalid(absl::StrCat("--", View(flag), " is \"", text, "\"; possible are ",
                              absl::StrJoin(names, ", "), " and ", last));
}

absl::StatusOr<Backend> ReadBackend() {
  return ReadChoice("backend", absl::GetFlag(FLAGS_backend),
                    std::array{Backend::kTorchvision, Backend::kPil}, BackendName);
}

std::string_view ModelControlName(bool control) { return control ? "explicit" : "none"; }

absl::StatusOr<bool> ReadModelControl() {
  return ReadChoice("model_control", absl::GetFlag(FLAGS_model_control), std::array{false, true},
                    ModelControlName);
}

std::string_view VerifyModeName(VerifyMode mode) {
  switch (mode) {
    case VerifyMode::kEnforce:
      return "enforce";
    case VerifyMode::kWarn:
      return "warn";
    case VerifyMode::kOff:
      return "off";
    case VerifyMode::kOnly:
      break;
  }
  return "only";
}

absl::StatusOr<VerifyMode> ReadVerifyMode() {
  return ReadChoice(
      "verify", absl::GetFlag(FLAGS_verify),
      std::array{VerifyMode::kEnforce, VerifyMode::kWarn, VerifyMode::kOff, VerifyMode::kOnly},
      VerifyModeName);
}

absl::StatusOr<ModelFormat> ReadFormat() {
  return ReadChoice("format", absl::GetFlag(FLAGS_format),
                    std::array{ModelFormat::kAuto, ModelFormat::kSafetensors,
                               ModelFormat::kTorchScript, ModelFormat::kAotInductor},
                    ModelFormatName);
}

absl::StatusOr<Precision> ReadPrecision() {
  const double cosine = absl::GetFlag(FLAGS_precision_min_cosine);
  if (!(cosine >= 0.0 && cosine <= 1.0)) {
    return Invalid(absl::StrCat("--precision_min_cosine is ", cosine, "; possible are 0.0 to 1.0"));
  }
  return ReadChoice(
      "precision", absl::GetFlag(FLAGS_precision),
      std::array{Precision::kFloat32, Precision::kBFloat16, Precision::kInt8, Precision::kAuto},
      PrecisionName);
}

EngineOptions ReadEngineOptions() {
  return {
      .limits = {.max_encoded_bytes = absl::GetFlag(FLAGS_max_image_bytes).bytes,
                 .max_pixels = absl::GetFlag(FLAGS_max_image_pixels),
                 .max_side = absl::GetFlag(FLAGS_max_image_side)},
      .cores = absl::GetFlag(FLAGS_cores),
      .decode_threads = absl::GetFlag(FLAGS_decode_threads),
      .workers_per_device = absl::GetFlag(FLAGS_workers_per_device),
      .max_batch_size = absl::GetFlag(FLAGS_max_batch_size),
      .max_queue_delay = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_max_queue_delay)),
      .max_queued_images = static_cast<std::size_t>(absl::GetFlag(FLAGS_max_queued_images)),
      .max_queued_bytes = absl::GetFlag(FLAGS_max_queued_bytes).bytes,
      .max_decoded_bytes = absl::GetFlag(FLAGS_max_decoded_bytes).bytes,
      .warm_up_batch_sizes = {},
      .devices = {},
      .deterministic = absl::GetFlag(FLAGS_deterministic),
  };
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
  if (absl::Status status = CheckRanges(); !status.ok()) return status;
  if (absl::Status status = CheckPairs(); !status.ok()) return status;
  if (absl::GetFlag(FLAGS_listen).empty()) return Invalid("--listen is empty");
  absl::StatusOr<std::vector<ModelSource>> models = ReadModels();
  if (!models.ok()) return models.status();
  const absl::StatusOr<bool> control = ReadModelControl();
  if (!control.ok()) return control.status();
  if (absl::Status status = CheckModelsToServe(!models->empty(), *control); !status.ok()) {
    return status;
  }
  const absl::StatusOr<Backend> backend = ReadBackend();
  if (!backend.ok()) return backend.status();
  const absl::StatusOr<VerifyMode> verify = ReadVerifyMode();
  if (!verify.ok()) return verify.status();
  const absl::StatusOr<ModelFormat> format = ReadFormat();
  if (!format.ok()) return format.status();
  const absl::StatusOr<Precision> precision = ReadPrecision();
  if (!precision.ok()) return precision.status();
  absl::StatusOr<TlsFiles> tls = ReadTlsFiles();
  if (!tls.ok()) return tls.status();
  ServerConfig config{
      .models = *std::move(models),
      .model_repository = absl::GetFlag(FLAGS_model_repository),
      .load_models = absl::GetFlag(FLAGS_load_model),
      .model_control = *control,
      .device = absl::GetFlag(FLAGS_device),
      .backend = *backend,
      .verify = *verify,
      .deterministic = absl::GetFlag(FLAGS_deterministic),
      .format = *format,
      .trust_model_code = absl::GetFlag(FLAGS_trust_model_code),
      .precision = *precision,
      .precision_min_cosine = absl::GetFlag(FLAGS_precision_min_cosine),
      .engine = ReadEngineOptions(),
      .server = ReadServerOptions(),
      .tls = *std::move(tls),
      .auth_token_file = absl::GetFlag(FLAGS_auth_token_file),
      .drain_grace = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_drain_grace)),
      .drain_timeout = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_drain_timeout)),
      .flags = {},
  };
  for (const char* const name : kFlags) config.flags.emplace_back(name, Flag(name).CurrentValue());
  return config;
}

std::string DefaultOf(std::string_view flag) {
  std::string value = Flag(flag).DefaultValue();
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
  if (absl::Status status = SetFlags(arguments, environment); !status.ok()) return status;
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
  for (const char* const name : kFlags) {
    absl::StrAppend(&text, "\n  --", name, " (default: ", DefaultOf(name), ")\n      ",
                    Flag(name).Help(), ".\n");
  }
  for (const ActionRow& row : kActions) {
    absl::StrAppend(&text, "\n  ", View(row.argument), "\n      ", View(row.help), ".\n");
  }
  return text;
}

std::string FlagsMarkdown() {
  std::string text = "| flag | default | meaning |\n| --- | --- | --- |\n";
  for (const char* const name : kFlags) {
    absl::StrAppend(&text, "| `--", name, "` | `", DefaultOf(name), "` | ", Flag(name).Help(),
                    ". |\n");
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
