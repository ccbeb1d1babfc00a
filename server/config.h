// Flags and environment -> options of the rooms.
#ifndef PIXEMBED_SERVER_CONFIG_H_
#define PIXEMBED_SERVER_CONFIG_H_

#include <chrono>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/certificates.h"
#include "server/server.h"
#include "src/command_line/command_line.h"
#include "src/launch/launch.h"

namespace pixembed {

// All that the server is told from outside.
struct ServerConfig : LaunchConfig {
  std::filesystem::path model_repository;  // empty: there is none
  // Names of the repository that are loaded at start; "*": all.
  std::vector<std::string> load_models;
  // Whether models are loaded and unloaded while the server runs. Otherwise `models` or
  // `load_models` is not empty.
  bool model_control = false;
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

// Reads `arguments` (argv without the program), as SetFlags does.
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
