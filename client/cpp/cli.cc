// The program `pixembed`.
//
// Exit codes: 0 all is well; 1 something failed (an image, a call, a file); 2 the command line
// makes no sense. Results go to standard output, everything else to standard error.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <istream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/cpp/arrivals.h"
#include "client/cpp/client.h"
#include "client/cpp/embed_files.h"
#include "client/cpp/explanation_text.h"
#include "client/cpp/image_files.h"
#include "client/cpp/load.h"
#include "client/cpp/model_table.h"
#include "client/cpp/progress.h"
#include "client/cpp/vector_sink.h"
#include "google/protobuf/descriptor.h"
#include "pixembed/v1/embedding.pb.h"

ABSL_FLAG(std::string, address, "localhost:50051",
          "the server: HOST:PORT, unix:PATH, or several separated by commas");
ABSL_FLAG(
    absl::Duration, timeout, absl::Seconds(60),
    "time limit of a call, its repetitions included; 0 is none. A stream has none: for so long it "
    "waits for a server that went away");
ABSL_FLAG(bool, tls, false, "speak TLS; any --tls_ flag does the same");
ABSL_FLAG(
    std::string, tls_ca_file, "",
    "authorities, in PEM, that the server's certificate is held against; empty is gRPC's list");
ABSL_FLAG(std::string, tls_certificate_file, "",
          "certificate of this client, in PEM, for a server that wants one");
ABSL_FLAG(std::string, tls_private_key_file, "", "private key of --tls_certificate_file, in PEM");
ABSL_FLAG(std::string, tls_server_name, "",
          "name in the server's certificate, where it is not that of the address");
ABSL_FLAG(
    std::string, token_file, "",
    "file whose first line is the token that the server wants; a command line is no place for "
    "one");
ABSL_FLAG(bool, insecure_token, false,
          "send the token without TLS: where a mesh encrypts, or nobody else listens");
ABSL_FLAG(std::string, model, "", "name of the model; empty is the server's first");
ABSL_FLAG(std::string, pooling, "mean",
          "mean, cls, max, or masked_mean (without padding, where the model pads)");
ABSL_FLAG(
    std::vector<std::string>, layers, {},
    "which hidden states are pooled, as transformers numbers them: \"-1\", or \"3,-1\" for their "
    "mean; empty is last_hidden_state");
ABSL_FLAG(std::string, exif_orientation, "ignore",
          "ignore, or apply: turn images upright as their EXIF data say");
ABSL_FLAG(std::string, background, "",
          "color that shows through where an image is transparent, as RRGGBB; empty drops alpha");
ABSL_FLAG(bool, normalize, false, "scale each vector to length 1");
ABSL_FLAG(std::uint32_t, dimensions, 0, "keep the first so many dimensions; 0 keeps all");
ABSL_FLAG(
    std::string, data_type, "float32",
    "precision of the answer: float32, float16, bfloat16, int8 or binary; written as float32");
ABSL_FLAG(std::string, lane, "", "online or bulk; empty is bulk for a stream, else online");
ABSL_FLAG(std::string, expected_fingerprint, "",
          "refuse vectors of another space than this fingerprint's");
ABSL_FLAG(std::string, output, "",
          "write vectors to FILE.npy (float32 [N, dimension], with FILE.ids.json beside it) or "
          "FILE.jsonl (a line per image); empty prints the head of each vector");
ABSL_FLAG(bool, neighbours, false,
          "print for each image its nearest neighbour among the others, by cosine");
ABSL_FLAG(std::vector<std::string>, extensions,
          std::vector<std::string>({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff",
                                    "avif"}),
          "which files of a directory are images, in any case; * takes every file. A file named "
          "itself is always sent: the server looks at its content");
ABSL_FLAG(std::string, files_from, "",
          "read further paths from this file, one a line; - is standard input");
ABSL_FLAG(int, max_in_flight_images, 256, "images on their way at once");
ABSL_FLAG(bool, json, false, "print JSON");
ABSL_FLAG(absl::Duration, wait, absl::ZeroDuration(),
          "wait so long for the service to be SERVING, also while nobody listens");
ABSL_FLAG(std::string, server, "",
          "the program pixembed-server; empty is the one in the folder of this program");
