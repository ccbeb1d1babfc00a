// The bridge over real HTTP on loopback: every format, every refusal, drain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/bearer_tokens.h"
#include "server/certificates.h"
#include "src/error/error.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/authority.h"
#include "tests/server/raw_connection.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"
#include "tests/server/tls_peer.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Json = nlohmann::json;

struct Answer {
  int status = 0;
  std::string head;
  std::string body;
  Json json() const { return Json::parse(body, nullptr, /*allow_exceptions=*/false); }
};

Answer ToAnswer(const std::string& received) {
  Answer answer;
  const std::size_t end = received.find("\r\n\r\n");
  if (!received.starts_with("HTTP/1.1 ") || end == std::string::npos) return answer;
  answer.status = std::stoi(received.substr(9, 3));
  answer.head = received.substr(0, end);
  answer.body = received.substr(end + 4);
  return answer;
}

std::string RequestText(const std::string& line, const std::string& body,
                        const std::string& media_type) {
  return absl::StrCat(line, " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n",
                      media_type.empty() ? "" : "Content-Type: ", media_type,
                      media_type.empty() ? "" : "\r\n", "Content-Length: ", body.size(), "\r\n\r\n",
                      body);
}

std::string DataUri(const std::string& image) {
  return "data:image/bmp;base64," + absl::Base64Escape(image);
}

class HttpBridgeTest : public ServerTest {
 protected:
  void StartBridge(ServerOptions options = {}, const EngineOptions& engine_options = {},
                   const std::vector<std::string>& names = {"fake"}) {
    options.http_listen = "127.0.0.1:0";
    Start(std::move(options), engine_options, names);
    http_ = server_->http_address();
  }

  // Connects once; the answer is all that comes until the server closes.
  Answer Send(const std::string& text) const {
    const RawConnection connection(http_);
    EXPECT_TRUE(connection.connected());
    (void)connection.Send(text);
    return ToAnswer(connection.ReceiveAll());
  }
  Answer Get(const std::string& path) const { return Send(RequestText("GET " + path, "", "")); }
  Answer Post(const std::string& path, const std::string& body,
              const std::string& media_type) const {
    return Send(RequestText("POST " + path, body, media_type));
  }
  Answer PostJson(const std::string& path, const Json& json) const {
    return Post(path, json.dump(), "application/json; charset=utf-8");
  }

  std::string http_;
};

// ---- Who may call ----------------------------------------------------------------------------

class GuardedBridgeTest : public HttpBridgeTest {
 protected:
  ServerOptions Guarded() {
    std::ofstream(folder_.path() / "tokens") << "secret\n";
    ServerOptions options;
    options.tokens = *BearerTokens::Open((folder_.path() / "tokens").string(), nullptr);
    return options;
  }

  void Install(const KeyPair& pair) const {
    std::ofstream(files_.certificate) << pair.certificate;
    std::ofstream(files_.private_key) << pair.private_key;
  }
  ServerOptions WithTls(bool mutual) {
    Install(authority_.Issue("server", 1));
    if (mutual) {
      files_.client_ca = (folder_.path() / "ca.crt").string();
      std::ofstream(files_.client_ca) << authority_.certificate();
    }
    ServerOptions options;
    const auto certificates = OpenCertificates(files_, nullptr);
    EXPECT_TRUE(certificates.ok()) << certificates.status();
    options.certificates = *certificates;
    return options;
  }
  // The server's gRPC is not spoken to here.
  void StartTls(ServerOptions options) {
    options.listen = {"127.0.0.1:0"};
    options.http_listen = "127.0.0.1:0";
    StartUnconnected(std::move(options));
    http_ = server_->http_address();
  }
  Answer SendOverTls(const std::string& text, const KeyPair& own = {}) const {
    const TlsConnection connection(http_, own);
    if (!connection.connected() || !connection.Send(text)) return {};
    return ToAnswer(connection.ReceiveAll());
  }

