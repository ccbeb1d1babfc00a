// Whatever a client sends: a clear answer, nothing lost, nothing hung, and never INTERNAL.
#include <gmock/gmock.h>
#include <grpc/compression.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pixembed/v1/embedding.grpc.pb.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/server/generic_call.h"
#include "tests/server/raw_connection.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kEmbed[] = "/pixembed.v1.EmbeddingService/Embed";
constexpr char kEmbedBatch[] = "/pixembed.v1.EmbeddingService/EmbedBatch";
constexpr char kEmbedStream[] = "/pixembed.v1.EmbeddingService/EmbedStream";
constexpr char kListModels[] = "/pixembed.v1.EmbeddingService/ListModels";
constexpr char kGetModel[] = "/pixembed.v1.EmbeddingService/GetModel";
constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";
constexpr const char* kMethods[] = {kEmbed,    kEmbedBatch, kEmbedStream, kListModels,
                                    kGetModel, kCheck,      kWatch};

class BadInputTest : public ServerTest {
 protected:
  static constexpr std::size_t kMaxImageBytes = 10'000;
  // The 7 broken images lie among the 64 at 0, 9, 18, ..., 54.
  static constexpr int kImages = 64;
  static constexpr int kStride = 9;

  void StartSmall(ServerOptions options = {}) {
    EngineOptions engine_options;
    engine_options.limits.max_encoded_bytes = kMaxImageBytes;
    engine_options.cores = 2;
    engine_options.max_batch_size = 4;
    Start(std::move(options), engine_options);
  }

  static v1::EmbedRequest MixedRequest() {
    const std::vector<BrokenImage> broken = BrokenImages(kMaxImageBytes);
    std::vector<std::string> images;
    for (int i = 0; i < kImages; ++i) {
      const bool bad = i % kStride == 0 && i / kStride < static_cast<int>(broken.size());
      images.push_back(bad ? broken[i / kStride].data : SolidImage(i));
    }
    return Request(images);
  }

  // 57 vectors and 7 right reasons, each once.
  static void ExpectMixedResults(const std::vector<v1::EmbedResult>& results) {
    const std::vector<BrokenImage> broken = BrokenImages(kMaxImageBytes);
    ASSERT_THAT(results, SizeIs(kImages));
    std::vector<char> seen(kImages);
    int vectors = 0;
    for (const v1::EmbedResult& result : results) {
      const int index = static_cast<int>(result.index());
      EXPECT_FALSE(std::exchange(seen.at(index), 1));
      EXPECT_EQ(result.id(), "image " + std::to_string(index));
      if (result.has_embedding()) {
        ++vectors;
        EXPECT_THAT(result.embedding().values(), ElementsAre(index, 0, 0));
        continue;
      }
      ASSERT_EQ(index % kStride, 0);
      const BrokenImage& expected = broken.at(index / kStride);
      EXPECT_EQ(ReasonIn(result.error()), expected.reason) << result.error().message();
      EXPECT_EQ(result.error().code(), grpc::StatusCode::INVALID_ARGUMENT);
      EXPECT_THAT(result.error().message(), HasSubstr(expected.text));
    }
    EXPECT_EQ(vectors, kImages - static_cast<int>(broken.size()));
  }

  // The status of a call of `method` with one message of these bytes.
  grpc::Status CallWith(const std::string& method, const std::string& bytes) {
    GenericCall call(channel_, method);
    call.Write(bytes);
    call.HalfClose();
    while (call.Read().has_value()) {
    }
    return call.Finish();
  }

  void ExpectAlive() {
    v1::EmbedResponse response;
    EXPECT_TRUE(Embed(Request({SolidImage(1)}), &response).ok());
  }
};

TEST_F(BadInputTest, SevenBrokenImagesOf64FailAloneInEmbed) {
  StartSmall();
  v1::EmbedResponse response;
  ASSERT_TRUE(Embed(MixedRequest(), &response).ok());
  ExpectMixedResults({response.results().begin(), response.results().end()});
  for (int i = 0; i < kImages; ++i) EXPECT_EQ(response.results(i).index(), i);
}