ABSL_FLAG(std::string, backend, "torchvision", "torchvision or pil, as the server's flag");
ABSL_FLAG(std::string, device, "auto", "where to compute, as the server's flag");
ABSL_FLAG(std::string, format, "auto", "what to load of the directory, as the server's flag");
ABSL_FLAG(bool, trust_model_code, false, "lets a model be a program, as the server's flag");
ABSL_FLAG(std::string, precision, "float32", "what products are computed in, as the server's flag");
ABSL_FLAG(double, precision_min_cosine, 0.999,
          "the smallest cosine where that is less than float32, as the server's flag");
ABSL_FLAG(int, concurrency, 8, "closed loop: requests (stream: images) on their way at once");
ABSL_FLAG(int, images_per_request, 1, "images in each request");
ABSL_FLAG(bool, stream, false, "EmbedStream instead of Embed, one stream a channel");
ABSL_FLAG(int, channels, 1, "connections to each address");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(10), "how long to send");
ABSL_FLAG(std::uint64_t, requests, 0,
          "send so many requests (stream: images) instead of sending for --duration");
ABSL_FLAG(absl::Duration, idle_gap, absl::ZeroDuration(),
          "closed loop: pause after each answer before the next request");
ABSL_FLAG(
    double, rate, 0.0,
    "send so many requests (stream: images) a second, whatever comes back: an open loop; 0 is "
    "a closed one");
ABSL_FLAG(std::string, arrivals, "poisson",
          "open loop: poisson (random gaps, as of independent callers) or uniform (equal gaps)");
ABSL_FLAG(std::uint64_t, seed, 0, "open loop: of the random gaps");
ABSL_FLAG(int, max_outstanding, 1024,
          "open loop: so many may be due and unanswered; what is due above that is dropped");

