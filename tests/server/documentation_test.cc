// The tables of README and docs are those of the program, and the manifests' flags are ones that it
// takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/config.h"
#include "server/metrics.h"

namespace pixembed {
namespace {

using ::testing::HasSubstr;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string Readme() { return ReadFile(README); }

// The flags of a manifest: its lines "- --flag=value".
std::vector<std::string> ManifestFlags(const std::string& folder) {
  std::ifstream file(absl::StrCat(DEPLOY, "/", folder, "/deployment.yaml"));
  std::vector<std::string> flags;
  for (std::string line; std::getline(file, line);) {
    const std::size_t start = line.find("- --");
    if (start != std::string::npos) flags.push_back(line.substr(start + 2));
  }
  return flags;
}

TEST(Documentation, TheReadmesTableOfFlagsIsWhatHelpMarkdownPrints) {
  EXPECT_THAT(Readme(),
              HasSubstr("<!-- flags: begin -->\n" + FlagsMarkdown() + "<!-- flags: end -->"))
      << "run pixembed-server --help_markdown and put its first table there";
}

TEST(Documentation, TheReadmesTableOfReasonsIsWhatHelpMarkdownPrints) {
  EXPECT_THAT(Readme(),
              HasSubstr("<!-- reasons: begin -->\n" + ReasonsMarkdown() + "<!-- reasons: end -->"))
      << "run pixembed-server --help_markdown and put its second table there";
}

TEST(Documentation, TheTableOfMetricsIsWhatHelpMarkdownPrints) {
  EXPECT_THAT(ReadFile(absl::StrCat(DOCS, "/metrics.md")),
              HasSubstr("<!-- metrics: begin -->\n" + MetricsMarkdown() + "<!-- metrics: end -->"))
      << "run pixembed-server --help_markdown and put its third table there";
}

// Each budget at its worst, with the measured factor of what gRPC receives and a ViT-B/16.
TEST(Documentation, TheManifestsBudgetsFitTheirMemory) {
  constexpr std::size_t kLimit = std::size_t{2} << 30;  // of both: one patches the other
  constexpr std::size_t kModel = std::size_t{512} << 20;
  constexpr double kReceiveFactor = 3.3;  // at 128MiB; the README's section "Memory"
  const std::string manifest = ReadFile(absl::StrCat(DEPLOY, "/kubernetes/deployment.yaml"));
  EXPECT_THAT(manifest,
              HasSubstr("limits:\n              cpu: \"2\"\n              memory: 2Gi\n"));
  for (const char* const folder : {"kubernetes", "kubernetes-secure"}) {
    const std::vector<std::string> flags = ManifestFlags(folder);
    std::vector<const char*> arguments;
    arguments.reserve(flags.size());
    for (const std::string& flag : flags) arguments.push_back(flag.c_str());
    const auto command =
        ParseCommandLine(arguments, [](const std::string&) { return std::nullopt; });
    ASSERT_TRUE(command.ok()) << folder << ": " << command.status();
    const ServerConfig& config = command->config;
    const std::size_t receive = config.server.max_receive_bytes;
    ASSERT_EQ(receive, std::size_t{128} << 20) << "the factor is another one";
    const auto received = static_cast<std::size_t>(static_cast<double>(receive) * kReceiveFactor);
    const std::size_t by_http = config.server.http_listen.empty() ? 0 : receive;
    EXPECT_LT(kModel + received + by_http + config.engine.max_queued_bytes +
                  config.engine.max_decoded_bytes,
              kLimit)
        << folder;
  }
}

}  // namespace
}  // namespace pixembed
