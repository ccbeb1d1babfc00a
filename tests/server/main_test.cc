// The program: how it starts, what it says when it cannot, how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "inference/grpc_service.grpc.pb.h"
#include "pixembed/v1/embedding.grpc.pb.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/model/fake_model.h"
#include "tests/server/process.h"
#include "tests/server/raw_connection.h"
#include "tests/server/scrape.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"
#include "tests/verify/golden_bytes.h"

namespace pixembed {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> Command(std::vector<std::string> flags) {
  flags.insert(flags.begin(), FAKE_SERVER);
  return flags;
}

// The address of the line "serving on ADDRESS".
std::string AwaitAddress(Process& server) {
  const std::string line = server.AwaitLine("serving on ");
  const std::size_t start = line.find("serving on ") + 11;
  return line.substr(start, line.size() - start - 1);
}

// Waits until there is a server.
grpc::Status EmbedOne(const std::string& address, v1::EmbedResponse* response) {
  v1::EmbedRequest request;
  request.add_images()->set_data(SolidImage(9));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  return v1::EmbeddingService::NewStub(Connect(address))->Embed(&context, request, response);
}

TEST(Main, ServesUntilSigtermAndExitsWith0) {
  Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0"}));
  const std::string address = AwaitAddress(server);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedOne(address, &response).ok());
  EXPECT_EQ(response.model(), "one");
  server.Signal(SIGTERM);
  const std::string rest = server.ReadAll();
  EXPECT_THAT(rest, HasSubstr("SIGTERM"));
  EXPECT_THAT(rest, HasSubstr("1 images answered, 0 failed"));
  EXPECT_THAT(rest, HasSubstr("nothing was lost"));
  EXPECT_EQ(server.Wait(), 0);
}

TEST(Main, ServesHttpWhereAskedToAndSaysWhere) {
  Process server(
      Command({"--model=/models/one", "--listen=127.0.0.1:0", "--http_listen=127.0.0.1:0"}));
  const std::string line = server.AwaitLine("serving HTTP on 127.0.0.1:");
  const RawConnection http(line.substr(line.rfind(' ') + 1));
  ASSERT_TRUE(http.Send("GET /.well-known/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  AwaitAddress(server);
  EXPECT_THAT(http.ReceiveAll(), StartsWith("HTTP/1.1 204"));
}

TEST(Main, ServesMetricsWhereAskedToAndCountsForThem) {
  Process server(
      Command({"--model=/models/one", "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0"}));
  const std::string line = server.AwaitLine("serving metrics on 127.0.0.1:");
  const std::string address = AwaitAddress(server);
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedOne(address, &response).ok());
  const Scrape scrape(line.substr(line.rfind(' ') + 1));
  EXPECT_EQ(scrape.Of(R"(pixembed_images_total{lane="online",model="one",reason="OK"})"), 1);
  EXPECT_EQ(scrape.Of(R"(pixembed_batch_images_count{model="one"})"), 1);
}

TEST(Main, SigintAndAClosedTerminalDoTheSame) {
  for (const auto& [signal, name] : {std::pair(SIGINT, "SIGINT"), std::pair(SIGHUP, "SIGHUP")}) {
    Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0"}));
    AwaitAddress(server);
    server.Signal(signal);
    EXPECT_THAT(server.ReadAll(), HasSubstr(name));
    EXPECT_EQ(server.Wait(), 0);
  }
}

// The kernel and the shell both tell of it.
TEST(Main, ATerminalThatIsClosedTwiceStillLetsItDrain) {
  Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0", "--drain_grace=1h"}));
  const std::string address = AwaitAddress(server);
  server.Signal(SIGHUP);
  EXPECT_THAT(server.AwaitLine("SIGHUP"), HasSubstr("draining"));
  server.Signal(SIGHUP);
  v1::EmbedResponse response;
  EXPECT_TRUE(EmbedOne(address, &response).ok());
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 128 + SIGTERM);
}