namespace pixembed::client {
namespace {

constexpr int kSuccess = 0;
constexpr int kFailure = 1;
constexpr int kUsage = 2;

struct Command {
  const char* name;
  const char* arguments;
  const char* summary;
  const char* details;
  std::vector<const char*> flags;
  int (*run)(const std::vector<std::string>& arguments);
};

int Fail(int code, std::string_view text) {
  std::cerr << "pixembed: " << text << "\n";
  return code;
}

int Fail(const absl::Status& status) { return Fail(kFailure, ErrorText(status)); }

std::chrono::milliseconds ToMilliseconds(absl::Duration duration) {
  return absl::ToChronoMilliseconds(duration);
}

// "cls" -> POOLING_CLS, by the enum's own names.
template <typename Enum>
absl::StatusOr<Enum> ParseEnum(std::string_view flag, const std::string& text,
                               const std::string& prefix) {
  const google::protobuf::EnumDescriptor& type = *google::protobuf::GetEnumDescriptor<Enum>();
  std::vector<std::string> names;
  for (int i = 1; i < type.value_count(); ++i) {  // 0 is UNSPECIFIED
    names.push_back(absl::AsciiStrToLower(absl::StripPrefix(type.value(i)->name(), prefix)));
    if (names.back() == text) {
      return static_cast<Enum>(type.value(i)->number());
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--", std::string(flag), "=", text, ": there is ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<std::vector<int>> ParseLayers(const std::vector<std::string>& texts) {
  std::vector<int> layers;
  for (const std::string& text : texts) {
    int layer = 0;
    if (!absl::SimpleAtoi(text, &layer)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--layers has \"", text, "\", which is no whole number"));
    }
    layers.push_back(layer);
  }
  return layers;
}

// "ff8000".
absl::StatusOr<std::optional<Color>> ParseColor(const std::string& text) {
  if (text.empty()) {
    return std::nullopt;
  }
  std::uint32_t value = 0;
  const bool digits = std::all_of(text.begin(), text.end(), absl::ascii_isxdigit);
  if (text.size() != 6 || !digits || !absl::SimpleHexAtoi(text, &value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--background=", text, ": a color is written RRGGBB, as ffffff"));
  }
  return Color{static_cast<std::uint8_t>(value >> 16), static_cast<std::uint8_t>(value >> 8),
               static_cast<std::uint8_t>(value)};
}

absl::StatusOr<Arrivals> ParseArrivals(const std::string& text) {
  if (text == "poisson") {
    return Arrivals::kPoisson;
  }
  if (text == "uniform") {
    return Arrivals::kUniform;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--arrivals=", text, ": there is poisson, uniform"));
}

absl::StatusOr<EmbedOptions> EmbedOptionsOfFlags() {
  const auto pooling = ParseEnum<v1::Pooling>("pooling", absl::GetFlag(FLAGS_pooling), "POOLING_");
  const auto data_type =
      ParseEnum<v1::DataType>("data_type", absl::GetFlag(FLAGS_data_type), "DATA_TYPE_");
  const std::string lane_name = absl::GetFlag(FLAGS_lane);
  const auto lane =
      lane_name.empty() ? v1::LANE_UNSPECIFIED : ParseEnum<v1::Lane>("lane", lane_name, "LANE_");
  absl::Status status = pooling.status();
  status.Update(data_type.status());
  status.Update(lane.status());
  const auto layers = ParseLayers(absl::GetFlag(FLAGS_layers));
  status.Update(layers.status());
  const auto orientation = ParseEnum<v1::ExifOrientation>(
      "exif_orientation", absl::GetFlag(FLAGS_exif_orientation), "EXIF_ORIENTATION_");
  status.Update(orientation.status());
  const auto background = ParseColor(absl::GetFlag(FLAGS_background));
  status.Update(background.status());
  if (!status.ok()) {
    return status;
  }
  return EmbedOptions{.model = absl::GetFlag(FLAGS_model),
                      .pooling = *pooling,
                      .layers = *layers,
                      .exif_orientation = *orientation,
                      .background = *background,
                      .normalize = absl::GetFlag(FLAGS_normalize),
                      .dimensions = absl::GetFlag(FLAGS_dimensions),
                      .data_type = *data_type,
                      .lane = *lane,
                      .expected_fingerprint = absl::GetFlag(FLAGS_expected_fingerprint)};
}

std::vector<std::string> Addresses() { return absl::StrSplit(absl::GetFlag(FLAGS_address), ','); }

// What a flag's file holds; empty if it names none.
absl::StatusOr<std::string> ReadFlagFile(std::string_view flag, const std::string& path) {
  if (path.empty()) {
    return std::string();
  }
  std::ostringstream text;
  if (!(text << std::ifstream(path, std::ios::binary).rdbuf())) {  // nothing, or a directory
    return absl::InvalidArgumentError(
        absl::StrCat("--", std::string(flag), "=", path, " cannot be read, or is empty"));
  }
  return text.str();
}

absl::StatusOr<std::optional<Tls>> TlsOfFlags() {
  const auto ca = ReadFlagFile("tls_ca_file", absl::GetFlag(FLAGS_tls_ca_file));
  const auto certificate =
      ReadFlagFile("tls_certificate_file", absl::GetFlag(FLAGS_tls_certificate_file));
  const auto key = ReadFlagFile("tls_private_key_file", absl::GetFlag(FLAGS_tls_private_key_file));
  absl::Status status = ca.status();
  status.Update(certificate.status());
  status.Update(key.status());
  if (!status.ok()) {
    return status;
  }
  const std::string name = absl::GetFlag(FLAGS_tls_server_name);
  if (!absl::GetFlag(FLAGS_tls) && ca->empty() && certificate->empty() && key->empty() &&
      name.empty()) {
    return std::nullopt;
  }
  return Tls{.ca = *ca, .certificate = *certificate, .private_key = *key, .server_name = name};
}

absl::StatusOr<ClientOptions> ClientOptionsOfFlags() {
  const auto tls = TlsOfFlags();
  const auto tokens = ReadFlagFile("token_file", absl::GetFlag(FLAGS_token_file));
  absl::Status status = tls.status();
  status.Update(tokens.status());
  if (!status.ok()) {
    return status;
  }
  std::string line = tokens->substr(0, tokens->find('\n'));
  absl::StripAsciiWhitespace(&line);
  if (line.empty() && !tokens->empty()) {
    return absl::InvalidArgumentError(absl::StrCat("--token_file=", absl::GetFlag(FLAGS_token_file),
                                                   " has no token in its first line"));
  }
  return ClientOptions{.tls = *tls,
                       .token = line,
                       .insecure_token = absl::GetFlag(FLAGS_insecure_token),
                       .timeout = ToMilliseconds(absl::GetFlag(FLAGS_timeout))};
}

absl::StatusOr<std::unique_ptr<Client>> ConnectToFlags() {
  const auto options = ClientOptionsOfFlags();
  if (!options.ok()) {
    return options.status();
  }
  return Client::Connect(Addresses(), *options);
}

// The arguments, and what --files_from lists.
absl::StatusOr<std::vector<ImageFile>> FilesOf(std::vector<std::string> paths) {
  const std::string list = absl::GetFlag(FLAGS_files_from);
  if (list == kStandardInput && std::count(paths.begin(), paths.end(), kStandardInput) > 0) {
    return absl::InvalidArgumentError("standard input cannot be both an image and a list");
  }
  if (!list.empty()) {
    std::ifstream file;
    if (list != kStandardInput) {
      file.open(list);
      if (!file) {
        return absl::ErrnoToStatus(errno, list);
      }
    }
    std::istream& input = list == kStandardInput ? std::cin : file;
    errno = 0;
    const std::vector<std::string> listed = ReadPaths(input);
    if (input.bad()) {  // as a directory
      return absl::ErrnoToStatus(errno != 0 ? errno : EIO, list);
    }
    paths.insert(paths.end(), listed.begin(), listed.end());
  }
  return ListImages(paths, absl::GetFlag(FLAGS_extensions));
}

void ReportFailures(const EmbedFilesReport& report, std::uint64_t files) {
  for (const auto& [path, status] : report.failures) {
    std::cerr << "failed: " << path << ": " << ErrorText(status) << "\n";
  }
  if (report.failed > report.failures.size()) {
    std::cerr << "failed: " << report.failed - report.failures.size() << " more\n";
  }
  std::cerr << absl::StrFormat("%d embedded, %d failed", report.embedded, report.failed);
  if (const std::uint64_t left = files - report.embedded - report.failed; left > 0) {
    std::cerr << ", " << left << " left";
  }
  if (!report.fingerprint.empty()) {
    std::cerr << "; fingerprint " << report.fingerprint;
  }
  std::cerr << "\n";
}

absl::StatusOr<std::vector<std::unique_ptr<VectorSink>>> OpenSinks(int dimension) {
  std::vector<std::unique_ptr<VectorSink>> sinks;
  const std::string output = absl::GetFlag(FLAGS_output);
  if (!output.empty()) {
    auto file = OpenVectorFile(output, dimension);
    if (!file.ok()) {
      return file.status();
    }
    sinks.push_back(*std::move(file));
  }
  if (absl::GetFlag(FLAGS_neighbours)) {
    sinks.push_back(NewNeighbourPrinter(std::cout));
  } else if (output.empty()) {
    sinks.push_back(NewHeadPrinter(std::cout));
  }
  return sinks;
}

int RunEmbed(const std::vector<std::string>& arguments) {
  if (arguments.empty() && absl::GetFlag(FLAGS_files_from).empty()) {
    return Fail(kUsage, "embed: no file named; `pixembed embed --help` says how");
  }
  const auto embed = EmbedOptionsOfFlags();
  if (!embed.ok()) {
    return Fail(kUsage, std::string(embed.status().message()));
  }
  const auto files = FilesOf(arguments);
  if (!files.ok()) {
    return Fail(files.status());
  }
  const auto client = ConnectToFlags();
  if (!client.ok()) {
    return Fail(client.status());
  }
  // Also finds out, before any file is made, whether server and model are there.
  const auto model = (*client)->GetModel(embed->model);
  if (!model.ok()) {
    return Fail(model.status());
  }
  const auto sinks = OpenSinks(static_cast<int>(model->dimension()));
  if (!sinks.ok()) {
    return Fail(sinks.status());
  }
  EmbedFilesOptions options{.embed = *embed,
                            .max_in_flight_images = absl::GetFlag(FLAGS_max_in_flight_images)};
  if (model->limits().max_image_bytes() > 0) {
    options.max_image_bytes = model->limits().max_image_bytes();
  }
  EmbedFilesReport report;
  {
    std::vector<VectorSink*> borrowed;
    for (const auto& sink : *sinks) {
      borrowed.push_back(sink.get());
    }
    Progress progress(std::cerr, isatty(STDERR_FILENO) != 0, files->size());
    report = EmbedFiles(**client, *files, options, std::cin, borrowed, progress);
  }
  ReportFailures(report, files->size());
  if (!report.status.ok()) {
    return Fail(report.status);
  }
  return report.failed == 0 ? kSuccess : kFailure;
}

int RunModels(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) {
    return Fail(kUsage, absl::StrCat("models: takes no argument, got ", arguments[0]));
  }
  const auto client = ConnectToFlags();
  if (!client.ok()) {
    return Fail(client.status());
  }
  const auto models = (*client)->ListModels();
  if (!models.ok()) {
    return Fail(models.status());
  }
  std::cout << (absl::GetFlag(FLAGS_json) ? ModelsAsJson(*models) : ModelsAsTable(*models));
  return kSuccess;
}

int RunHealth(const std::vector<std::string>& arguments) {
  if (arguments.size() > 1) {
    return Fail(kUsage, absl::StrCat("health: takes one service, got ", arguments.size()));
  }
  const std::string service = arguments.empty() ? std::string() : arguments[0];
  const auto client = ConnectToFlags();
  if (!client.ok()) {
    return Fail(client.status());
  }
  const absl::Duration wait = absl::GetFlag(FLAGS_wait);
  if (wait > absl::ZeroDuration()) {
    if (absl::Status status = (*client)->WaitUntilServing(service, ToMilliseconds(wait));
        !status.ok()) {
      return Fail(status);
    }
  }
  const auto health = (*client)->CheckHealth(service);
  if (!health.ok()) {
    return Fail(health.status());
  }
  const bool serving = *health == Health::kServing;
  std::cout << (serving ? "SERVING\n" : "NOT_SERVING\n");
  return serving ? kSuccess : kFailure;
}

int RunExplain(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    return Fail(kUsage, "explain: no image named; `pixembed explain --help` says how");
  }
  const auto files = ListImages(arguments, absl::GetFlag(FLAGS_extensions));
  if (!files.ok()) {
    return Fail(files.status());
  }
  const auto options = EmbedOptionsOfFlags();
  if (!options.ok()) {
    return Fail(kUsage, std::string(options.status().message()));
  }
  const auto client = ConnectToFlags();
  if (!client.ok()) {
    return Fail(client.status());
  }
  int code = kSuccess;
  for (const ImageFile& file : *files) {
    auto data = ReadImage(file, ClientOptions().max_message_bytes, std::cin);
    const auto explanation = data.ok() ? (*client)->ExplainImage(*std::move(data), *options)
                                       : absl::StatusOr<v1::ImageExplanation>(data.status());
    if (!explanation.ok()) {
      code = Fail(kFailure, absl::StrCat(file.path, ": ", ErrorText(explanation.status())));
      continue;
    }
    std::cout << (absl::GetFlag(FLAGS_json) ? ExplanationAsJson(file.path, *explanation)
                                            : ExplanationAsText(file.path, *explanation));
  }
  return code;
}

// The server checks itself, so that what is checked is what serves; this program knows no model.
int RunVerify(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) {
    return Fail(kUsage, absl::StrCat("verify: takes one model directory, got ", arguments.size()));
  }
  std::string server = absl::GetFlag(FLAGS_server);
  if (server.empty()) {
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    server = (self.parent_path() / "pixembed-server").string();
  }
  std::vector<std::string> command = {
      server,
      absl::StrCat("--model=model=", arguments[0]),
      "--verify=only",
      absl::StrCat("--backend=", absl::GetFlag(FLAGS_backend)),
      absl::StrCat("--device=", absl::GetFlag(FLAGS_device)),
      absl::StrCat("--format=", absl::GetFlag(FLAGS_format)),
      absl::StrCat("--precision=", absl::GetFlag(FLAGS_precision)),
      absl::StrCat("--precision_min_cosine=", absl::GetFlag(FLAGS_precision_min_cosine))};
  if (absl::GetFlag(FLAGS_trust_model_code)) {
    command.emplace_back("--trust_model_code");
  }
  std::vector<char*> words;
  words.reserve(command.size() + 1);
  for (std::string& word : command) {
    words.push_back(word.data());
  }
  words.push_back(nullptr);
  execv(server.c_str(), words.data());  // returns only if it fails
  return Fail(absl::ErrnoToStatus(errno, absl::StrCat(server, " (flag --server)")));
}

int RunLoadCommand(const std::vector<std::string>& arguments) {
  const auto embed = EmbedOptionsOfFlags();
  if (!embed.ok()) {
    return Fail(kUsage, std::string(embed.status().message()));
  }
  const auto arrivals = ParseArrivals(absl::GetFlag(FLAGS_arrivals));
  if (!arrivals.ok()) {
    return Fail(kUsage, std::string(arrivals.status().message()));
  }
  if (arguments.empty()) {
    return Fail(kUsage, "load: no image named; `pixembed load --help` says how");
  }
  const auto files = ListImages(arguments, absl::GetFlag(FLAGS_extensions));
  if (!files.ok()) {
    return Fail(files.status());
  }
  auto client = ClientOptionsOfFlags();
  if (!client.ok()) {
    return Fail(client.status());
  }
  client->channels_per_address = absl::GetFlag(FLAGS_channels);
  LoadOptions options{.addresses = Addresses(),
                      .client = *std::move(client),
                      .embed = *embed,
                      .concurrency = absl::GetFlag(FLAGS_concurrency),
                      .images_per_request = absl::GetFlag(FLAGS_images_per_request),
                      .stream = absl::GetFlag(FLAGS_stream),
                      .requests = absl::GetFlag(FLAGS_requests),
                      .duration = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_duration)),
                      .idle_gap = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_idle_gap)),
                      .rate = absl::GetFlag(FLAGS_rate),
                      .arrivals = *arrivals,
                      .seed = absl::GetFlag(FLAGS_seed),
                      .max_outstanding = absl::GetFlag(FLAGS_max_outstanding)};
  for (const ImageFile& file : *files) {
    auto data = ReadImage(file, options.client.max_message_bytes, std::cin);
    if (!data.ok()) {
      return Fail(data.status());
    }
    options.images.push_back({.data = *std::move(data)});
  }
  if (const absl::Status status = CheckLoadOptions(options); !status.ok()) {
    return Fail(kUsage, std::string(status.message()));
  }
  const auto report = RunLoad(options);
  if (!report.ok()) {
    return Fail(report.status());
  }
  std::cout << (absl::GetFlag(FLAGS_json) ? ToJson(*report) : ToText(*report));
  return report->failed_images.empty() ? kSuccess : kFailure;
}