TEST_F(BadInputTest, SevenBrokenImagesOf64FailAloneInEmbedBatch) {
  StartSmall();
  const auto context = Context();
  const auto reader = stub_->EmbedBatch(context.get(), MixedRequest());
  std::vector<v1::EmbedResult> results;
  for (v1::EmbedResult result; reader->Read(&result);) results.push_back(result);
  EXPECT_TRUE(reader->Finish().ok());
  ExpectMixedResults(results);
}

TEST_F(BadInputTest, SevenBrokenImagesOf64FailAloneInEmbedStream) {
  StartSmall();
  const auto context = Context();
  const auto stream = stub_->EmbedStream(context.get());
  const v1::EmbedRequest all = MixedRequest();
  for (const v1::Image& image : all.images()) {
    v1::EmbedRequest request;
    *request.add_images() = image;
    ASSERT_TRUE(stream->Write(request));
  }
  stream->WritesDone();
  std::vector<v1::EmbedResult> results;
  for (v1::EmbedResult result; stream->Read(&result);) results.push_back(result);
  EXPECT_TRUE(stream->Finish().ok());
  ExpectMixedResults(results);
}

TEST_F(BadInputTest, ARequestWithoutImagesIsRefused) {
  StartSmall();
  v1::EmbedResponse response;
  const grpc::Status status = Embed({}, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonIn(status), "EMPTY_REQUEST");
  EXPECT_EQ(ReasonIn(CallWith(kEmbedBatch, "")), "EMPTY_REQUEST");
}

TEST_F(BadInputTest, TooManyImagesNameBothNumbersAndTheFlag) {
  ServerOptions options;
  options.limits.max_request_images = 2;
  StartSmall(options);
  const v1::EmbedRequest request = Request({SolidImage(1), SolidImage(2), SolidImage(3)});
  v1::EmbedResponse response;
  for (const grpc::Status& status :
       {Embed(request, &response), CallWith(kEmbedStream, request.SerializeAsString())}) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(ReasonIn(status), "TOO_MANY_IMAGES");
    EXPECT_THAT(status.error_message(), HasSubstr("3 images, more than the 2"));
    EXPECT_THAT(status.error_message(), HasSubstr("--max_request_images"));
  }
}

TEST_F(BadInputTest, TooManyImagesNameAWayThatIsNotTheOneTheyCame) {
  ServerOptions options;
  options.limits.max_request_images = 2;
  StartSmall(options);
  const std::string request =
      Request({SolidImage(1), SolidImage(2), SolidImage(3)}).SerializeAsString();
  for (const char* const call : {kEmbed, kEmbedBatch}) {
    EXPECT_THAT(CallWith(call, request).error_message(),
                EndsWith("; EmbedStream takes any number, in several messages"));
  }
  EXPECT_THAT(CallWith(kEmbedStream, request).error_message(),
              EndsWith("; the stream takes any number, in several messages"));
}

