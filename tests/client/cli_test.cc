// The program itself against a server that computes nothing: what it prints and its exit code.
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/client/fake_service.h"
#include "tests/client/file_test.h"
#include "tests/server/process.h"

namespace pixembed::client {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

class Cli : public testing::Test {
 protected:
  struct Outcome {
    int code;
    std::string output;  // both streams
  };

  static Outcome Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), PIXEMBED_PROGRAM);
    Process process(std::move(arguments));
    std::string output = process.ReadAll();
    return {process.Wait(), std::move(output)};
  }
  std::string Address() const { return "--address=" + server_.address(); }
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::string path = (directory_.path() / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::vector<std::string> Files() const { return NamesIn(directory_); }

  FakeServer server_;
  TemporaryDirectory directory_;
};

// An error is one line that begins with the program's name.
MATCHER_P(IsOneLineWith, text, "") {
  return arg.rfind("pixembed: ", 0) == 0 && arg.find(text) != std::string::npos &&
         arg.find('\n') == arg.size() - 1;
}

TEST_F(Cli, WithoutACommandItShowsTheOverviewAndFails) {
  const Outcome outcome = Run({});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.output, HasSubstr("usage: pixembed COMMAND"));
}

TEST_F(Cli, HelpAndVersionSucceed) {
  EXPECT_EQ(Run({"--help"}).code, 0);
  EXPECT_THAT(Run({"--version"}).output, ContainsRegex("^pixembed [0-9]+\\.[0-9]+\\.[0-9]+\n$"));
  for (const char* command : {"embed", "models", "health", "load"}) {
    const Outcome outcome = Run({command, "--help"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.output, AllOf(StartsWith(std::string("usage: pixembed ") + command),
                                      HasSubstr("--address")));
  }
}

TEST_F(Cli, TheReadmesTableOfFlagsIsWhatHelpMarkdownPrints) {
  const std::string table = Run({"--help_markdown"}).output;
  EXPECT_THAT(table, Not(HasSubstr(" |  |  | "))) << "a flag of no command";
  std::ifstream file(README);
  const std::string readme{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(readme, HasSubstr("<!-- flags: begin -->\n" + table + "<!-- flags: end -->"))
      << "run pixembed --help_markdown and put its table there";
}

TEST_F(Cli, WrongCommandLinesAreOneLineAndExitCodeTwo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"frobnicate"}, "frobnicate"},
      {{"embed"}, "no file named"},
      {{"embed", "--nope", "x"}, "--nope"},
      {{"health", "--pooling=cls"}, "health: there is no flag --pooling"},
      {{"embed", "--pooling=first", "x"}, "mean, cls, max"},
      {{"embed", "--lane=fast", "x"}, "online, bulk"},
      {{"models", "x"}, "takes no argument"},
      {{"health", "a", "b"}, "takes one service"},
      {{"load"}, "no image named"},
      {{"load", "--arrivals=often", "x"}, "poisson, uniform"},
      {{"embed", "--dimensions=-1", "x"}, "--dimensions=-1: expected is a whole number"},
      {{"embed", "--dimensions", "x"}, "--dimensions=x: expected is a whole number"},
      {{"embed", "x", "--dimensions"}, "--dimensions has no value"},
      {{"embed", "--timeout=5", "x"}, "--timeout=5: expected is a time with its unit, as 500ms"},
      {{"embed", "--normalize=maybe", "x"}, "--normalize=maybe: expected is true or false"},
      {{"load", "--rate=fast", "x"}, "--rate=fast: expected is a number"},
  };
  for (const auto& [arguments, text] : cases) {
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.output;
    EXPECT_THAT(outcome.output, IsOneLineWith(text));
  }
}

TEST_F(Cli, AMissingFileAndAnUnreachableServerAreOneLineAndExitCodeOne) {
  Outcome outcome = Run({"embed", Address(), "/none/a.png"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, IsOneLineWith("/none/a.png"));
  const std::string socket = "unix:" + directory_.path().string() + "/none.sock";
  outcome = Run({"health", "--address=" + socket});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, IsOneLineWith(socket));
}