TEST(Main, UnderNohupItOutlivesItsTerminal) {
  std::vector<std::string> command =
      Command({"--model=/models/one", "--listen=127.0.0.1:0", "--drain_grace=1h"});
  command.insert(command.begin(), {"/bin/sh", "-c", R"(trap '' HUP; exec "$0" "$@")"});
  Process server(command);
  const std::string address = AwaitAddress(server);
  server.Signal(SIGHUP);
  v1::EmbedResponse response;
  EXPECT_TRUE(EmbedOne(address, &response).ok());
  server.Signal(SIGTERM);
  EXPECT_THAT(server.AwaitLine("draining"), HasSubstr("SIGTERM: "));
}

TEST(Main, AReaderOfTheLogThatGoesTakesNothingWithIt) {
  Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0"}));
  const std::string address = AwaitAddress(server);
  server.CloseOutput();
  v1::EmbedResponse response;
  EXPECT_TRUE(EmbedOne(address, &response).ok());
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);
}

TEST(Main, ALogThatNobodyReadsFromTheFirstLineOnIsNoReasonNotToServe) {
  const std::string address = "unix:" + ::testing::TempDir() + "pixembed_main_test_unread.sock";
  Process server(Command({"--model=/models/one", "--listen=" + address}));
  server.CloseOutput();
  v1::EmbedResponse response;
  EXPECT_TRUE(EmbedOne(address, &response).ok());
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0);
}

TEST(Main, ASignalWhileModelsLoadIsOneLineThatSaysSo) {
  Process server(Command({"--model=/models/endless", "--listen=127.0.0.1:0"}));
  server.AwaitLine("--model=");
  server.Signal(SIGTERM);
  // Not at the end: until the process is gone, the thread that starts it goes on with its own
  // lines.
  EXPECT_THAT(
      "\n" + server.ReadAll(),
      HasSubstr("\npixembed-server: SIGTERM before the server was ready; it ends at once\n"));
  EXPECT_EQ(server.Wait(), 128 + SIGTERM);
}

TEST(Main, InTheGraceItIsNotServingForHealthAndServesAllTheSame) {
  Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0", "--drain_grace=1h"}));
  const std::string address = AwaitAddress(server);
  const auto health = grpc::health::v1::Health::NewStub(Connect(address));
  grpc::ClientContext context;
  const auto watch = health->Watch(&context, {});
  grpc::health::v1::HealthCheckResponse status;
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  server.Signal(SIGTERM);
  ASSERT_TRUE(watch->Read(&status));
  EXPECT_EQ(status.status(), grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  v1::EmbedResponse response;
  EXPECT_TRUE(EmbedOne(address, &response).ok());
  context.TryCancel();
}

TEST(Main, ASecondSignalEndsItAtOnce) {
  Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0", "--drain_grace=1h"}));
  AwaitAddress(server);
  server.Signal(SIGTERM);
  EXPECT_THAT(server.AwaitLine("SIGTERM"), HasSubstr("draining"));
  server.Signal(SIGTERM);
  EXPECT_EQ(server.ReadAll(),
            "pixembed-server: SIGTERM, after another signal; it ends at once, undrained\n");
  EXPECT_EQ(server.Wait(), 128 + SIGTERM);
}

TEST(Main, LogsEveryFlagTheModelAndTheEngineAtStart) {
  Process server(Command(
      {"--model=name=/models/one", "--listen=127.0.0.1:0", "--cores=2", "--max_batch_size=3"}));
  EXPECT_THAT(server.AwaitLine("--model="), HasSubstr("name=/models/one"));
  EXPECT_FALSE(server.AwaitLine("--max_message_bytes=64MiB").empty());
  EXPECT_THAT(server.AwaitLine("model name: fake from /models/one"), HasSubstr("8x8"));
  EXPECT_THAT(server.AwaitLine("model name: float32 on cpu"), HasSubstr("kernels: none; loaded"));
  EXPECT_THAT(server.AwaitLine("fingerprint"), ContainsRegex("[0-9a-f]{64}"));
  EXPECT_THAT(server.AwaitLine("engine: 2 cores"), HasSubstr("batches of at most 3; warmed up"));
}

TEST(Main, TakesFlagsFromTheEnvironment) {
  Process server(Command({"--listen=127.0.0.1:0"}),
                 {"PIXEMBED_MODEL=from_environment=/models/one"});
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedOne(AwaitAddress(server), &response).ok());
  EXPECT_EQ(response.model(), "from_environment");
}