using Flags = std::vector<const char*>;

// How a server is reached: of every command that asks one.
Flags ConnectionFlags() {
  return {"address",
          "tls",
          "tls_ca_file",
          "tls_certificate_file",
          "tls_private_key_file",
          "tls_server_name",
          "token_file",
          "insecure_token"};
}

// What may be said of the vectors that are asked for.
Flags EmbedOptionFlags() {
  return {"model",      "pooling",   "layers", "exif_orientation",    "background", "normalize",
          "dimensions", "data_type", "lane",   "expected_fingerprint"};
}

Flags Joined(const std::vector<Flags>& lists) {
  Flags all;
  for (const Flags& list : lists) {
    all.insert(all.end(), list.begin(), list.end());
  }
  return all;
}

const std::vector<Command>& Commands() {
  static const auto* const commands = new std::vector<Command>{
      {"embed", "FILES...", "vectors of images",
       "FILES are images, directories (walked, in the order of the names, links as what they lead\n"
       "to) or - for one image on standard input. They go through one stream in bounded memory;\n"
       "results keep their order. Images that failed are listed at the end with their reasons; "
       "the\n"
       "exit code is then 1. An output file appears under its name only when it is complete.",
       Joined({ConnectionFlags(),
               EmbedOptionFlags(),
               {"output", "neighbours", "extensions", "files_from", "max_in_flight_images",
                "timeout"}}),
       RunEmbed},
      {"models", "", "the models that the server serves", "",
       Joined({ConnectionFlags(), {"json", "timeout"}}), RunModels},
      {"health", "[SERVICE]", "whether the server, a service or a model is SERVING",
       "Prints SERVING or NOT_SERVING; the exit code is 0 only for SERVING.",
       Joined({ConnectionFlags(), {"wait", "timeout"}}), RunHealth},
      {"explain", "FILES...", "what the server does to an image before the model sees it",
       "Prints format, mode, size, EXIF orientation, resize, crop and padding, and the SHA-256 of\n"
       "the decoded pixels and of the model's input, as the server that answers finds them.",
       Joined({ConnectionFlags(),
               {"model", "exif_orientation", "background", "json", "extensions", "timeout"}}),
       RunExplain},
      {"verify",
       "DIRECTORY",
       "whether a model gives the vectors of the golden file beside it",
       "Runs pixembed-server --verify=only on a model directory that holds\n"
       "pixembed_golden.safetensors (deploy/make_golden.py writes one). Exit codes: 0 pixels and\n"
       "vectors agree; 3 they do not; 1 it could not be found out.",
       {"server", "backend", "device", "format", "trust_model_code", "precision",
        "precision_min_cosine"},
       RunVerify},
      {"load", "FILES...", "a load for benchmarks: images/s and latencies",
       "Closed loop: keeps --concurrency requests on their way, and asks a server that refuses "
       "for\n"
       "a while again when it said. Open loop (--rate): sends each request when it is due, counts\n"
       "its latency from then, and counts what was refused, or dropped above --max_outstanding, "
       "as\n"
       "lost; what a rate asks of this program above what it can draw in --duration is dropped, "
       "too.\n"
       "Repeats none; what is not answered within --timeout counts as failed. Reports images/s,\n"
       "percentiles of the latency and the CPU time of this program; with --json also a histogram\n"
       "of the latencies: [at most so many ms, how many].",
       Joined({ConnectionFlags(),
               {"channels", "concurrency", "images_per_request", "stream", "duration", "requests",
                "idle_gap", "rate", "arrivals", "seed", "max_outstanding", "json"},
               EmbedOptionFlags(),
               {"extensions", "timeout"}}),
       RunLoadCommand}};
  return *commands;
}