TEST_F(Cli, AnUnknownModelIsFoundBeforeAFileIsMade) {
  const std::string output = (directory_.path() / "v.npy").string();
  const Outcome outcome =
      Run({"embed", Address(), "--model=other", "--output=" + output, Write("a.png", "A")});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, IsOneLineWith("UNKNOWN_MODEL"));
  EXPECT_FALSE(std::ifstream(output).good());
}

TEST_F(Cli, EmbedPrintsHeads) {
  const std::string a = Write("a.png", "A");
  const Outcome outcome = Run({"embed", Address(), directory_.path().string()});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr(a + "\t4\t  1.0000\t 65.0000\t  0.5000\t -1.0000\n"));
  EXPECT_THAT(outcome.output,
              HasSubstr("1 embedded, 0 failed; fingerprint " + std::string(kFingerprint)));
}

TEST_F(Cli, EmbedListsFailedImagesAndFails) {
  Write("a.png", "A");
  const std::string b = Write("b.png", "bad");
  const Outcome outcome = Run({"embed", Address(), directory_.path().string()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("failed: " + b + ": TRUNCATED_IMAGE: it ends early\n"));
  EXPECT_THAT(outcome.output, HasSubstr("1 embedded, 1 failed"));
}

TEST_F(Cli, EmbedSaysOnceWhyTheServerTakesNone) {
  server_.embedding.Set({.refusals = 1,
                         .refusal = ToGrpc(RpcError(grpc::INVALID_ARGUMENT, "INVALID_OPTION",
                                                    "dimensions is 10000"))});
  const Outcome outcome = Run({"embed", Address(), "--dimensions=10000", Write("a.png", "A"),
                               Write("b.png", "B"), Write("c.png", "C")});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.output,
            "0 embedded, 0 failed, 3 left\npixembed: INVALID_OPTION: dimensions is 10000\n");
}

TEST_F(Cli, EmbedReportsWhatOfADirectoryCannotBeReadAndSendsTheRest) {
  Write("a.png", "A");
  const std::string pipe = (directory_.path() / "b.png").string();
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const std::filesystem::path link = directory_.path() / "c.png";
  std::filesystem::create_symlink("/none/gone.png", link);
  const Outcome outcome = Run({"embed", Address(), directory_.path().string()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, HasSubstr("failed: " + pipe + ": INVALID_ARGUMENT: "));
  EXPECT_THAT(outcome.output, HasSubstr("failed: " + link.string() + ": NOT_FOUND: "));
  EXPECT_THAT(outcome.output, HasSubstr("1 embedded, 2 failed"));
}

TEST_F(Cli, EmbedSendsItsFlags) {
  const Outcome outcome =
      Run({"embed", Address(), "--pooling=max", "--layers=2,-1", "--exif_orientation=apply",
           "--background=ff8001", "--normalize", "--dimensions", "3", "--data_type=float16",
           "--lane=online", Write("a.png", "A")});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  const v1::EmbedOptions options = server_.embedding.last_options();
  EXPECT_EQ(options.pooling(), v1::POOLING_MAX);
  EXPECT_THAT(options.layers(), ElementsAre(2, -1));
  EXPECT_EQ(options.exif_orientation(), v1::EXIF_ORIENTATION_APPLY);
  EXPECT_EQ(options.background().red(), 255);
  EXPECT_EQ(options.background().green(), 128);
  EXPECT_EQ(options.background().blue(), 1);
  EXPECT_TRUE(options.normalize());
  EXPECT_EQ(options.dimensions(), 3);
  EXPECT_EQ(options.data_type(), v1::DATA_TYPE_FLOAT16);
  EXPECT_EQ(options.lane(), v1::LANE_ONLINE);
}

TEST_F(Cli, EmbedReadsAListOfPaths) {
  const std::string list = Write("list.txt", Write("a", "A") + "\n" + Write("b", "BB") + "\n");
  const Outcome outcome = Run({"embed", Address(), "--files_from=" + list});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("2 embedded"));
}

TEST_F(Cli, ADirectoryForAFileOfAFlagIsOneLineThatNamesIt) {
  const std::string image = Write("a.png", "A");
  const std::string directory = directory_.path().string();
  for (const char* flag : {"--files_from", "--token_file", "--tls_ca_file"}) {
    const Outcome outcome = Run({"embed", Address(), flag, directory, image});
    EXPECT_EQ(outcome.code, 1) << flag << ": " << outcome.output;
    EXPECT_THAT(outcome.output, IsOneLineWith(directory));
  }
}