TEST_F(BadInputTest, AnOversizeMessageNamesBothSizesAndTheFlag) {
  ServerOptions options;
  options.limits.max_message_bytes = 100'000;
  StartSmall(options);
  v1::EmbedRequest request;
  request.add_images()->set_data(std::string(200'000, 'x'));
  const std::size_t size = request.ByteSizeLong();
  v1::EmbedResponse response;
  const grpc::Status status = Embed(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonIn(status), "MESSAGE_TOO_LARGE");
  EXPECT_THAT(status.error_message(), HasSubstr(std::to_string(size) + " bytes"));
  EXPECT_THAT(status.error_message(), HasSubstr("100000 of --max_message_bytes"));
  ExpectAlive();
}

TEST_F(BadInputTest, MessagesAboveGrpcsOwnDefaultOfFourMebibytesAreTaken) {
  ServerOptions options;
  Start(options);
  v1::EmbedResponse response;
  ASSERT_TRUE(Embed(Request({SolidImage(1) + std::string(20 << 20, 'x')}), &response).ok());
  EXPECT_TRUE(response.results(0).has_embedding());
}

TEST_F(BadInputTest, BytesThatAreNoMessageAreInvalidArgument) {
  StartSmall();
  const std::string two_gigabytes(
      "\x12\xff\xff\xff\xff\x07"
      "abc",
      9);  // images: 2 GiB - 1 long
  const std::string ten_bytes("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10);
  const std::string bad_utf8("\x0a\x01\xff", 3);
  for (const char* const method : kMethods) {
    for (const std::string& bytes :
         {two_gigabytes, ten_bytes, bad_utf8, std::string(1000, '\xff')}) {
      if (bytes == bad_utf8 && method == kListModels) continue;  // an unknown field there
      const grpc::Status status = CallWith(method, bytes);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
      EXPECT_EQ(ReasonIn(status), "MALFORMED_REQUEST") << method;
    }
  }
  ExpectAlive();
}

TEST_F(BadInputTest, ACallWithoutItsMessageIsInvalidArgument) {
  StartSmall();
  for (const char* const method : kMethods) {
    if (method == kEmbedStream) continue;  // there it is an empty stream
    GenericCall call(channel_, method);
    call.HalfClose();
    EXPECT_EQ(call.Read(), std::nullopt);
    EXPECT_EQ(ReasonIn(call.Finish()), "MALFORMED_REQUEST") << method;
  }
}

TEST_F(BadInputTest, AMethodThatDoesNotExistIsUnimplemented) {
  StartSmall();
  for (const char* const method : {"/pixembed.v1.EmbeddingService/Train", "/other.Service/Embed"}) {
    EXPECT_EQ(CallWith(method, "").error_code(), grpc::StatusCode::UNIMPLEMENTED);
  }
}

// A gzip bomb would expand before anyone can look.
TEST_F(BadInputTest, CompressedMessagesAreRefused) {
  StartSmall();
  const auto context = Context();
  context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::EmbedRequest request = Request({SolidImage(1) + std::string(5000, '\0')});
  v1::EmbedResponse response;
  const grpc::Status status = stub_->Embed(context.get(), request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  ExpectAlive();
}

TEST_F(BadInputTest, GarbageOnTheSocketDisturbsNobody) {
  StartSmall();
  const RawConnection garbage(address_);
  ASSERT_TRUE(garbage.connected());
  garbage.Send(std::string(100'000, '\xa5'));
  garbage.ReceiveAll();  // the server closes it
  const RawConnection http(address_);
  http.Send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
  http.ReceiveAll();
  ExpectAlive();
}

TEST_F(BadInputTest, AFrameThatAnnouncesTwoGigabytesAndNeverComesTakesNothing) {
  StartSmall();
  {
    const RawConnection connection(address_);
    const std::string prefix("\0\x80\0\0\0", 5);  // a message of 2 GiB
    ASSERT_TRUE(connection.Send(RawConnection::Preface() + RawConnection::CallHeaders(1, kEmbed) +
                                RawConnection::Frame(/*DATA*/ 0, 0, 1, prefix + "abc")));
    connection.ReceiveSome();
    ExpectAlive();
  }  // vanishes
  ExpectAlive();
}

TEST_F(BadInputTest, AClientThatVanishesInsideAMessageDisturbsNobody) {
  StartSmall();
  for (const char* const method : kMethods) {
    const RawConnection connection(address_);
    const std::string prefix("\0\0\0\x10\0", 5);  // 4096 bytes, of which 3 come
    ASSERT_TRUE(connection.Send(RawConnection::Preface() + RawConnection::CallHeaders(1, method) +
                                RawConnection::Frame(/*DATA*/ 0, 0, 1, prefix + "abc")));
  }
  ExpectAlive();
}

TEST_F(BadInputTest, AClientThatVanishesMidStreamLeavesNothingBehind) {
  StartSmall();
  models_[0]->Hold();
  std::stop_token stop;
  {
    const RawConnection connection(address_);
    ASSERT_TRUE(
        connection.Send(RawConnection::Preface() + RawConnection::CallHeaders(1, kEmbedStream) +
                        RawConnection::MessageFrame(1, Request({SolidImage(1), SolidImage(2)}))));
    engine_->AwaitSubmitted(2);
    stop = engine_->last().stop;
  }
  AwaitStop(stop);
  models_[0]->LetGo();
  ExpectAlive();
}

TEST_F(BadInputTest, AnIdleConnectionDoesNotKeepTheServerFromStopping) {
  StartSmall();
  const RawConnection silent(address_);
  const RawConnection greeted(address_);
  greeted.Send(RawConnection::Preface());
  ExpectAlive();
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
}

}  // namespace
}  // namespace pixembed