std::string Overview() {
  std::string text =
      "pixembed turns images into vectors, by a pixembed server.\n\n"
      "usage: pixembed COMMAND [ARGUMENTS] [--FLAG=VALUE]\n\n";
  for (const Command& command : Commands()) {
    absl::StrAppendFormat(&text, "  %-8s%-12s%s\n", command.name, command.arguments,
                          command.summary);
  }
  return text + "\n`pixembed COMMAND --help` lists the flags; `pixembed --version` the version.\n";
}

// Every flag that this file defines, in the order of the commands that have it.
std::vector<std::string> FlagNames() {
  std::vector<std::string> names;
  const auto add = [&names](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  };
  for (const Command& command : Commands()) {
    std::for_each(command.flags.begin(), command.flags.end(), add);
  }
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (absl::EndsWith(flag->Filename(), "client/cpp/cli.cc")) {
      add(std::string(name));
    }
  }
  return names;
}

std::string CommandsWith(const std::string& flag) {
  std::vector<std::string> names;
  for (const Command& command : Commands()) {
    if (std::find(command.flags.begin(), command.flags.end(), flag) != command.flags.end()) {
      names.push_back(absl::StrCat("`", command.name, "`"));
    }
  }
  return absl::StrJoin(names, ", ");
}

// The table of client/cpp/README.md.
std::string FlagsMarkdown() {
  std::string text = "| flag | default | of | meaning |\n| --- | --- | --- | --- |\n";
  for (const std::string& name : FlagNames()) {
    const absl::CommandLineFlag& flag = *absl::FindCommandLineFlag(name);
    const std::string value = flag.DefaultValue();
    absl::StrAppend(&text, "| `--", name, "` | ",
                    value.empty() ? "" : absl::StrCat("`", value, "`"), " | ", CommandsWith(name),
                    " | ", flag.Help(), " |\n");
  }
  return text +
         "| `--help` | | all | prints the flags of a command, without one the commands |\n"
         "| `--help_markdown` | | | prints this table |\n"
         "| `--version` | | | prints the version |\n";
}