TEST_F(Cli, EmbedThatIsInterruptedLeavesNoFileBehind) {
  const std::string image = Write("a.png", "A");
  const std::string output = Write("v.npy", "old");
  for (const int signal : {SIGINT, SIGTERM}) {
    FakeServer server;
    server.embedding.Set({.hold_after = 1});
    std::signal(signal, SIG_DFL);  // the program's, too, whoever runs the tests
    Process process(
        {PIXEMBED_PROGRAM, "embed", "--address=" + server.address(), "--output=" + output, image});
    server.embedding.WaitUntilRead(1);
    EXPECT_THAT(Files(), SizeIs(4)) << "the image, the old file, and two to be";
    process.Signal(signal);
    EXPECT_EQ(process.Wait(), -signal);
    EXPECT_THAT(Files(), UnorderedElementsAre("a.png", "v.npy"));
  }
}

TEST_F(Cli, EmbedShowsNeighbours) {
  Write("a.png", "A");
  Write("b.png", "B");
  const Outcome outcome = Run({"embed", Address(), "--neighbours", directory_.path().string()});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, ContainsRegex("a.png +4 \\[.*nearest .*b.png cosine [01]\\.[0-9]+"));
}

TEST_F(Cli, ModelsAsATableAndAsJson) {
  const Outcome table = Run({"models", Address()});
  EXPECT_EQ(table.code, 0);
  EXPECT_THAT(table.output, AllOf(StartsWith("NAME  TYPE"), HasSubstr("fake  vit")));
  const Outcome json = Run({"models", Address(), "--json"});
  const auto models = nlohmann::json::parse(json.output)["models"];
  EXPECT_EQ(models[0]["name"], "fake");
  EXPECT_EQ(models[0]["dimension"], 4);
}

TEST_F(Cli, HealthIsItsExitCode) {
  Outcome outcome = Run({"health", Address()});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.output, "SERVING\n");
  server_.health.Set(FakeHealth::Response::NOT_SERVING);
  outcome = Run({"health", Address()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.output, "NOT_SERVING\n");
  outcome = Run({"health", Address(), "other"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.output, IsOneLineWith("NOT_FOUND"));
}

TEST_F(Cli, HealthWaits) {
  server_.health.Set(FakeHealth::Response::NOT_SERVING);
  Process waiting({PIXEMBED_PROGRAM, "health", Address(), "--wait=60s"});
  server_.health.WaitUntilWatched();
  server_.health.Set(FakeHealth::Response::SERVING);
  EXPECT_EQ(waiting.ReadAll(), "SERVING\n");
  EXPECT_EQ(waiting.Wait(), 0);
}

TEST_F(Cli, LoadReportsJson) {
  const Outcome outcome = Run({"load", Address(), "--requests=20", "--concurrency=3",
                               "--images_per_request=2", "--json", Write("a.png", "A")});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(json["requests"], 20);
  EXPECT_EQ(json["images"], 40);
}

TEST_F(Cli, LoadTakesARateForAnOpenLoop) {
  const std::string image = Write("a.png", "A");
  const Outcome outcome = Run({"load", Address(), "--rate=10000", "--arrivals=uniform", "--seed=1",
                               "--max_outstanding=1000", "--requests=20", "--json", image});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  EXPECT_EQ(json["requests"], 20);
  EXPECT_GT(json["send_delay_ms"]["max"], 0);
}

TEST_F(Cli, ALoadThatMakesNoSenseIsOneLineAndExitCodeTwo) {
  const std::string image = Write("a.png", "A");
  for (const std::string flag : {"--channels=0", "--channels=-1", "--concurrency=0", "--duration=0",
                                 "--duration=-1s", "--idle_gap=-1s", "--rate=-1"}) {
    for (const std::string stream : {"--nostream", "--stream"}) {
      const Outcome outcome = Run({"load", Address(), flag, stream, image});
      EXPECT_EQ(outcome.code, 2) << flag << ": " << outcome.output;
      EXPECT_THAT(outcome.output, IsOneLineWith(" is " + flag.substr(flag.find('=') + 1)));
    }
  }
}

}  // namespace
}  // namespace pixembed::client
