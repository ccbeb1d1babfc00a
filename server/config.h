// Flags and environment -> options of the rooms.
#ifndef PIXEMBED_SERVER_CONFIG_H_
#define PIXEMBED_SERVER_CONFIG_H_

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/certificates.h"
#include "server/model_directories.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// What is done with the golden file of a model directory before the server is ready.
enum class VerifyMode {
  kEnforce,  // a model that disagrees with it is not served
  kWarn,     // it is served, with a warning
  kOff,      // it is not looked at
  kOnly,     // every model must have one and agree; nothing is served
};

// All that the server is told from outside.
struct ServerConfig {
  std::vector<ModelSource> models;         // names differ
  std::filesystem::path model_repository;  // empty: there is none
  // Names of the repository that are loaded at start; "*": all.
  std::vector<std::string> load_models;
  // Whether models are loaded and unloaded while the server runs. Otherwise `models` or
  // `load_models` is not empty.
  bool model_control = false;
  std::string device;  // for ResolveDevices
  Backend backend = Backend::kTorchvision;
  VerifyMode verify = VerifyMode::kEnforce;
  bool deterministic = false;
  ModelFormat format = ModelFormat::kAuto;
  bool trust_model_code = false;
  Precision precision = Precision::kFloat32;
  double precision_min_cosine = 0.999;
  EngineOptions engine;
  ServerOptions server;  // without certificates and tokens: `tls` and `auth_token_file` say which
  TlsFiles tls;          // `certificate` empty: no TLS, and then all are
  std::string auth_token_file;  // empty: whoever reaches the port may call
  std::chrono::nanoseconds drain_grace{0};
  std::chrono::nanoseconds drain_timeout{0};
  // Every flag with the value in force, for the log.
  std::vector<std::pair<std::string, std::string>> flags;
};

enum class Action { kServe, kPrintHelp, kPrintMarkdown, kPrintVersion };

struct CommandLine {
  Action action = Action::kServe;
  ServerConfig config;  // kServe only
};

// The value of an environment variable, if it is set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// Reads `arguments` (argv without the program): --flag=value or --flag value. A flag that is true
// or false may stand alone for true; its value follows "=" only. A flag that is not given is taken
// from PIXEMBED_<FLAG>, then from its default. --model and --listen may repeat, or hold several
// values separated by commas.
// Errors: INVALID_OPTION names the flag (or variable), its value, and what is possible.
absl::StatusOr<CommandLine> ParseCommandLine(std::span<const char* const> arguments,
                                             const Environment& environment);

// Every flag with its default and meaning, for a terminal.
std::string HelpText();

// "pixembed-server 0.1.0".
std::string VersionText();

// The same as a Markdown table, and one of every reason that an error may have: the README holds
// both, and a test compares.
std::string FlagsMarkdown();
std::string ReasonsMarkdown();

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_CONFIG_H_