TEST(Main, ListensOnAUnixSocketAndOnSeveralAddresses) {
  const std::string socket = ::testing::TempDir() + "pixembed_main_test.sock";
  Process server(
      Command({"--model=/models/one", "--listen=127.0.0.1:0", "--listen=unix:" + socket}));
  const std::string addresses = AwaitAddress(server);
  EXPECT_THAT(addresses, HasSubstr("127.0.0.1:"));
  v1::EmbedResponse response;
  EXPECT_TRUE(EmbedOne("unix:" + socket, &response).ok());
  EXPECT_TRUE(EmbedOne(addresses.substr(0, addresses.find(',')), &response).ok());
}

TEST(Main, APortInUseIsOneClearLineAndExitCode1) {
  Process first(Command({"--model=/models/one", "--listen=127.0.0.1:0"}));
  const std::string address = AwaitAddress(first);
  Process second(Command({"--model=/models/one", "--listen=" + address}));
  EXPECT_THAT(second.AwaitLine("pixembed-server: "),
              HasSubstr("cannot listen on " + address + ": Address already in use"));
  EXPECT_EQ(second.Wait(), 1);
}

TEST(Main, APortInUseIsFoundBeforeAnyModelIsLoadedForHttpToo) {
  Process first(Command({"--model=/models/one", "--listen=127.0.0.1:0"}));
  const std::string address = AwaitAddress(first);
  Process second(
      Command({"--model=/models/endless", "--listen=127.0.0.1:0", "--http_listen=" + address}));
  EXPECT_EQ(second.AwaitLine("pixembed-server: "),
            "pixembed-server: cannot listen on " + address +
                ": Address already in use (flag --http_listen)\n");
  EXPECT_EQ(second.Wait(), 1);
}

TEST(Main, AFileOfTlsThatCannotBeReadIsOneClearLineBeforeAnyModelIsLoaded) {
  Process server(
      Command({"--model=/models/missing", "--listen=127.0.0.1:0",
               "--tls_certificate_file=/none/tls.crt", "--tls_private_key_file=/none/tls.key"}));
  EXPECT_THAT(server.AwaitLine("pixembed-server: "),
              HasSubstr("--tls_certificate_file=/none/tls.crt cannot be read: No such file"));
  EXPECT_EQ(server.Wait(), 1);
}

