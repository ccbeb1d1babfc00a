// What a scrape of a real server tells: what was sent to it, no more and no less, and of every
// metric that is documented.
#include "server/metrics.h"

#include <gmock/gmock.h>
#include <grpcpp/support/status.h>
#include <grpcpp/support/sync_stream.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "inference/grpc_service.grpc.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/certificates.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/authority.h"
#include "tests/server/fake_shelf.h"
#include "tests/server/scrape.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"
#include "tests/server/tls_peer.h"

namespace pixembed {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using ::testing::StartsWith;

std::string Images(const std::string& reason, const std::string& lane = "online",
                   const std::string& model = "fake") {
  return "pixembed_images_total{lane=\"" + lane + "\",model=\"" + model + "\",reason=\"" + reason +
         "\"}";
}

std::string Method(const std::string& metric, const std::string& method, const std::string& type,
                   const std::string& code = "") {
  const std::string own = code.empty() ? "" : "grpc_code=\"" + code + "\",";
  return metric + "{" + own + "grpc_method=\"" + method +
         R"(",grpc_service="pixembed.v1.EmbeddingService",grpc_type=")" + type + "\"}";
}

std::string Handled(const std::string& method, const std::string& code,
                    const std::string& type = "unary") {
  return Method("grpc_server_handled_total", method, type, code);
}

std::shared_ptr<const ServedModels> NoModels() {
  return std::make_shared<ServedModels>(ServedModels::Models(), "",
                                        std::map<std::string, std::string>());
}

class MetricsTest : public ServerTest {
 protected:
  void StartCounted(ServerOptions options = {}, EngineOptions engine_options = {},
                    const std::vector<std::string>& names = {"fake"}) {
    options.metrics_listen = "127.0.0.1:0";
    options.metrics = metrics_;
    engine_options.observer = metrics_;
    Start(std::move(options), engine_options, names);
  }
  // The same on the addresses of `options`, without a client.
  void StartCountedUnconnected(ServerOptions options) {
    options.metrics_listen = "127.0.0.1:0";
    options.metrics = metrics_;
    EngineOptions engine_options;
    engine_options.observer = metrics_;
    StartUnconnected(std::move(options), engine_options);
  }

  Scrape Look() const { return Scrape(server_->metrics_address()); }

  // Every image with its own status.
  grpc::Status EmbedImages(const std::vector<std::string>& images, Lane lane = Lane::kOnline,
                           const std::string& model = "") {
    v1::EmbedRequest request = Request(images);
    request.set_model(model);
    if (lane == Lane::kBulk) request.mutable_options()->set_lane(v1::LANE_BULK);
    v1::EmbedResponse response;
    return Embed(request, &response);
  }