  static std::string WithHeader(const std::string& line, const std::string& header,
                                const std::string& body = "") {
    return absl::StrCat(line, " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n", header,
                        "\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
  }

  const TemporaryDirectory folder_;
  const Authority authority_;
  TlsFiles files_{.certificate = (folder_.path() / "tls.crt").string(),
                  .private_key = (folder_.path() / "tls.key").string()};
};

TEST_F(GuardedBridgeTest, EveryPathWantsATokenButProbes) {
  StartBridge(Guarded());
  for (const char* const line :
       {"POST /v1/embeddings", "POST /v1/embed", "POST /vectorize", "POST /vectors",
        "GET /v1/models", "GET /v1/models/fake", "GET /meta", "GET /none"}) {
    for (const char* const header :
         {"X-None: 1", "Authorization: Bearer other", "Authorization: Basic secret",
          "Authorization: Bearer secret\r\nAuthorization: Bearer secret"}) {
      const Answer answer = Send(WithHeader(line, header, std::string(100'000, 'x')));
      EXPECT_EQ(answer.status, 401) << line << header;
      EXPECT_THAT(answer.head, HasSubstr("WWW-Authenticate: Bearer"));
      EXPECT_EQ(answer.json()["error"]["code"], "INVALID_TOKEN");
    }
  }
  EXPECT_EQ(Get("/.well-known/live").status, 204);
  EXPECT_EQ(Get("/.well-known/ready").status, 204);
  EXPECT_EQ(Send(WithHeader("GET /v1/models", "authorization: bearer secret")).status, 200);
  EXPECT_EQ(
      Send(WithHeader("POST /v1/embed", "Authorization: Bearer secret", SolidImage(1))).status,
      200);
}

TEST_F(GuardedBridgeTest, AStrangerThatWaitsForContinueSendsNoBody) {
  StartBridge(Guarded());
  const RawConnection connection(http_);
  ASSERT_TRUE(connection.Send(
      "POST /v1/embed HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n"
      "\r\n"));
  EXPECT_THAT(connection.ReceiveAll(), StartsWith("HTTP/1.1 401"));
}

TEST_F(GuardedBridgeTest, SpeaksTlsAndTakesRenewedCertificates) {
  StartTls(WithTls(/*mutual=*/false));
  EXPECT_EQ(SendOverTls(RequestText("GET /v1/models", "", "")).status, 200);
  EXPECT_EQ(SendOverTls(RequestText("POST /v1/embed", SolidImage(1), "image/bmp")).status, 200);
  EXPECT_EQ(Get("/v1/models").status, 0);  // without TLS
  EXPECT_EQ(TlsConnection(http_).PeerSerial(), 1);
  Install(authority_.Issue("server", 2));
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (TlsConnection(http_).PeerSerial() != 2) ASSERT_LT(std::chrono::steady_clock::now(), end);
}

TEST_F(GuardedBridgeTest, MutualMeansThatEveryPathButProbesWantsACertificateOfTheAuthorities) {
  StartTls(WithTls(/*mutual=*/true));
  const std::string models = RequestText("GET /v1/models", "", "");
  EXPECT_EQ(SendOverTls(models, authority_.Issue("client", 2)).status, 200);
  const Answer none = SendOverTls(models);
  EXPECT_EQ(none.status, 401);
  EXPECT_THAT(none.body, HasSubstr("--tls_client_ca_file"));
  EXPECT_EQ(SendOverTls(models, Authority("another").Issue("client", 2)).status, 401);
  EXPECT_EQ(SendOverTls(RequestText("GET /.well-known/ready", "", "")).status, 204);
}

// ---- OpenAI ---------------------------------------------------------------------------------

TEST_F(HttpBridgeTest, OpenAiInputGivesAVectorPerImageInOrder) {
  StartBridge();
  const Answer answer =
      PostJson("/v1/embeddings", {{"model", "fake"},
                                  {"modality", "image"},
                                  {"input", {DataUri(SolidImage(1)), DataUri(SolidImage(2, 3))}},
                                  {"user", "me"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_THAT(answer.head, HasSubstr("Content-Type: application/json"));
  const Json json = answer.json();
  EXPECT_EQ(json["object"], "list");
  EXPECT_EQ(json["model"], "fake");
  EXPECT_EQ(json["data"][0]["object"], "embedding");
  EXPECT_EQ(json["data"][1]["index"], 1);
  EXPECT_EQ(json["data"][0]["embedding"], Json({1, 0, 0}));
  EXPECT_EQ(json["data"][1]["embedding"], Json({2, 3, 0}));
  EXPECT_EQ(json["fingerprint"], models_[0]->Fingerprint({}));
  EXPECT_EQ(json["usage"]["total_tokens"], 0);
}

TEST_F(HttpBridgeTest, OpenAiInputMayBeOneImageAndBase64Float32) {
  StartBridge();
  const Answer answer = PostJson("/v1/embeddings", {{"model", "fake"},
                                                    {"input", DataUri(SolidImage(1, 2, 4))},
                                                    {"encoding_format", "base64"},
                                                    {"dimensions", 2}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  std::string bytes;
  ASSERT_TRUE(
      absl::Base64Unescape(answer.json()["data"][0]["embedding"].get<std::string>(), &bytes));
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  EXPECT_THAT(values, ElementsAre(1.0F, 2.0F));
}

TEST_F(HttpBridgeTest, OpenAiMessagesAreReadAsVllmReadsThem) {
  StartBridge();
  const Json part = {{"type", "image_url"}, {"image_url", {{"url", DataUri(SolidImage(9))}}}};
  const Json text = {{"type", "text"}, {"text", ""}};
  const Answer answer = PostJson(
      "/v1/embeddings", {{"model", "fake"},
                         {"messages", Json::array({{{"role", "user"}, {"content", {part, text}}}})},
                         {"encoding_format", "float"}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json()["data"][0]["embedding"], Json({9, 0, 0}));
}

TEST_F(HttpBridgeTest, OpenAiTakesEveryOptionOfTheService) {
  StartBridge();
  const Answer answer = PostJson("/v1/embeddings", {{"input", DataUri(SolidImage(3))},
                                                    {"pooling", "max"},
                                                    {"layers", {-1, 0}},
                                                    {"normalize", false},
                                                    {"background", {1, 2, 3}},
                                                    {"exif_orientation", "apply"},
                                                    {"lane", "bulk"},
                                                    {"expected_fingerprint", nullptr}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const ObservedEngine::Seen seen = engine_->last();
  EXPECT_EQ(seen.output.pooling, Pooling::kMax);
  EXPECT_THAT(seen.output.layers, ElementsAre(0, 2));
  EXPECT_EQ(seen.lane, Lane::kBulk);
  EXPECT_TRUE(seen.policy.apply_exif_orientation);
  EXPECT_EQ(seen.policy.background, (Color{1, 2, 3}));
  EXPECT_EQ(answer.json()["fingerprint"],
            models_[0]->Fingerprint({seen.output.pooling, seen.output.layers, seen.policy}));
}

TEST_F(HttpBridgeTest, OpenAiFailsAsAWholeWithTheFirstBadImage) {
  StartBridge();
  const Answer answer = PostJson(
      "/v1/embeddings", {{"input", {DataUri(SolidImage(1)), DataUri("no image"), DataUri("")}}});
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.json()["error"]["code"], "UNSUPPORTED_FORMAT");
  EXPECT_EQ(answer.json()["error"]["type"], "invalid_request_error");
  EXPECT_THAT(answer.json()["error"]["message"].get<std::string>(), StartsWith("image 1: "));
}

struct BadJson {
  const char* path;
  std::string body;
  const char* reason;
  const char* said;
};

class HttpBridgeRefuses : public HttpBridgeTest, public ::testing::WithParamInterface<BadJson> {};

TEST_P(HttpBridgeRefuses, BadJsonWithAWordOnWhatIsWrong) {
  StartBridge();
  const BadJson& bad = GetParam();
  const Answer answer = Post(bad.path, bad.body, "application/json");
  EXPECT_EQ(answer.status, bad.reason == std::string("UNKNOWN_MODEL") ? 404 : 400) << answer.body;
  const Json error = answer.json()["error"];
  if (error.is_object()) {
    EXPECT_EQ(error["code"], bad.reason);
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(bad.said));
  } else {
    EXPECT_THAT(error.get<std::string>(), HasSubstr(bad.said));
  }
}

std::vector<BadJson> BadJsons() {
  const char* const openai = "/v1/embeddings";
  const char* const malformed = "MALFORMED_REQUEST";
  const char* const option = "INVALID_OPTION";
  return {
      {openai, "", malformed, "not a JSON object"},
      {openai, "{\"input\": ", malformed, "not a JSON object"},
      {openai, "[]", malformed, "not a JSON object"},
      {openai, "{\"input\": \"\xFF\"}", malformed, "not a JSON object"},
      {openai, "{\"input\": " + std::string(100, '[') + std::string(100, ']') + "}", malformed,
       "nested deeper than 32"},
      {openai, "{}", "EMPTY_REQUEST", "no images"},
      {openai, R"({"input": []})", "EMPTY_REQUEST", "no images"},
      {openai, R"({"input": "a cat"})", malformed, "input 0 is not an image: send a data URI"},
      {openai, R"({"input": 7})", malformed, "input 0 is not a string"},
      {openai, R"({"input": ["https://example.com/a.jpg"]})", malformed, "none is ever fetched"},
      {openai, R"({"input": "data:image/png,abc"})", malformed, "without ;base64"},
      {openai, R"({"input": "data:image/png;base64,!"})", malformed, "not base64"},
      {openai, R"({"messages": "x"})", malformed, "list of messages"},
      {openai, R"({"messages": [{"content": "x"}]})", malformed, "list of messages"},
      {openai, R"({"messages": [{"content": [{"type": "text", "text": "a cat"}]}]})", malformed,
       "images only"},
      {openai, R"({"messages": [{"content": [{"type": "image_url"}]}]})", malformed,
       "image_url 0 is not a string"},
      {openai, R"({"messages": [{"content": [{"type": 3}]}]})", malformed, "images only"},
      {openai, R"({"messages": [{"content": [{"type": "image_url", "image_url": {"url": 3}}]}]})",
       malformed, "image_url 0 is not a string"},
      {openai, R"({"modality": "text"})", option, R"(possible: "image")"},
      {openai, R"({"encoding_format": "int8"})", option, R"("float", "base64")"},
      {openai, R"({"poolng": "cls"})", option, R"(there is no option "poolng")"},
      {openai, R"({"dimensions": {}})", option, "dimensions is neither"},
      {openai, R"({"dimensions": 2.5})", option, R"(dimensions is "2.5")"},
      {openai, R"({"layers": [1.5]})", option, "layers is neither"},
      {openai, R"({"model": "other", "input": []})", "UNKNOWN_MODEL", "other"},
      {"/v1/embed", "{\"imges\": []}", malformed, "EmbedRequest in JSON"},
      {"/v1/embed", R"({"options": {"dataType": "DATA_TYPE_INT8"}})", option, "dataType"},
      {"/v1/embed?pooling=max", "{}", malformed, "the query must be empty"},
      {"/vectorize", R"({"texts": ["a cat"], "images": []})", malformed, "images only"},
      {"/vectorize", R"({"images": "x"})", malformed, "not a list"},
      {"/vectorize", R"({"images": [null]})", malformed, "image 0 is not a string"},
      {"/vectorize", R"({})", "EMPTY_REQUEST", "no images"},
      {"/vectors", R"({"id": "7"})", malformed, "image is not a string"},
      {"/vectors", R"({"image": "!"})", malformed, "not base64"},
  };
}

INSTANTIATE_TEST_SUITE_P(All, HttpBridgeRefuses, ::testing::ValuesIn(BadJsons()));

TEST_F(HttpBridgeTest, JsonOfMoreValuesThanItMayHoldIsRefused) {
  StartBridge();
  std::string body = "{\"input\": [0";
  for (int i = 0; i < (1 << 18); ++i) body += ",0";
  const Answer answer = Post("/v1/embeddings", body + "]}", "application/json");
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.json()["error"]["message"].get<std::string>(), HasSubstr("262144 values"));
}

// ---- pixembed's own -------------------------------------------------------------------------

std::string Form(const std::vector<std::pair<std::string, std::string>>& fields) {
  std::string body;
  for (const auto& [head, data] : fields) {
    absl::StrAppend(&body, "--boundary\r\nContent-Disposition: form-data; ", head, "\r\n\r\n", data,
                    "\r\n");
  }
  return body + "--boundary--\r\n";
}
constexpr char kFormType[] = "multipart/form-data; boundary=boundary";

TEST_F(HttpBridgeTest, AFormGivesAResultPerImageUnderItsFileName) {
  StartBridge();
  const std::string body = Form({{R"(name="image"; filename="a.bmp")", SolidImage(5)},
                                 {R"(name="normalize")", "true"},
                                 {R"(name="image"; filename="b.bmp")", "broken"},
                                 {"name=\"image\"; filename=\"\xFF.bmp\"", SolidImage(0, 7)},
                                 {R"(name="image")", ""}});
  const Answer answer = Post("/v1/embed?model=fake", body, kFormType);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  ASSERT_EQ(json["results"].size(), 4U);
  EXPECT_EQ(json["results"][0]["id"], "a.bmp");
  EXPECT_EQ(json["results"][0]["embedding"], Json({1, 0, 0}));
  EXPECT_EQ(json["results"][1]["id"], "b.bmp");
  EXPECT_EQ(json["results"][1]["error"]["code"], "UNSUPPORTED_FORMAT");
  EXPECT_EQ(json["results"][2]["embedding"], Json({0, 1, 0}));
  EXPECT_EQ(json["results"][3]["error"]["code"], "EMPTY_IMAGE");
  EXPECT_EQ(json["fingerprint"], models_[0]->Fingerprint({}));
  EXPECT_EQ(json["model"], "fake");
}

TEST_F(HttpBridgeTest, EveryKindOfBrokenImageHasItsReason) {
  StartBridge();
  const std::size_t most = engine_->options().limits.max_encoded_bytes;
  for (const BrokenImage& broken : BrokenImages(most)) {
    const Answer answer = Post("/v1/embed", broken.data, "image/bmp");
    ASSERT_EQ(answer.status, 200) << answer.body;
    const Json error = answer.json()["results"][0]["error"];
    EXPECT_EQ(error["code"], broken.reason);
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr(broken.text));
  }
}

TEST_F(HttpBridgeTest, ABodyOfAnyOtherTypeIsOneImage) {
  StartBridge();
  for (const char* const type : {"image/bmp", "application/x-www-form-urlencoded", ""}) {
    const Answer answer = Post("/v1/embed?normalize=true", SolidImage(0, 0, 8), type);
    ASSERT_EQ(answer.status, 200) << answer.body;
    EXPECT_EQ(answer.json()["results"][0]["embedding"], Json({0, 0, 1}));
  }
}

TEST_F(HttpBridgeTest, AnEmbedRequestInJsonIsTheServicesOwn) {
  StartBridge({}, {}, {"first", "second"});
  const Answer answer = PostJson(
      "/v1/embed", {{"model", "second"},
                    {"images", {{{"id", "x"}, {"data", absl::Base64Escape(SolidImage(4))}}}},
                    {"options", {{"dimensions", 1}, {"pooling", "POOLING_MAX"}}}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json()["model"], "second");
  EXPECT_EQ(answer.json()["results"][0]["id"], "x");
  EXPECT_EQ(answer.json()["results"][0]["embedding"], Json::array({4}));
  EXPECT_EQ(engine_->last().output.pooling, Pooling::kMax);
}

TEST_F(HttpBridgeTest, AFormThatEndsAnywhereBeforeItsEndIsRefused) {
  StartBridge();
  const std::string whole =
      Form({{R"(name="image")", SolidImage(5).substr(0, 60)}, {R"(name="normalize")", "true"}});
  const std::string end = "\r\n";  // behind the last delimiter; it may be missing
  for (std::size_t size = 0; size < whole.size() - end.size(); ++size) {
    const Answer answer = Post("/v1/embed", whole.substr(0, size), kFormType);
    EXPECT_EQ(answer.status, 400) << size << ": " << answer.body;
  }
  EXPECT_EQ(Post("/v1/embed", whole, kFormType).status, 200);
}

TEST_F(HttpBridgeTest, AnImageInAFieldOfAnotherNameIsToldWhereItBelongs) {
  StartBridge();
  const std::string image = SolidImage(5);
  const Answer file =
      Post("/v1/embed", Form({{R"(name="file"; filename="photo.jpg")", image}}), kFormType);
  EXPECT_EQ(file.status, 400);
  EXPECT_EQ(file.json()["error"]["code"], "INVALID_OPTION");
  EXPECT_EQ(file.json()["error"]["message"],
            "the form has a field \"file\", which does not exist: each image goes in a field "
            "\"image\" (curl -F image=@FILE), an option in the field of its name: model, pooling, "
            "layers, exif_orientation, background, normalize, dimensions, lane, "
            "expected_fingerprint");
  const Answer hostile =
      Post("/v1/embed", Form({{"name=\"a\x1b[2J\xff" + std::string(5000, 'x') + "\"", image}}),
           kFormType);
  EXPECT_EQ(hostile.status, 400);
  EXPECT_THAT(hostile.json()["error"]["message"].get<std::string>(),
              AllOf(StartsWith(R"(the form has a field "a\x1b[2J\xffxxx)"), HasSubstr("xxx...\","),
                    HasSubstr("a field \"image\""), EndsWith("expected_fingerprint")));
}

TEST_F(HttpBridgeTest, AnImageInTheFieldOfAnOptionIsNotRepeated) {
  StartBridge();
  const Answer answer = Post(
      "/v1/embed", Form({{R"(name="pooling"; filename="photo.jpg")", SolidImage(5)}}), kFormType);
  EXPECT_EQ(answer.json()["error"]["code"], "INVALID_OPTION");
  EXPECT_THAT(
      answer.json()["error"]["message"].get<std::string>(),
      AllOf(StartsWith(R"(form: pooling is "BM)"), HasSubstr("...\"; possible: mean, cls")));
}

TEST_F(HttpBridgeTest, ARequestWithoutABodyHoldsNoImages) {
  StartBridge();
  const Answer answer =
      Send("POST /v1/embed?normalize=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(answer.status, 400) << answer.body;
  EXPECT_EQ(answer.json()["error"]["code"], "EMPTY_REQUEST");
  EXPECT_EQ(Post("/v1/embed", "", "").json()["error"]["code"], "EMPTY_REQUEST");
  const Answer empty_file = Post("/v1/embed", "", "image/jpeg");
  EXPECT_EQ(empty_file.status, 200);
  EXPECT_EQ(empty_file.json()["results"][0]["error"]["code"], "EMPTY_IMAGE");
}

TEST_F(HttpBridgeTest, AnUnknownOptionOfAQueryIsToldAllThatThereAre) {
  StartBridge();
  const Answer answer = Post("/v1/embed?modle=fake", SolidImage(5), "image/bmp");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.json()["error"]["code"], "INVALID_OPTION");
  EXPECT_EQ(answer.json()["error"]["message"],
            "there is no option \"modle\"; there are model, pooling, layers, exif_orientation, "
            "background, normalize, dimensions, lane, expected_fingerprint");
}

TEST_F(HttpBridgeTest, AnOptionGivenTwiceIsRefusedWhereverItStands) {
  StartBridge();
  const std::string one = Form({{R"(name="image")", SolidImage(5)}, {R"(name="lane")", "bulk"}});
  const std::string two = Form({{R"(name="image")", SolidImage(5)},
                                {R"(name="lane")", "bulk"},
                                {R"(name="lane")", "online"}});
  const std::string image = DataUri(SolidImage(5));
  for (const Answer& answer :
       {Post("/v1/embed?lane=bulk&lane=online", SolidImage(5), "image/bmp"),
        Post("/v1/embed", two, kFormType), Post("/v1/embed?lane=bulk", one, kFormType),
        PostJson("/v1/embeddings?lane=bulk", {{"input", image}, {"lane", "online"}})}) {
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.json()["error"]["code"], "INVALID_OPTION");
    EXPECT_THAT(answer.json()["error"]["message"].get<std::string>(),
                HasSubstr("the request gives lane twice"));
  }
  EXPECT_EQ(Post("/v1/embed?normalize=true", one, kFormType).status, 200);
}

TEST_F(HttpBridgeTest, AFormWithoutABoundaryIsRefused) {
  StartBridge();
  const std::string form = Form({{R"(name="image")", SolidImage(5)}});
  const Answer bare = Post("/v1/embed", form, "multipart/form-data");
  EXPECT_EQ(bare.json()["error"]["code"], "MALFORMED_REQUEST");
  EXPECT_EQ(Post("/v1/embed", "no form", kFormType).status, 400);
}

// ---- Weaviate -------------------------------------------------------------------------------

TEST_F(HttpBridgeTest, VectorizeAnswersAsMulti2vecClip) {
  StartBridge();
  const Answer answer = PostJson(
      "/vectorize", {{"texts", Json::array()},
                     {"images", {absl::Base64Escape(SolidImage(1)), DataUri(SolidImage(2))}}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json(),
            Json({{"textVectors", Json::array()}, {"imageVectors", {{1, 0, 0}, {2, 0, 0}}}}));
  const Answer broken = PostJson("/vectorize", {{"images", {absl::Base64Escape("x")}}});
  EXPECT_EQ(broken.status, 400);
  EXPECT_THAT(broken.json()["error"].get<std::string>(), StartsWith("image 0: "));
}

TEST_F(HttpBridgeTest, VectorsAnswersAsImg2vecNeural) {
  StartBridge();
  const Answer answer =
      PostJson("/vectors", {{"id", "17"}, {"image", absl::Base64Escape(SolidImage(1))}});
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.json(), Json({{"id", "17"}, {"vector", {1, 0, 0}}, {"dim", 3}}));
  EXPECT_EQ(PostJson("/vectors", {{"image", absl::Base64Escape("x")}}).status, 400);
}

// ---- What stands around ---------------------------------------------------------------------

TEST_F(HttpBridgeTest, GetsTellOfTheModelsAndTheServer) {
  StartBridge({}, {}, {"first", "second"});
  const Json models = Get("/v1/models").json();
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][1]["id"], "second");
  const Json meta = Get("/meta").json();
  EXPECT_EQ(meta["models"][0]["name"], "first");
  EXPECT_EQ(meta["models"][0]["dimension"], 3);
  EXPECT_EQ(meta["models"][0]["fingerprints"]["mean"], models_[0]->Fingerprint({}));
  EXPECT_EQ(Get("/.well-known/live").status, 204);
  EXPECT_EQ(Get("/.well-known/ready").status, 204);
  EXPECT_EQ(Send(RequestText("HEAD /v1/models", "", "")).status, 200);
  server_->AnnounceDrain();
  EXPECT_EQ(Get("/.well-known/live").status, 204);
  EXPECT_EQ(Get("/.well-known/ready").status, 503);
}

TEST_F(HttpBridgeTest, AModelIsDescribedAsTheListDescribesIt) {
  StartBridge({}, {}, {"first", "second.v-2_x"});
  const Json listed = Get("/v1/models").json()["data"];
  EXPECT_EQ(
      listed[1],
      Json(
          {{"id", "second.v-2_x"}, {"object", "model"}, {"created", 0}, {"owned_by", "pixembed"}}));
  const Answer second = Get("/v1/models/second.v-2_x");
  EXPECT_EQ(second.status, 200);
  EXPECT_THAT(second.head, HasSubstr("Content-Type: application/json"));
  EXPECT_EQ(second.json(), listed[1]);
  EXPECT_EQ(Get("/v1/models/%66irst?x=1").json(), listed[0]);
  EXPECT_EQ(Send(RequestText("HEAD /v1/models/first", "", "")).status, 200);
}

TEST_F(HttpBridgeTest, AModelThatIsNotServedIsOpenAis404) {
  StartBridge();
  for (const char* const id : {"other", "fake/", "a%2Fb", "fake%0A", "%20", "%FF", "{id}"}) {
    const Answer answer = Get(absl::StrCat("/v1/models/", id));
    EXPECT_EQ(answer.status, 404) << id;
    const Json error = answer.json()["error"];
    EXPECT_EQ(error["code"], "UNKNOWN_MODEL") << answer.body;
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("there are: fake"));
  }
  EXPECT_THAT(Get("/v1/models/%1B" + std::string(3000, 'x')).body,
              AllOf(HasSubstr(R"(\"\\x1bxxx)"), HasSubstr("there are: fake")));
  // No name is not the default model's.
  const Answer none = Get("/v1/models/");
  EXPECT_EQ(none.status, 404);
  EXPECT_EQ(none.json()["error"]["code"], "MALFORMED_REQUEST");
  EXPECT_THAT(none.body, HasSubstr("GET /v1/models/{id}"));
  const Answer removed = Send(RequestText("DELETE /v1/models/fake", "", ""));
  EXPECT_EQ(removed.status, 405);
  EXPECT_THAT(removed.head, HasSubstr("Allow: GET, HEAD"));
}

TEST_F(HttpBridgeTest, UnknownPathsAndMethodsNameWhatThereIs) {
  StartBridge();
  const Answer unknown = Post("/v2/embed", "", "");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_THAT(unknown.json()["error"]["message"].get<std::string>(),
              HasSubstr("there is no POST /v2/embed; there are POST /v1/embeddings"));
  const Answer wrong = Get("/v1/embed");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_THAT(wrong.head, HasSubstr("Allow: POST"));
  const Answer posted = Post("/meta", "", "");
  EXPECT_EQ(posted.status, 405);
  EXPECT_THAT(posted.head, HasSubstr("Allow: GET, HEAD"));
}

TEST_F(HttpBridgeTest, ABodyThatIsTooLargeIsRefusedBeforeItIsSent) {
  ServerOptions options;
  options.limits.max_message_bytes = 1000;
  StartBridge(std::move(options));
  // Only the head: the answer must not wait for the body.
  const Answer answer = Send(
      "POST /v1/embed HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 1001\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.json()["error"]["code"], "MESSAGE_TOO_LARGE");
  EXPECT_THAT(answer.body, HasSubstr("1001"));
  EXPECT_THAT(answer.body, HasSubstr("--max_message_bytes"));
}

std::string Chunked(const std::string& path, std::size_t bytes) {
  std::string text = "POST " + path +
                     " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n";
  for (; bytes >= 100; bytes -= 100) text += "64\r\n" + std::string(100, 'x') + "\r\n";
  return text + "0\r\n\r\n";
}

TEST_F(HttpBridgeTest, ABodyWithoutALengthIsBoundedToo) {
  ServerOptions options;
  options.limits.max_message_bytes = 1000;
  StartBridge(std::move(options));
  EXPECT_EQ(Send(Chunked("/v1/embed", 1000)).status, 200);
  EXPECT_EQ(Send(Chunked("/v1/embed", 1500)).status, 413);
  EXPECT_EQ(Send(Chunked("/v1/embed", 100'000)).status, 0) << "the connection is closed";
}

TEST_F(HttpBridgeTest, AllBodiesTogetherAreBounded) {
  constexpr std::size_t kMost = std::size_t{4} << 20;  // gRPC needs some to connect
  ServerOptions options;
  options.max_receive_bytes = kMost;
  StartBridge(std::move(options));
  const Answer answer = Post("/v1/embed", std::string(kMost + 1, 'x'), "image/png");
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.json()["error"]["code"], "OVERLOADED");
  EXPECT_THAT(answer.head, HasSubstr("Retry-After: "));
  EXPECT_THAT(answer.body, HasSubstr("--max_receive_bytes"));
  EXPECT_EQ(Post("/v1/embed", std::string(kMost - 1, 'x'), "image/png").status, 200);
}

TEST_F(HttpBridgeTest, MoreImagesThanARequestMayHoldAreRefused) {
  ServerOptions options;
  options.limits.max_request_images = 1;
  StartBridge(std::move(options));
  const Answer answer =
      PostJson("/v1/embeddings", {{"input", {DataUri(SolidImage(1)), DataUri(SolidImage(2))}}});
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.json()["error"]["code"], "TOO_MANY_IMAGES");
  EXPECT_EQ(answer.json()["error"]["message"],
            "the request holds 2 images, more than the 1 of --max_request_images; send them in "
            "several requests");
}

TEST_F(HttpBridgeTest, AFullQueueIs429WithRetryAfter) {
  EngineOptions engine_options;
  engine_options.max_queued_images = 1;
  StartBridge({}, engine_options);
  models_[0]->Hold();
  auto first = std::async(std::launch::async,
                          [this] { return Post("/v1/embed", SolidImage(1), "image/bmp"); });
  models_[0]->AwaitHeld(1);
  const Answer answer = Post("/v1/embed", SolidImage(2), "image/bmp");
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.json()["error"]["code"], "OVERLOADED");
  EXPECT_THAT(answer.head, HasSubstr("Retry-After: "));
  models_[0]->LetGo();
  EXPECT_EQ(first.get().status, 200);
}

TEST_F(HttpBridgeTest, WhatIsNotDoneInTimeIsDeadlineExceeded) {
  ServerOptions options;
  options.http_timeout = std::chrono::nanoseconds(1);
  StartBridge(std::move(options));
  const Answer answer = PostJson("/v1/embeddings", {{"input", DataUri(SolidImage(1))}});
  EXPECT_EQ(answer.status, 504) << answer.body;
}

TEST_F(HttpBridgeTest, TwoRequestsOnOneConnectionHaveTheirAnswersInOrder) {
  StartBridge();
  std::string first = RequestText("POST /v1/embed", SolidImage(1), "image/bmp");
  const std::string close = "Connection: close\r\n";
  first.erase(first.find(close), close.size());
  const RawConnection connection(http_);
  ASSERT_TRUE(connection.Send(first + RequestText("POST /v1/embed", SolidImage(2), "image/bmp")));
  const std::string received = connection.ReceiveAll();
  const std::size_t one = received.find("[1.0,0.0,0.0]");
  const std::size_t two = received.find("[2.0,0.0,0.0]");
  EXPECT_NE(one, std::string::npos) << received;
  EXPECT_NE(two, std::string::npos);
  EXPECT_LT(one, two);
}

TEST_F(HttpBridgeTest, AClientThatLeavesTakesNobodyWithIt) {
  StartBridge();
  models_[0]->Hold();
  {
    const RawConnection gone(http_);
    ASSERT_TRUE(gone.Send(RequestText("POST /v1/embed", SolidImage(1), "image/bmp")));
    engine_->AwaitSubmitted(1);
  }
  models_[0]->LetGo();
  EXPECT_EQ(Post("/v1/embed", SolidImage(2), "image/bmp").status, 200);
}

TEST_F(HttpBridgeTest, ADrainFinishesWhatWasAcceptedAndRefusesTheRest) {
  StartBridge();
  models_[0]->Hold();
  auto accepted = std::async(std::launch::async,
                             [this] { return Post("/v1/embed", SolidImage(1), "image/bmp"); });
  models_[0]->AwaitHeld(1);
  const RawConnection early(http_);  // connected before the drain, speaks in it
  ASSERT_TRUE(early.connected());
  std::thread stop(
      [this] { EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok()); });
  engine_->AwaitDrainBegun();
  ASSERT_TRUE(early.Send(RequestText("POST /v1/embed", SolidImage(2), "image/bmp")));
  const Answer refused = ToAnswer(early.ReceiveAll());
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.json()["error"]["code"], "DRAINING");
  models_[0]->LetGo();
  stop.join();
  EXPECT_EQ(accepted.get().status, 200);
}

TEST_F(HttpBridgeTest, AnAddressInUseIsRefusedWithTheFlag) {
  StartBridge();
  ServerOptions options;
  options.listen = {"127.0.0.1:0"};
  for (const std::string& address : {http_, std::string("unix:/tmp/x"), std::string("8080")}) {
    options.http_listen = address;
    const auto second = Server::Start(*engine_, {"fake"}, options);
    EXPECT_EQ(ReasonOf(second.status()), Reason::kInvalidOption);
    EXPECT_THAT(std::string(second.status().message()),
                HasSubstr("cannot listen on " + address + ": "));
    EXPECT_THAT(std::string(second.status().message()), HasSubstr("--http_listen"));
  }
}

TEST_F(HttpBridgeTest, ManyAtOnceEachHaveTheirOwn) {
  EngineOptions engine_options;
  engine_options.cores = 2;
  ServerOptions options;
  options.threads = 2;
  StartBridge(std::move(options), engine_options);
  std::vector<std::thread> clients;
  clients.reserve(8);
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([this, i] {
      for (int k = 0; k < 20; ++k) {
        const Answer answer = Post("/v1/embed", SolidImage(i, k), "image/bmp");
        EXPECT_EQ(answer.json()["results"][0]["embedding"], Json({i, k, 0})) << answer.body;
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

}  // namespace
}  // namespace pixembed