TEST(Main, WantsATokenOfTheFileAndSaysHowManyThereAre) {
  const TemporaryDirectory folder;
  const std::string path = (folder.path() / "tokens").string();
  std::ofstream(path) << "first\nsecond\n";
  Process server(
      Command({"--model=/models/one", "--listen=127.0.0.1:0", "--auth_token_file=" + path}));
  EXPECT_THAT(server.AwaitLine("tokens"), HasSubstr("--auth_token_file=" + path));
  EXPECT_THAT(server.AwaitLine("tokens: 2 tokens"), Not(HasSubstr("first")));
  v1::EmbedResponse response;
  EXPECT_EQ(EmbedOne(AwaitAddress(server), &response).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST(Main, AModelThatCannotBeLoadedIsOneClearLineAndExitCode1) {
  Process server(Command({"--model=/models/missing", "--listen=127.0.0.1:0"}));
  EXPECT_EQ(server.AwaitLine("pixembed-server: "),
            "pixembed-server: cannot load model missing from /models/missing: config.json does not "
            "exist\n");
  EXPECT_EQ(server.Wait(), 1);
}

// A model directory with a golden file of one image, of which the fake model makes `red`.
class GoldenModel {
 public:
  explicit GoldenModel(float red) {
    GoldenParts parts;
    parts.AddTrue("red", SolidImage(9), FakeModel());
    const std::vector<float> vector = {red, 0.0F, 0.0F};
    parts.tensors["red.vector"].bytes.assign(reinterpret_cast<const char*>(vector.data()),
                                             vector.size() * sizeof(float));
    parts.Write(directory_.path());
  }
  std::string flag() const { return "--model=m=" + directory_.path().string(); }
  void CopyTo(const std::filesystem::path& directory) const {
    std::filesystem::copy(directory_.path(), directory, std::filesystem::copy_options::recursive);
  }

 private:
  TemporaryDirectory directory_;
};

TEST(Main, AModelThatAgreesWithItsGoldenFileIsVerifiedBeforeItIsServed) {
  const GoldenModel model(9.0F);
  Process server(Command({model.flag(), "--listen=127.0.0.1:0"}));
  EXPECT_THAT(server.AwaitLine("golden image red"),
              HasSubstr("pixels equal, max-abs 0, cosine 1.0000000"));
  EXPECT_THAT(server.AwaitLine("on cpu against 1 golden images of"), HasSubstr("pillow 13.0.0"));
  EXPECT_FALSE(server.AwaitLine("model m: verified").empty());
  AwaitAddress(server);
}

TEST(Main, AModelThatDisagreesIsOneClearLineAndExitCode3) {
  const GoldenModel model(9.001F);
  Process server(Command({model.flag(), "--listen=127.0.0.1:0"}));
  EXPECT_THAT(server.AwaitLine("pixembed-server: "),
              HasSubstr(" is not verified: 1 of 1 golden images disagree on cpu; red: "
                        "pixels equal, max-abs 0.001"));
  EXPECT_EQ(server.Wait(), 3);
}

TEST(Main, AModelThatDisagreesIsServedWhereThatIsAskedFor) {
  const GoldenModel model(9.001F);
  Process warned(Command({model.flag(), "--listen=127.0.0.1:0", "--verify=warn"}));
  EXPECT_THAT(warned.AwaitLine("not verified, but served"), HasSubstr("warning"));
  AwaitAddress(warned);
  Process off(Command({model.flag(), "--listen=127.0.0.1:0", "--verify=off"}));
  AwaitAddress(off);
}

TEST(Main, VerifyOnlyChecksAndExitsWithoutListening) {
  const GoldenModel good(9.0F);
  Process verified(Command({good.flag(), "--listen=unix:/no/such/folder", "--verify=only"}));
  EXPECT_THAT(verified.ReadAll(), HasSubstr("model m: verified"));
  EXPECT_EQ(verified.Wait(), 0);
  Process without(Command({"--model=/models/one", "--verify=only"}));
  EXPECT_THAT(without.ReadAll(), HasSubstr("pixembed_golden.safetensors does not exist"));
  EXPECT_EQ(without.Wait(), 1);
}

TEST(Main, ADeterministicServerSaysSoAndTakesImagesOneByOne) {
  Process server(Command(
      {"--model=/models/one", "--listen=127.0.0.1:0", "--deterministic", "--precision=bfloat16"}));
  EXPECT_THAT(server.AwaitLine("model one: bfloat16"), HasSubstr("bfloat16, deterministic on cpu"));
  EXPECT_THAT(server.AwaitLine("engine: "), HasSubstr("batches of at most 1;"));
}

TEST(Main, ADeterministicServerOfModelsThatAreSoInAnyBatchTakesBatches) {
  Process server(Command({"--model=/models/apart", "--listen=127.0.0.1:0", "--deterministic",
                          "--precision=bfloat16"}));
  EXPECT_THAT(server.AwaitLine("engine: "), HasSubstr("batches of at most 4;"));
}

TEST(Main, AServerOfLessPrecisionSaysHowCloseItsVectorsAre) {
  Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0", "--precision=bfloat16",
                          "--precision_min_cosine=0.99"}));
  EXPECT_THAT(server.AwaitLine("model one: bfloat16"), HasSubstr("bfloat16 on cpu"));
  EXPECT_THAT(server.AwaitLine("model one: smallest cosine"), HasSubstr("(at least 0.9900000)"));
}