  const std::shared_ptr<Metrics> metrics_ = std::make_shared<Metrics>();
};

TEST_F(MetricsTest, CountsImagesByModelLaneAndReason) {
  StartCounted({}, {}, {"fake", "other"});
  ASSERT_TRUE(EmbedImages({SolidImage(1), "no image", SolidImage(2)}).ok());
  ASSERT_TRUE(EmbedImages({SolidImage(3)}, Lane::kBulk).ok());
  ASSERT_TRUE(EmbedImages({SolidImage(4)}, Lane::kOnline, "other").ok());
  const Scrape scrape = Look();
  EXPECT_EQ(scrape.Of(Images("OK")), 2);
  EXPECT_EQ(scrape.Of(Images("UNSUPPORTED_FORMAT")), 1);
  EXPECT_EQ(scrape.Of(Images("OK", "bulk")), 1);
  EXPECT_EQ(scrape.Of(Images("OK", "online", "other")), 1);
  // A rate over the first one needs a value before it.
  for (const char* const reason :
       {"OVERLOADED", "INTERNAL", "DEVICE_FAILURE", "OUT_OF_MEMORY", "NON_FINITE_VECTOR"}) {
    EXPECT_EQ(scrape.Of(Images(reason)), 0) << reason;
  }
  EXPECT_EQ(scrape.Of(Images("OK", "bulk", "other")), 0);
  const auto size = static_cast<double>(SolidImage(1).size());
  EXPECT_EQ(scrape.Of(R"(pixembed_image_bytes_total{lane="online",model="fake"})"), 2 * size + 8);
  for (const char* const name :
       {R"(pixembed_image_seconds_count{lane="online",model="fake"})",
        R"(pixembed_image_queue_seconds_count{lane="online",model="fake"})"}) {
    EXPECT_EQ(scrape.Of(name), 2) << "a time is that of a vector: " << name;
  }
  EXPECT_EQ(scrape.Of(R"(pixembed_image_decode_seconds_count{model="fake"})"), 3);
  EXPECT_GT(scrape.Of(R"(pixembed_image_seconds_sum{lane="online",model="fake"})"), 0);
}

TEST_F(MetricsTest, CountsBatchesAndHowBusyTheyKeptTheCores) {
  StartCounted();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(EmbedImages({SolidImage(i)}).ok());
  const Scrape scrape = Look();
  EXPECT_EQ(scrape.Of(R"(pixembed_batch_images_count{model="fake"})"), 3);
  EXPECT_EQ(scrape.Of(R"(pixembed_batch_images_sum{model="fake"})"), 3);
  EXPECT_EQ(scrape.Of(R"(pixembed_batch_seconds_count{model="fake"})"), 3);
  const double busy = scrape.Of(R"(pixembed_busy_seconds_total{model="fake"})");
  EXPECT_GT(busy, 0);
  // One core: its time is that of the batches.
  EXPECT_NEAR(busy, scrape.Of(R"(pixembed_batch_seconds_sum{model="fake"})"), 1e-6);
  EXPECT_EQ(scrape.Of("pixembed_capacity"), 1);
}

TEST_F(MetricsTest, CountsCallsByMethodAndCodeAsGoDoes) {
  StartCounted();
  ASSERT_TRUE(EmbedImages({SolidImage(1)}).ok());
  EXPECT_FALSE(EmbedImages({SolidImage(1)}, Lane::kOnline, "none").ok());
  auto context = Context();
  const auto stream = stub_->EmbedStream(context.get());
  ASSERT_TRUE(stream->Write(Request({SolidImage(1)})));
  v1::EmbedResult result;
  ASSERT_TRUE(stream->Read(&result));
  Scrape scrape = Look();
  EXPECT_EQ(scrape.Of(Handled("Embed", "OK")), 1);
  EXPECT_EQ(scrape.Of(Handled("Embed", "NotFound")), 1);
  EXPECT_EQ(scrape.Of(Method("grpc_server_started_total", "Embed", "unary")), 2);
  EXPECT_EQ(scrape.Of(Method("grpc_server_handling_seconds_count", "Embed", "unary")), 2);
  EXPECT_EQ(scrape.Of(Handled("EmbedBatch", "OK", "server_stream")), 0);
  EXPECT_EQ(scrape.Of(Method("grpc_server_started_total", "EmbedStream", "bidi_stream")), 1);
  EXPECT_EQ(scrape.Of(Handled("EmbedStream", "OK", "bidi_stream")), 0) << "it is open";
  EXPECT_EQ(scrape.Of("pixembed_calls"), 1);
  ASSERT_TRUE(stream->WritesDone());
  ASSERT_FALSE(stream->Read(&result));
  ASSERT_TRUE(stream->Finish().ok());
  scrape = Look();
  EXPECT_EQ(scrape.Of(Handled("EmbedStream", "OK", "bidi_stream")), 1);
}

TEST_F(MetricsTest, ACallThatItsCallerLeftWasCanceledWhateverItsAnswer) {
  StartCounted();
  models_.front()->Hold();
  auto context = Context();
  const auto left = stub_->EmbedStream(context.get());
  ASSERT_TRUE(left->Write(Request({SolidImage(1)})));
  models_.front()->AwaitHeld(1);
  const std::stop_token stop = engine_->last().stop;
  context->TryCancel();
  AwaitStop(stop);
  models_.front()->LetGo();
  left->Finish();
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
  const std::string text = metrics_->Exposition({.engine = engine_.get(), .models = NoModels()});
  EXPECT_THAT(text, HasSubstr(Handled("EmbedStream", "Canceled", "bidi_stream") + " 1"));
}

TEST_F(MetricsTest, EveryMethodIsThereFromTheStart) {
  StartCounted();
  const Scrape scrape = Look();
  for (const char* const series :
       {"grpc_server_started_total{grpc_method=\"ModelInfer\",grpc_service=\"inference."
        "GRPCInferenceService\",grpc_type=\"unary\"}",
        "grpc_server_started_total{grpc_method=\"Watch\",grpc_service=\"grpc.health.v1.Health\","
        "grpc_type=\"server_stream\"}",
        "grpc_server_started_total{grpc_method=\"ServerReflectionInfo\",grpc_service=\"grpc."
        "reflection.v1alpha.ServerReflection\",grpc_type=\"bidi_stream\"}"}) {
    EXPECT_EQ(scrape.Of(series), 0) << series;
  }
  // Its times only when it was called: each would have dozens of lines.
  EXPECT_THAT(scrape.types, Not(Contains(Key("grpc_server_handling_seconds"))));
}

TEST_F(MetricsTest, TellsWhatIsInsideAndItsLimits) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 2;
  engine_options.max_queued_bytes = 10'000;
  engine_options.max_decoded_bytes = 20'000;
  ServerOptions options;
  options.max_calls = 7;
  StartCounted(options, engine_options);
  models_.front()->Hold();
  auto held = std::async(std::launch::async, [this] { return EmbedImages({SolidImage(1)}); });
  models_.front()->AwaitHeld(1);
  Scrape scrape = Look();
  EXPECT_EQ(scrape.Of("pixembed_queued_images"), 1);
  EXPECT_EQ(scrape.Of("pixembed_max_queued_images"), 2);
  EXPECT_EQ(scrape.Of("pixembed_queued_bytes"), static_cast<double>(SolidImage(1).size()));
  EXPECT_EQ(scrape.Of("pixembed_max_queued_bytes"), 10'000);
  EXPECT_EQ(scrape.Of("pixembed_decoded_bytes"), 0);
  EXPECT_EQ(scrape.Of("pixembed_max_decoded_bytes"), 20'000);
  EXPECT_EQ(scrape.Of("pixembed_calls"), 1);
  EXPECT_EQ(scrape.Of("pixembed_max_calls"), 7);
  const grpc::Status refused = EmbedImages({SolidImage(1), SolidImage(2)});
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  scrape = Look();
  EXPECT_EQ(scrape.Of(Images("OVERLOADED")), 2);
  EXPECT_EQ(scrape.Of(Handled("Embed", "ResourceExhausted")), 1);
  models_.front()->LetGo();
  EXPECT_TRUE(held.get().ok());
  EXPECT_EQ(Look().Of("pixembed_queued_images"), 0);
}

TEST_F(MetricsTest, ADrainIsNotReadyAndIsStillScraped) {
  StartCounted();
  EXPECT_EQ(Look().Of("pixembed_ready"), 1);
  server_->AnnounceDrain();
  EXPECT_EQ(Look().Of("pixembed_ready"), 0);
  models_.front()->Hold();
  auto held = std::async(std::launch::async, [this] { return EmbedImages({SolidImage(1)}); });
  models_.front()->AwaitHeld(1);
  auto stopped = std::async(std::launch::async, [this] {
    return server_->Stop(std::chrono::steady_clock::now() + kPatience);
  });
  engine_->AwaitDrainBegun();
  EXPECT_EQ(Look().Of("pixembed_queued_images"), 1);
  models_.front()->LetGo();
  EXPECT_TRUE(held.get().ok());
  EXPECT_TRUE(stopped.get().ok());
}

TEST_F(MetricsTest, NamesTheModelsThatAreServed) {
  FakeShelf shelf({"fake", "late"});
  ServerOptions options;
  options.model_control = shelf.control();
  StartCounted(std::move(options));
  const std::string head = R"(pixembed_model_info{devices="cpu",dimension="3",fingerprint=")";
  const auto info = [&head](const std::string& model) {
    return [=](const std::pair<const std::string, double>& value) {
      return value.first.starts_with(head) && value.second == 1 &&
             value.first.ends_with("\",model=\"" + model +
                                   R"(",model_type="fake",precision="float32"})");
    };
  };
  const auto serves = [&](const Scrape& scrape, const std::string& model) {
    return std::ranges::any_of(scrape.values, info(model));
  };
  EXPECT_TRUE(serves(Look(), "fake"));
  EXPECT_FALSE(serves(Look(), "late"));
  const auto control = inference::GRPCInferenceService::NewStub(channel_);
  const auto load = [&] {
    inference::RepositoryModelLoadRequest request;
    request.set_model_name("late");
    inference::RepositoryModelLoadResponse response;
    return control->RepositoryModelLoad(Context().get(), request, &response);
  };
  // Of a model that is reloaded the counts go on.
  for (int round = 1; round <= 2; ++round) {
    ASSERT_TRUE(load().ok());
    ASSERT_TRUE(EmbedImages({SolidImage(1)}, Lane::kOnline, "late").ok());
    const Scrape scrape = Look();
    EXPECT_TRUE(serves(scrape, "late"));
    EXPECT_EQ(scrape.Of(Images("OK", "online", "late")), round);
  }
  inference::RepositoryModelUnloadRequest unload;
  unload.set_model_name("late");
  inference::RepositoryModelUnloadResponse unloaded;
  ASSERT_TRUE(control->RepositoryModelUnload(Context().get(), unload, &unloaded).ok());
  EXPECT_FALSE(serves(Look(), "late"));
  EXPECT_EQ(Look().Of(Images("OK", "online", "late")), 2);
}