std::string HelpOf(const Command& command) {
  std::string text = absl::StrFormat("usage: pixembed %s %s [--FLAG=VALUE]\n\n%s.\n", command.name,
                                     command.arguments, command.summary);
  if (*command.details != '\0') {
    absl::StrAppend(&text, "\n", command.details, "\n");
  }
  text += "\nflags:\n";
  for (const char* name : command.flags) {
    const absl::CommandLineFlag& flag = *absl::FindCommandLineFlag(name);
    absl::StrAppendFormat(&text, "  --%s=%s\n      %s\n", name, flag.DefaultValue(), flag.Help());
  }
  return text;
}

absl::string_view Expected(const absl::CommandLineFlag& flag) {
  if (flag.IsOfType<bool>()) return "true or false";
  if (flag.IsOfType<absl::Duration>()) return "a time with its unit, as 500ms, 30s or 1m";
  if (flag.IsOfType<double>()) return "a number";
  return "a whole number in the range of its type";
}

// Abseil ends the program with 1 where a value cannot be read, and does not say what could.
absl::Status CheckValue(absl::CommandLineFlag& flag, const std::string& value) {
  std::string error;
  if (flag.ParseFrom(value, &error)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag.Name(), "=", value, ": expected is ", Expected(flag)));
}

// Abseil's flags are the program's; this keeps each command to its own.
absl::Status CheckFlags(const Command& command, const std::vector<std::string>& arguments) {
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    if (!absl::StartsWith(arguments[i], "-") || arguments[i] == kStandardInput) {
      continue;
    }
    const std::pair<std::string, std::string> parts = absl::StrSplit(
        arguments[i].substr(arguments[i].find_first_not_of('-')), absl::MaxSplits('=', 1));
    std::string name = parts.first;
    if (absl::FindCommandLineFlag(name) == nullptr) {
      name = std::string(absl::StripPrefix(name, "no"));
    }
    if (std::find(command.flags.begin(), command.flags.end(), name) == command.flags.end()) {
      return absl::InvalidArgumentError(absl::StrCat(command.name, ": there is no flag --",
                                                     parts.first, "; `pixembed ", command.name,
                                                     " --help` lists those there are"));
    }
    absl::CommandLineFlag& flag = *absl::FindCommandLineFlag(name);
    std::string value = parts.second;
    if (!absl::StrContains(arguments[i], '=')) {
      if (flag.IsOfType<bool>()) continue;
      if (++i == arguments.size()) {  // the next argument is its value
        return absl::InvalidArgumentError(
            absl::StrCat(command.name, ": --", name, " has no value"));
      }
      value = arguments[i];
    }
    if (absl::Status status = CheckValue(flag, value); !status.ok()) return status;
  }
  return absl::OkStatus();
}

