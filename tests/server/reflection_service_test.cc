// Reflection describes our services and health, so that grpcurl needs no .proto file. The client
// speaks it through the descriptors of the program.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "nlohmann/json.hpp"
#include "tests/server/generic_call.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::Message;
using google::protobuf::MessageFactory;
using ::testing::HasSubstr;

class ReflectionTest : public ServerTest {
 protected:
  static std::unique_ptr<Message> New(const std::string& name) {
    const auto* const type =
        DescriptorPool::generated_pool()->FindMessageTypeByName("grpc.reflection.v1alpha." + name);
    return std::unique_ptr<Message>(MessageFactory::generated_factory()->GetPrototype(type)->New());
  }

  // Asks one question, both as JSON.
  std::string Ask(const std::string& question) {
    const auto request = New("ServerReflectionRequest");
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(question, request.get()).ok());
    GenericCall call(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    call.Write(request->SerializeAsString());
    const auto response = New("ServerReflectionResponse");
    EXPECT_TRUE(response->ParseFromString(call.Read().value_or("")));
    call.HalfClose();
    EXPECT_TRUE(call.Finish().ok());
    std::string text;
    EXPECT_TRUE(google::protobuf::util::MessageToJsonString(*response, &text).ok());
    return text;
  }
};

TEST_F(ReflectionTest, ListsOurServicesAndHealth) {
  Start();
  const std::string services = Ask(R"({"list_services": "*"})");
  EXPECT_THAT(services, HasSubstr("\"pixembed.v1.EmbeddingService\""));
  EXPECT_THAT(services, HasSubstr("\"grpc.health.v1.Health\""));
  EXPECT_THAT(services, HasSubstr("\"inference.GRPCInferenceService\""));
  EXPECT_THAT(services, HasSubstr("\"grpc.reflection.v1alpha.ServerReflection\""));
}

TEST_F(ReflectionTest, GivesAFileWithAllThatItImportsOnce) {
  Start();
  for (const char* const question :
       {R"({"file_by_filename": "pixembed/v1/embedding.proto"})",
        R"({"file_containing_symbol": "pixembed.v1.EmbeddingService.Embed"})"}) {
    const auto json = nlohmann::json::parse(Ask(question));
    google::protobuf::SimpleDescriptorDatabase files;
    for (const auto& text : json["fileDescriptorResponse"]["fileDescriptorProto"]) {
      std::string bytes;
      ASSERT_TRUE(absl::Base64Unescape(text.get<std::string>(), &bytes));
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(bytes));
      EXPECT_TRUE(files.Add(file)) << file.name();  // none twice
    }
    const DescriptorPool pool(&files);
    EXPECT_NE(pool.FindServiceByName("pixembed.v1.EmbeddingService"), nullptr);
  }
}

TEST_F(ReflectionTest, WhatIsNotThereIsNotFound) {
  Start();
  for (const char* const question :
       {R"({"file_by_filename": "none.proto"})", R"({"file_containing_symbol": "none"})",
        R"({"all_extension_numbers_of_type": "none"})",
        R"({"file_containing_extension": {"containing_type": "none", "extension_number": 3}})",
        R"({"file_containing_extension":
            {"containing_type": "pixembed.v1.Image", "extension_number": 3}})"}) {
    EXPECT_THAT(Ask(question), HasSubstr("\"errorCode\":5")) << question;
  }
  EXPECT_THAT(Ask("{}"), HasSubstr("\"errorCode\":3"));
}

TEST_F(ReflectionTest, KnowsExtensions) {
  Start();
  // protobuf's own options have none here.
  EXPECT_THAT(Ask(R"({"all_extension_numbers_of_type": "google.protobuf.FieldOptions"})"),
              HasSubstr("\"baseTypeName\":\"google.protobuf.FieldOptions\""));
}

TEST_F(ReflectionTest, AMalformedQuestionEndsTheStream) {
  Start();
  GenericCall call(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  call.Write("\xff");
  EXPECT_EQ(call.Read(), std::nullopt);
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ReflectionTest, AnIdleStreamDoesNotHoldADrain) {
  Start();
  GenericCall call(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  const auto request = New("ServerReflectionRequest");
  call.Write(request->SerializeAsString());
  ASSERT_NE(call.Read(), std::nullopt);
  EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
  EXPECT_EQ(call.Read(), std::nullopt);
  EXPECT_EQ(call.Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ReflectionTest, DescribesThem) {
  Start();
  for (const char* const symbol :
       {"pixembed.v1.EmbeddingService", "pixembed.v1.EmbedRequest", "grpc.health.v1.Health",
        "google.rpc.Status", "inference.GRPCInferenceService"}) {
    const std::string answer = Ask(std::string(R"({"file_containing_symbol": ")") + symbol + "\"}");
    EXPECT_THAT(answer, HasSubstr("fileDescriptorProto")) << symbol;
  }
}

}  // namespace
}  // namespace pixembed