TEST(Main, ADeviceThatIsNotThereNamesTheFlag) {
  Process server(Command({"--model=/models/one", "--device=cuda:7", "--listen=127.0.0.1:0"}));
  EXPECT_THAT(server.AwaitLine("pixembed-server: "), HasSubstr("--device: no such device"));
  EXPECT_EQ(server.Wait(), 1);
}

// A developer's environment may name one.
const std::vector<std::string> kNoModel = {"PIXEMBED_MODEL="};

// Asks a server to load a model.
grpc::Status LoadModelOf(const std::string& address, const std::string& name) {
  inference::RepositoryModelLoadRequest request;
  request.set_model_name(name);
  inference::RepositoryModelLoadResponse response;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  return inference::GRPCInferenceService::NewStub(Connect(address))
      ->RepositoryModelLoad(&context, request, &response);
}

TEST(Main, LoadsModelsOfTheRepositoryAtStart) {
  const TemporaryDirectory repository;
  for (const char* const name : {"a", "b"}) {
    std::filesystem::create_directory(repository.path() / name);
  }
  const std::string flag = "--model_repository=" + repository.path().string();
  Process all(Command({flag, "--load_model=*", "--listen=127.0.0.1:0"}), kNoModel);
  EXPECT_FALSE(all.AwaitLine("model a: fake from").empty());
  EXPECT_FALSE(all.AwaitLine("model b: fake from").empty());
  v1::EmbedResponse response;
  ASSERT_TRUE(EmbedOne(AwaitAddress(all), &response).ok());
  EXPECT_EQ(response.model(), "a");
  Process wrong(Command({flag, "--load_model=c", "--listen=127.0.0.1:0"}), kNoModel);
  EXPECT_THAT(wrong.AwaitLine("pixembed-server: "),
              HasSubstr("--load_model: no model named \"c\""));
  EXPECT_EQ(wrong.Wait(), 1);
}

TEST(Main, ARepositoryThatCannotBeReadIsOneClearLineAndExitCode1) {
  for (const char* const flag : {"--load_model=*", "--model_control=explicit"}) {
    Process server(Command({"--model_repository=/nonexist", flag, "--listen=127.0.0.1:0"}),
                   kNoModel);
    EXPECT_EQ(server.AwaitLine("pixembed-server: "),
              "pixembed-server: --model_repository=/nonexist cannot be read: No such file or "
              "directory\n");
    EXPECT_EQ(server.Wait(), 1);
  }
}

TEST(Main, ARepositoryInWhichNothingIsFoundIsRefusedAndSaysWhatIsLeftOut) {
  const TemporaryDirectory repository;
  std::filesystem::create_directory(repository.path() / "my model");
  std::filesystem::create_directory_symlink("/", repository.path() / "elsewhere");
  const std::string flag = "--model_repository=" + repository.path().string();
  Process server(Command({flag, "--load_model=*", "--listen=127.0.0.1:0"}), kNoModel);
  EXPECT_THAT(server.AwaitLine("\"elsewhere\" is left out: it is a link"), HasSubstr("warning"));
  EXPECT_THAT(server.AwaitLine("\"my model\" is left out: a name is"), HasSubstr("warning"));
  EXPECT_THAT(server.AwaitLine("pixembed-server: "),
              HasSubstr("--load_model=* finds no model in " + flag));
  EXPECT_EQ(server.Wait(), 1);
}

TEST(Main, AnEmptyRepositoryIsServedWithAWarningWhereModelsMayComeLater) {
  const TemporaryDirectory repository;
  Process server(Command({"--model_repository=" + repository.path().string(), "--load_model=*",
                          "--model_control=explicit", "--listen=127.0.0.1:0"}),
                 kNoModel);
  EXPECT_THAT(server.AwaitLine("--load_model=* finds no model"), HasSubstr("warning"));
  const std::string address = AwaitAddress(server);
  std::filesystem::create_directory(repository.path() / "a");
  EXPECT_TRUE(LoadModelOf(address, "a").ok());
}