bool Contains(const std::vector<std::string>& arguments, std::string_view wanted) {
  return std::find(arguments.begin(), arguments.end(), wanted) != arguments.end();
}

int Main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty()) {
    std::cerr << Overview();
    return kUsage;
  }
  if (arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    std::cout << Overview();
    return kSuccess;
  }
  if (arguments[0] == "--help_markdown") {
    std::cout << FlagsMarkdown();
    return kSuccess;
  }
  if (arguments[0] == "--version") {
    std::cout << "pixembed " << PIXEMBED_VERSION << "\n";
    return kSuccess;
  }
  const auto command =
      std::find_if(Commands().begin(), Commands().end(),
                   [&](const Command& candidate) { return candidate.name == arguments[0]; });
  if (command == Commands().end()) {
    return Fail(kUsage, absl::StrCat("there is no command \"", arguments[0],
                                     "\"; `pixembed --help` lists those there are"));
  }
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  if (Contains(rest, "--help") || Contains(rest, "-h")) {
    std::cout << HelpOf(*command);
    return kSuccess;
  }
  if (absl::Status status = CheckFlags(*command, rest); !status.ok()) {
    return Fail(kUsage, std::string(status.message()));
  }
  const std::vector<char*> positional = absl::ParseCommandLine(argc, argv);
  return command->run(std::vector<std::string>(positional.begin() + 2, positional.end()));
}

}  // namespace
}  // namespace pixembed::client

int main(int argc, char** argv) {
  // Debian's Abseil checks every lock for deadlocks, gRPC's too, under one lock of the process.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return pixembed::client::Main(argc, argv);
}
