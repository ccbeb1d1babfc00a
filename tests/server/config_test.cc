#include "server/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/command_line/command_line.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

using Variables = std::map<std::string, std::string>;

absl::StatusOr<CommandLine> Parse(const std::vector<const char*>& arguments,
                                  const Variables& variables = {}) {
  return ParseCommandLine(arguments, [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

std::string Refusal(const std::vector<const char*>& arguments, const Variables& variables = {}) {
  const auto command = Parse(arguments, variables);
  EXPECT_EQ(ReasonOf(command.status()), Reason::kInvalidOption);
  return std::string(command.status().message());
}

TEST(Config, AModelDirectoryIsEnoughAndTheRestHasDefaults) {
  const auto command = Parse({"--model=/models/dinov2-s14"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->action, Action::kServe);
  const ServerConfig& config = command->config;
  ASSERT_THAT(config.models, SizeIs(1));
  EXPECT_EQ(config.models[0].name, "dinov2-s14");
  EXPECT_EQ(config.models[0].directory, "/models/dinov2-s14");
  EXPECT_EQ(config.device, "auto");
  EXPECT_EQ(config.backend, Backend::kTorchvision);
  EXPECT_THAT(config.server.listen, ElementsAre("127.0.0.1:50051"));
  EXPECT_EQ(config.drain_grace.count(), 0);
  EXPECT_EQ(config.drain_timeout, std::chrono::seconds(30));
}

TEST(Config, ModelsMayComeFromARepositoryInTheirPlace) {
  const auto command = Parse({"--model_repository=/models", "--load_model=a", "--load_model=b"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_TRUE(command->config.models.empty());
  EXPECT_EQ(command->config.model_repository, "/models");
  EXPECT_THAT(command->config.load_models, ElementsAre("a", "b"));
  EXPECT_FALSE(command->config.model_control);
  EXPECT_THAT(Refusal({"--load_model=a"}), HasSubstr("--model_repository"));
  EXPECT_THAT(Refusal({"--model=/m", "--load_model=a"}), HasSubstr("--model_repository"));
}

TEST(Config, ModelsAreControlledOnlyWhereThatIsAskedFor) {
  EXPECT_FALSE(Parse({"--model=/m"})->config.model_control);
  EXPECT_TRUE(Parse({"--model=/m", "--model_control=explicit"})->config.model_control);
  EXPECT_FALSE(Parse({"--model=/m", "--model_control=none"})->config.model_control);
  EXPECT_THAT(Refusal({"--model=/m", "--model_control=poll"}),
              AllOf(HasSubstr("poll"), HasSubstr("none and explicit")));
  // A server that begins with nothing is of use only where something can be loaded.
  EXPECT_TRUE(Parse({"--model_repository=/models", "--model_control=explicit"}).ok());
  EXPECT_THAT(Refusal({"--model_repository=/models"}),
              AllOf(HasSubstr("--load_model"), HasSubstr("--model_control=explicit")));
  EXPECT_THAT(Refusal({"--model_control=explicit"}), HasSubstr("--model is missing"));
}

TEST(Config, AProgramNeedsTrustThatIsGivenInWords) {
  const auto command = Parse({"--model=/m", "--trust_model_code", "--format=torchscript"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_TRUE(command->config.trust_model_code);
  EXPECT_EQ(command->config.format, ModelFormat::kTorchScript);
  EXPECT_FALSE(Parse({"--model=/m", "--trust_model_code=false"})->config.trust_model_code);
  const auto silent = Parse({"--model=/m"});
  EXPECT_FALSE(silent->config.trust_model_code);
  EXPECT_EQ(silent->config.format, ModelFormat::kAuto);
  EXPECT_THAT(Refusal({"--model=/m", "--format=onnx"}),
              AllOf(HasSubstr("onnx"), HasSubstr("aotinductor")));
  EXPECT_THAT(Refusal({"--model=/m", "--trust_model_code=perhaps"}), HasSubstr("perhaps"));
}

TEST(Config, APrecisionIsOneOfThoseThatThereAre) {
  EXPECT_EQ(Parse({"--model=/m"})->config.precision, Precision::kFloat32);
  const auto command = Parse({"--model=/m", "--precision=bfloat16", "--precision_min_cosine=0.99"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.precision, Precision::kBFloat16);
  EXPECT_EQ(command->config.precision_min_cosine, 0.99);
  EXPECT_EQ(Parse({"--model=/m", "--precision=int16"})->config.precision, Precision::kInt16);
  EXPECT_EQ(Parse({"--model=/m", "--precision=int8"})->config.precision, Precision::kInt8);
  EXPECT_EQ(Parse({"--model=/m", "--precision=auto"})->config.precision, Precision::kAuto);
  EXPECT_THAT(Refusal({"--model=/m", "--precision=half"}),
              AllOf(HasSubstr("half"), HasSubstr("float32, bfloat16, int16, int8 and auto")));
  for (const char* const cosine : {"1.5", "-0.1", "nan"}) {
    EXPECT_THAT(Refusal({"--model=/m", absl::StrCat("--precision_min_cosine=", cosine).c_str()}),
                HasSubstr("0.0 to 1.0"));
  }
}

// The flags' defaults and those of the structs are the same numbers, written twice.
TEST(Config, DefaultsAreThoseOfTheOptions) {
  const auto command = Parse({"--model=/m"});
  ASSERT_TRUE(command.ok());
  const EngineOptions& engine = command->config.engine;
  const EngineOptions engine_default;
  EXPECT_EQ(engine.limits.max_encoded_bytes, engine_default.limits.max_encoded_bytes);
  EXPECT_EQ(engine.limits.max_pixels, engine_default.limits.max_pixels);
  EXPECT_EQ(engine.limits.max_side, engine_default.limits.max_side);
  EXPECT_EQ(engine.cores, engine_default.cores);
  EXPECT_EQ(engine.decode_threads, engine_default.decode_threads);
  EXPECT_EQ(engine.workers_per_device, engine_default.workers_per_device);
  EXPECT_EQ(engine.max_batch_size, engine_default.max_batch_size);
  EXPECT_EQ(engine.max_queue_delay, engine_default.max_queue_delay);
  EXPECT_EQ(engine.max_queued_images, engine_default.max_queued_images);
  EXPECT_EQ(engine.max_queued_bytes, engine_default.max_queued_bytes);
  EXPECT_EQ(engine.max_decoded_bytes, engine_default.max_decoded_bytes);
  const ServerOptions& server = command->config.server;
  const ServerOptions server_default;
  EXPECT_EQ(server.listen, server_default.listen);
  EXPECT_EQ(server.limits.max_message_bytes, server_default.limits.max_message_bytes);
  EXPECT_EQ(server.limits.max_request_images, server_default.limits.max_request_images);
  EXPECT_EQ(server.stream_window, server_default.stream_window);
  EXPECT_EQ(server.threads, server_default.threads);
  EXPECT_EQ(server.max_calls, server_default.max_calls);
  EXPECT_EQ(server.max_receive_bytes, server_default.max_receive_bytes);
  EXPECT_EQ(server.http_listen, server_default.http_listen);
  EXPECT_EQ(server.http_timeout, server_default.http_timeout);
  EXPECT_EQ(server.metrics_listen, server_default.metrics_listen);
}

TEST(Config, TlsNeedsACertificateAndItsKey) {
  EXPECT_EQ(Parse({"--model=/m"})->config.tls.certificate, "");
  EXPECT_THAT(Refusal({"--model=/m", "--tls_certificate_file=/c"}),
              HasSubstr("needs --tls_private_key_file"));
  EXPECT_THAT(Refusal({"--model=/m", "--tls_private_key_file=/k"}),
              HasSubstr("needs --tls_certificate_file"));
  EXPECT_THAT(Refusal({"--model=/m", "--tls_client_ca_file=/a"}),
              HasSubstr("--tls_client_ca_file needs --tls_certificate_file"));
}

TEST(Config, EveryFlagReachesItsOption) {
  const auto command = Parse({"--model=a=/m",
                              "--listen=[::]:1",
                              "--http_listen=[::]:2",
                              "--http_timeout=22s",
                              "--metrics_listen=[::]:3",
                              "--tls_certificate_file=/t/tls.crt",
                              "--tls_private_key_file=/t/tls.key",
                              "--tls_client_ca_file=/t/ca.crt",
                              "--auth_token_file=/t/tokens",
                              "--device=cpu",
                              "--backend=pil",
                              "--cuda_graphs=false",
                              "--fused_kernels=false",
                              "--cores=3",
                              "--decode_threads=4",
                              "--workers_per_device=5",
                              "--max_batch_size=6",
                              "--max_queue_delay=7ms",
                              "--max_queued_images=800",
                              "--max_queued_bytes=1GiB",
                              "--max_decoded_bytes=10MiB",
                              "--max_image_bytes=11KiB",
                              "--max_image_pixels=12",
                              "--max_image_side=13",
                              "--max_request_images=14",
                              "--max_message_bytes=15MiB",
                              "--max_receive_bytes=16MiB",
                              "--stream_window=17",
                              "--max_calls=18",
                              "--grpc_threads=19",
                              "--drain_grace=20s",
                              "--drain_timeout=21m"});
  ASSERT_TRUE(command.ok()) << command.status();
  const ServerConfig& config = command->config;
  EXPECT_EQ(config.models[0].name, "a");
  EXPECT_EQ(config.models[0].directory, "/m");
  EXPECT_THAT(config.server.listen, ElementsAre("[::]:1"));
  EXPECT_EQ(config.server.http_listen, "[::]:2");
  EXPECT_EQ(config.server.http_timeout, std::chrono::seconds(22));
  EXPECT_EQ(config.server.metrics_listen, "[::]:3");
  EXPECT_EQ(config.tls.certificate, "/t/tls.crt");
  EXPECT_EQ(config.tls.private_key, "/t/tls.key");
  EXPECT_EQ(config.tls.client_ca, "/t/ca.crt");
  EXPECT_EQ(config.auth_token_file, "/t/tokens");
  EXPECT_EQ(config.device, "cpu");
  EXPECT_EQ(config.backend, Backend::kPil);
  EXPECT_FALSE(config.cuda_graphs);
  EXPECT_FALSE(config.fused_kernels);
  EXPECT_EQ(config.engine.cores, 3);
  EXPECT_EQ(config.engine.decode_threads, 4);
  EXPECT_EQ(config.engine.workers_per_device, 5);
  EXPECT_EQ(config.engine.max_batch_size, 6);
  EXPECT_EQ(config.engine.max_queue_delay, std::chrono::milliseconds(7));
  EXPECT_EQ(config.engine.max_queued_images, 800U);
  EXPECT_EQ(config.engine.max_queued_bytes, 1U << 30);
  EXPECT_EQ(config.engine.max_decoded_bytes, 10U << 20);
  EXPECT_EQ(config.engine.limits.max_encoded_bytes, 11U << 10);
  EXPECT_EQ(config.engine.limits.max_pixels, 12);
  EXPECT_EQ(config.engine.limits.max_side, 13);
  EXPECT_EQ(config.server.limits.max_request_images, 14U);
  EXPECT_EQ(config.server.limits.max_message_bytes, 15U << 20);
  EXPECT_EQ(config.server.max_receive_bytes, 16U << 20);
  EXPECT_EQ(config.server.stream_window, 17U);
  EXPECT_EQ(config.server.max_calls, 18U);
  EXPECT_EQ(config.server.threads, 19);
  EXPECT_EQ(config.drain_grace, std::chrono::seconds(20));
  EXPECT_EQ(config.drain_timeout, std::chrono::minutes(21));
}

TEST(Config, VerifyHasFourModesAndEnforcesByDefault) {
  EXPECT_EQ(Parse({"--model=/m"})->config.verify, VerifyMode::kEnforce);
  EXPECT_EQ(Parse({"--model=/m", "--verify=warn"})->config.verify, VerifyMode::kWarn);
  EXPECT_EQ(Parse({"--model=/m", "--verify=off"})->config.verify, VerifyMode::kOff);
  EXPECT_EQ(Parse({"--model=/m", "--verify=only"})->config.verify, VerifyMode::kOnly);
  EXPECT_THAT(std::string(Parse({"--model=/m", "--verify=maybe"}).status().message()),
              HasSubstr("possible are enforce, warn, off and only"));
}

TEST(Config, ASwitchNeedsNoValueAndTakesOne) {
  EXPECT_FALSE(Parse({"--model=/m"})->config.deterministic);
  EXPECT_TRUE(Parse({"--deterministic", "--model=/m"})->config.deterministic);
  EXPECT_FALSE(Parse({"--deterministic=false", "--model=/m"})->config.deterministic);
}

TEST(Config, ModelAndListenMayRepeatAndTheFirstModelIsTheDefault) {
  const auto command = Parse({"--model", "b=/one", "--model=/two/c/",
                              "--listen=127.0.0.1:1,unix:/tmp/s", "--listen=[::1]:2"});
  ASSERT_TRUE(command.ok()) << command.status();
  ASSERT_THAT(command->config.models, SizeIs(2));
  EXPECT_EQ(command->config.models[0].name, "b");
  EXPECT_EQ(command->config.models[1].name, "c");
  EXPECT_THAT(command->config.server.listen, ElementsAre("127.0.0.1:1", "unix:/tmp/s", "[::1]:2"));
}

TEST(Config, AnEqualsSignAfterASlashBelongsToTheDirectory) {
  const auto command = Parse({"--model=/models/a=b/c"});
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.models[0].name, "c");
  EXPECT_EQ(command->config.models[0].directory, "/models/a=b/c");
}

TEST(Config, TheEnvironmentFillsInAndTheCommandLineWins) {
  const Variables variables = {{"PIXEMBED_MODEL", "x=/x"},
                               {"PIXEMBED_CORES", "7"},
                               {"PIXEMBED_MAX_MESSAGE_BYTES", "1MiB"},
                               {"PIXEMBED_CACHE", "not a flag"}};
  const auto command = Parse({"--cores=2"}, variables);
  ASSERT_TRUE(command.ok()) << command.status();
  EXPECT_EQ(command->config.models[0].name, "x");
  EXPECT_EQ(command->config.engine.cores, 2);
  EXPECT_EQ(command->config.server.limits.max_message_bytes, 1U << 20);
}

TEST(Config, OneParseLeavesNothingForTheNext) {
  ASSERT_TRUE(Parse({"--model=/m", "--cores=2"}).ok());
  const auto second = Parse({"--model=/m"});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->config.engine.cores, 0);
}

TEST(Config, WrongFlagsAreRefusedWithNameValueAndWhatIsPossible) {
  EXPECT_THAT(Refusal({}), HasSubstr("--model is missing"));
  EXPECT_THAT(Refusal({"--model=/m", "--coers=1"}), HasSubstr("--coers does not exist"));
  EXPECT_THAT(Refusal({"--model=/m", "--flagfile=x"}), HasSubstr("--flagfile does not exist"));
  EXPECT_THAT(Refusal({"--model=/m", "image.jpg"}), HasSubstr("\"image.jpg\" is no flag"));
  EXPECT_THAT(Refusal({"--model=/m", "-cores=1"}), HasSubstr("\"-cores=1\" is no flag"));
  EXPECT_THAT(Refusal({"--model=/m", "--cores"}), HasSubstr("--cores lacks its value"));
  EXPECT_THAT(Refusal({"--model=/m", "--cores=two"}), HasSubstr("--cores is \"two\""));
  EXPECT_THAT(Refusal({"--model=/m", "--cores=-1"}),
              HasSubstr("--cores is -1; possible are 0 to 1024"));
  EXPECT_THAT(Refusal({"--model=/m"}, {{"PIXEMBED_CORES", "two"}}),
              HasSubstr("PIXEMBED_CORES is \"two\""));
  EXPECT_THAT(Refusal({"--model=/m", "--backend=opencv"}),
              HasSubstr("\"opencv\"; possible are torchvision and pil"));
  EXPECT_THAT(Refusal({"--model=/m", "--max_message_bytes=64MB"}), HasSubstr("64MiB"));
  EXPECT_THAT(Refusal({"--model=/m", "--max_message_bytes=2GiB"}),
              HasSubstr("--max_message_bytes is 2GiB; possible are 1 to 2147483647"));
  EXPECT_THAT(Refusal({"--model=/m", "--max_queue_delay=-1us"}),
              HasSubstr("possible are 0ms to 60000ms"));
  EXPECT_THAT(Refusal({"--model=/m", "--drain_timeout=inf"}), HasSubstr("--drain_timeout is inf"));
  EXPECT_THAT(Refusal({"--model=/m", "--listen="}), HasSubstr("--listen is empty"));
  EXPECT_THAT(Refusal({"--model=/m", "--metrics_listen=9090"}),
              HasSubstr("cannot listen on 9090: it is not host:port"));
  EXPECT_THAT(Refusal({"--model=/m", "--metrics_listen=unix:/tmp/metrics"}),
              HasSubstr("--metrics_listen"));
}

TEST(Config, ATimeWithoutItsUnitIsToldWhatATimeLooksLike) {
  constexpr char kWanted[] =
      "\"5\", which is not possible: a time with its unit is wanted, like 500ms or 30s";
  for (const char* name : {"drain_grace", "drain_timeout", "http_timeout", "max_queue_delay"}) {
    const std::string flag = std::string("--") + name;
    EXPECT_THAT(Refusal({"--model=/m", (flag + "=5").c_str()}), HasSubstr(flag + " is " + kWanted));
  }
  EXPECT_THAT(Refusal({"--model=/m"}, {{"PIXEMBED_DRAIN_TIMEOUT", "5"}}),
              HasSubstr(std::string("PIXEMBED_DRAIN_TIMEOUT is ") + kWanted));
}

TEST(Config, ModelsNeedANameThatCanBeWrittenAndIsTheirsAlone) {
  EXPECT_THAT(Refusal({"--model=a=/x", "--model=/y/a"}), HasSubstr("names \"a\" twice"));
  EXPECT_THAT(Refusal({"--model=/models/two words"}), HasSubstr("NAME=DIRECTORY"));
  EXPECT_THAT(Refusal({"--model==/x"}), HasSubstr("NAME=DIRECTORY"));
  EXPECT_THAT(Refusal({"--model=a="}), HasSubstr("NAME=DIRECTORY"));
  EXPECT_THAT(Refusal({"--model=/"}), HasSubstr("NAME=DIRECTORY"));
}

TEST(Config, LimitsThatCouldNeverBeUsedAreRefusedWithBothNumbers) {
  EXPECT_THAT(Refusal({"--model=/m", "--max_request_images=11", "--max_queued_images=10"}),
              HasSubstr("--max_request_images is 11, more than --max_queued_images, 10"));
  EXPECT_THAT(Refusal({"--model=/m", "--max_message_bytes=2MiB", "--max_queued_bytes=1MiB"}),
              HasSubstr("--max_message_bytes is 2MiB, more than --max_queued_bytes, 1MiB"));
  EXPECT_THAT(Refusal({"--model=/m", "--max_receive_bytes=1MiB"}),
              HasSubstr("--max_message_bytes is 64MiB, more than --max_receive_bytes, 1MiB"));
}

TEST(Config, HelpAndVersionNeedNoModel) {
  EXPECT_EQ(Parse({"--help"})->action, Action::kPrintHelp);
  EXPECT_EQ(Parse({"--version"})->action, Action::kPrintVersion);
  EXPECT_EQ(Parse({"--help_markdown"})->action, Action::kPrintMarkdown);
  EXPECT_EQ(Parse({"--coers=1", "--help"})->action, Action::kPrintHelp);
}

TEST(Config, TheConfigurationInForceNamesEveryFlagThatHelpDescribes) {
  const auto command = Parse({"--model=/m", "--cores=2"});
  ASSERT_TRUE(command.ok());
  const std::string help = HelpText();
  const std::string markdown = FlagsMarkdown();
  for (const auto& [flag, value] : command->config.flags) {
    EXPECT_THAT(help, HasSubstr("\n  --" + flag + " (default: "));
    EXPECT_THAT(markdown, HasSubstr("| `--" + flag + "` | `"));
    if (flag == "cores") {
      EXPECT_EQ(value, "2");
    }
  }
  EXPECT_THAT(command->config.flags, SizeIs(41));
}

TEST(Config, TheReasonTableHasEveryReason) {
  for (const ReasonInfo& info : AllReasons()) {
    EXPECT_THAT(ReasonsMarkdown(), HasSubstr("| `" + std::string(info.name) + "` | `"));
  }
}

TEST(ByteSize, IsReadAndWrittenWithItsUnit) {
  const std::map<std::string, std::size_t> sizes = {{"0", 0},
                                                    {"1000", 1000},
                                                    {"1KiB", 1024},
                                                    {"1025KiB", 1025 << 10},
                                                    {"64MiB", 64 << 20},
                                                    {"3GiB", std::size_t{3} << 30}};
  for (const auto& [text, bytes] : sizes) {
    ByteSize size;
    std::string error;
    ASSERT_TRUE(AbslParseFlag(text, &size, &error)) << text;
    EXPECT_EQ(size.bytes, bytes);
    EXPECT_EQ(AbslUnparseFlag(size), text);
  }
  EXPECT_EQ(AbslUnparseFlag({2048 << 10}), "2MiB");
}

TEST(ByteSize, RefusesWhatIsNoSize) {
  for (const char* const text : {"", "MiB", "-1", "1.5GiB", "64MB", "64 M", "99999999999999999999",
                                 "18446744073709551615GiB"}) {
    ByteSize size;
    std::string error;
    EXPECT_FALSE(AbslParseFlag(text, &size, &error)) << text;
    EXPECT_THAT(error, HasSubstr("64MiB"));
  }
}

}  // namespace
}  // namespace pixembed