TEST_F(MetricsTest, CountsHttpByRouteAndCode) {
  ServerOptions options;
  options.http_listen = "127.0.0.1:0";
  StartCounted(options);
  const std::string http = server_->http_address();
  EXPECT_THAT(AskHttp(http, "GET /.well-known/ready"), StartsWith("HTTP/1.1 204"));
  EXPECT_THAT(AskHttp(http, "GET /v1/models/none"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(AskHttp(http, "GET /a/path/of/a/stranger"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(AskHttp(http, "POST /v1/embed", "Content-Length: 99999999999\r\n\r\n"),
              StartsWith("HTTP/1.1 413"));
  const std::string image = SolidImage(1);
  EXPECT_THAT(AskHttp(http, "POST /v1/embed",
                      "Content-Type: image/bmp\r\nContent-Length: " + std::to_string(image.size()) +
                          "\r\n\r\n" + image),
              StartsWith("HTTP/1.1 200"));
  const Scrape scrape = Look();
  for (const char* const series :
       {R"({code="204",route="/.well-known/ready"})", R"({code="404",route="/v1/models/{id}"})",
        R"({code="404",route="other"})", R"({code="413",route="other"})",
        R"({code="200",route="/v1/embed"})"}) {
    EXPECT_EQ(scrape.Of(std::string("pixembed_http_requests_total") + series), 1) << series;
  }
  EXPECT_EQ(scrape.Of(R"(pixembed_http_request_seconds_count{route="/v1/embed"})"), 1);
  EXPECT_EQ(scrape.Of(Images("OK")), 1);
  // A request that the server refused before it was received whole has no time.
  EXPECT_EQ(scrape.Of(R"(pixembed_http_request_seconds_count{route="other"})"), 1);
}

TEST_F(MetricsTest, AScrapeHasEveryMetricThatIsDocumentedAndNoOther) {
  const TemporaryDirectory folder;
  const KeyPair pair = Authority().Issue("server", 1);
  const TlsFiles files{.certificate = (folder.path() / "tls.crt").string(),
                       .private_key = (folder.path() / "tls.key").string()};
  std::ofstream(files.certificate) << pair.certificate;
  std::ofstream(files.private_key) << pair.private_key;
  ServerOptions options;
  options.certificates = *OpenCertificates(files, nullptr);
  options.http_listen = "127.0.0.1:0";
  // Without TLS, as the port of the metrics is.
  options.listen = {"unix:" + (folder.path() / "socket").string()};
  StartCountedUnconnected(options);
  stub_ = v1::EmbeddingService::NewStub(Connect(address_));
  const TlsConnection http(server_->http_address());
  ASSERT_TRUE(http.Send("GET /.well-known/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  EXPECT_THAT(http.ReceiveAll(), StartsWith("HTTP/1.1 204"));
  RoundTrip();
  const Scrape scrape = Look();
  std::set<std::string> names;
  for (const MetricInfo& info : AllMetrics()) {
    names.insert(info.name);
    const auto type = scrape.types.find(info.name);
    ASSERT_NE(type, scrape.types.end()) << info.name;
    EXPECT_THAT(MetricsMarkdown(), HasSubstr(std::string("| `") + info.name + "` | " +
                                             type->second + " | " + info.labels));
    for (const auto& [series, value] : scrape.values) {
      if (!series.starts_with(std::string(info.name) + "{")) continue;
      for (std::size_t at = series.find_first_of("{,"); at != std::string::npos;
           at = series.find(',', at + 1)) {
        const std::string label = series.substr(at + 1, series.find('=', at) - at - 1);
        EXPECT_THAT(std::string(info.labels), HasSubstr(label)) << series;
      }
    }
  }
  for (const auto& [name, type] : scrape.types) EXPECT_THAT(names, Contains(name));
}

TEST_F(MetricsTest, TellsOfTheProcess) {
  StartCounted();
  const Scrape scrape = Look();
  EXPECT_GT(scrape.Of("process_resident_memory_bytes"), 1e6);
  EXPECT_GT(scrape.Of("process_open_fds"), 3);
  EXPECT_GE(scrape.Of("process_max_fds"), scrape.Of("process_open_fds"));
}

TEST_F(MetricsTest, WithoutAnAddressThereAreNone) {
  Start();
  EXPECT_EQ(server_->metrics_address(), "");
  EXPECT_TRUE(EmbedImages({SolidImage(1)}).ok());
}

// Without a server, which would say more.
class MetricsAloneTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.cores = 1;
    auto engine = Engine::Start({std::make_shared<FakeModel>()}, options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  std::string Exposition() const {
    return metrics_.Exposition({.engine = engine_.get(), .models = NoModels()});
  }

  std::unique_ptr<Engine> engine_;
  Metrics metrics_;
};

TEST_F(MetricsAloneTest, WhatIsSaidOfANumberWithoutANameIsNotCounted) {
  metrics_.Name(3, "three");
  metrics_.OnRefused(4, Lane::kOnline, MakeError(Reason::kOverloaded, "full"));
  metrics_.OnBatch(4, 1, std::chrono::seconds(1), 1);
  metrics_.OnEnd("/no.Service/Method", grpc::StatusCode::OK, {});
  metrics_.Forget(3);
  metrics_.OnRefused(3, Lane::kOnline, MakeError(Reason::kOverloaded, "full"));
  const std::string text = Exposition();
  EXPECT_THAT(text, HasSubstr(Images("OVERLOADED", "online", "three") + " 0"));
  EXPECT_THAT(text, Not(HasSubstr("no.Service")));
}

TEST_F(MetricsAloneTest, AnErrorWithoutAReasonIsCountedByItsCode) {
  metrics_.Name(0, "fake");
  metrics_.OnRefused(0, Lane::kBulk, absl::InternalError("broken"));
  EXPECT_THAT(Exposition(), HasSubstr(Images("INTERNAL", "bulk") + " 1"));
}

// What was counted while others looked is all there in the end.
TEST_F(MetricsAloneTest, CountsOnManyThreadsWhileOthersLook) {
  constexpr int kThreads = 4;
  constexpr int kImages = 2000;
  metrics_.Name(0, "fake");
  metrics_.OnMethod("/a.B/C");
  std::vector<std::jthread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    const std::size_t number = static_cast<std::size_t>(i) + 1;
    threads.emplace_back([this, i, number] {
      for (int image = 0; image < kImages; ++image) {
        metrics_.OnBegin("/a.B/C");
        metrics_.OnBatch(0, 1, std::chrono::microseconds(1), 1);
        metrics_.OnDone(0, i % 2 == 0 ? Lane::kOnline : Lane::kBulk, 10, std::chrono::seconds(1),
                        Outcome());
        metrics_.OnRefused(0, Lane::kOnline, MakeError(Reason::kOverloaded, "full"));
        metrics_.OnEnd("/a.B/C", grpc::StatusCode::INTERNAL, std::chrono::seconds(1));
        metrics_.OnHttp("/", 200, std::chrono::seconds(1));
        if (image % 100 == 0) metrics_.Name(number, "fake");
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(Exposition().empty());
  threads.clear();
  const std::string text = Exposition();
  EXPECT_THAT(text, HasSubstr(Images("OK") + " 4000"));
  EXPECT_THAT(text, HasSubstr(Images("OVERLOADED") + " 8000"));
  EXPECT_THAT(text, HasSubstr("pixembed_batch_images_count{model=\"fake\"} 8000"));
  EXPECT_THAT(text, HasSubstr("grpc_code=\"Internal\",grpc_method=\"C\",grpc_service=\"a.B\",grpc_"
                              "type=\"unary\"} 8000"));
  EXPECT_THAT(text, HasSubstr("pixembed_http_request_seconds_count{route=\"/\"} 8000"));
}

}  // namespace
}  // namespace pixembed