TEST(Main, ADeterministicServerToWhichModelsComeTakesImagesOneByOneWhereTheyMayHaveTo) {
  const TemporaryDirectory repository;
  const std::string flag = "--model_repository=" + repository.path().string();
  const auto engine = [&flag](const std::string& precision) {
    Process server(Command({flag, "--model_control=explicit", "--listen=127.0.0.1:0",
                            "--deterministic", "--precision=" + precision}),
                   kNoModel);
    return server.AwaitLine("engine: ");
  };
  EXPECT_THAT(engine("bfloat16"), HasSubstr("batches of at most 1;"));
  EXPECT_THAT(engine("int8"), HasSubstr("batches of at most 4;"));
}

TEST(Main, LoadsAndChecksModelsWhileItServes) {
  const TemporaryDirectory repository;
  for (const char* const name : {"a", "missing", "wrong"}) {
    std::filesystem::create_directory(repository.path() / name);
  }
  GoldenModel(9.001F).CopyTo(repository.path() / "wrong");
  Process server(Command({"--model_repository=" + repository.path().string(),
                          "--model_control=explicit", "--listen=127.0.0.1:0"}),
                 kNoModel);
  const std::string address = AwaitAddress(server);
  v1::EmbedResponse response;
  EXPECT_EQ(ReasonIn(EmbedOne(address, &response)), "UNKNOWN_MODEL");
  ASSERT_TRUE(LoadModelOf(address, "a").ok());
  EXPECT_FALSE(server.AwaitLine("model a: fake from").empty());
  EXPECT_FALSE(server.AwaitLine("model a: loaded").empty());
  EXPECT_EQ(ReasonIn(LoadModelOf(address, "missing")), "CHECKPOINT_MISSING");
  EXPECT_FALSE(server.AwaitLine("model missing: not loaded: ").empty());
  EXPECT_EQ(ReasonIn(LoadModelOf(address, "wrong")), "GOLDEN_MISMATCH");
  EXPECT_EQ(ReasonIn(LoadModelOf(address, "../a")), "UNKNOWN_MODEL");
  server.Signal(SIGTERM);
  EXPECT_THAT(server.ReadAll(), HasSubstr("nothing was lost"));
  EXPECT_EQ(server.Wait(), 0);
}

TEST(Main, SaysWhyAutoIsTheCpu) {
  Process server(Command({"--model=/models/one", "--listen=127.0.0.1:0"}));
  EXPECT_THAT(server.AwaitLine("--device=auto is"), HasSubstr("the CPU: no driver"));
}

TEST(Main, WrongFlagsAreOneClearLineAndExitCode2) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"--coers=2", "--coers does not exist; see --help"},
      {"--listen=50051",
       "cannot listen on 50051: it is not host:port, [IPv6]:port or unix:path (flag --listen)"},
      {"--http_listen=unix:/a",
       "cannot listen on unix:/a: it is not host:port or [IPv6]:port (flag --http_listen)"},
      {"--device=cuda:x",
       "--device names \"cuda:x\"; possible are auto, or a list of cpu, cuda and cuda:N"},
  };
  for (const auto& [flag, text] : cases) {
    Process server(Command({"--model=/models/one", flag}));
    EXPECT_EQ(server.ReadAll(), "pixembed-server: " + text + "\n");
    EXPECT_EQ(server.Wait(), 2);
  }
}

TEST(Main, PrintsHelpAndVersion) {
  Process help(Command({"--help"}));
  EXPECT_THAT(help.ReadAll(), HasSubstr("--max_message_bytes (default: 64MiB)"));
  EXPECT_EQ(help.Wait(), 0);
  Process version(Command({"--version"}));
  EXPECT_THAT(version.ReadAll(), StartsWith("pixembed-server "));
  EXPECT_EQ(version.Wait(), 0);
}

}  // namespace
}  // namespace pixembed
