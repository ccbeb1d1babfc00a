// Reflection describes our services and health, so that grpcurl needs no .proto file. The client
// speaks it through the descriptors that the reflection library itself registers.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

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
