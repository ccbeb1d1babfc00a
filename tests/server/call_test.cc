// Where every call begins: a caller without a token is refused by every method of every service
// that is served, before its message is read, but for health.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "server/bearer_tokens.h"
#include "server/model_repository.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/server/generic_call.h"
#include "tests/server/server_fixture.h"
#include "tests/server/test_images.h"

namespace pixembed {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::ServiceDescriptor;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kReflect[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

class TokenTest : public ServerTest {
 protected:
  TokenTest() { WriteTokens("first\nsecond\n"); }

  void WriteTokens(const std::string& content) const {
    std::ofstream(folder_.path() / "tokens") << content;
  }

  void StartGuarded(ServerOptions options = {}) {
    auto tokens = BearerTokens::Open((folder_.path() / "tokens").string(), nullptr);
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    options.tokens = *std::move(tokens);
    // Every method that there may be is there.
    options.model_control = ModelControl{
        .names = [] { return std::vector<std::string>(); },
        .load = [](const std::string&,
                   const std::stop_token&) -> absl::StatusOr<std::shared_ptr<const Model>> {
          return MakeError(Reason::kUnknownModel, "none");
        },
        .log = [](const std::string&) {}};
    Start(std::move(options));
  }

  static std::unique_ptr<grpc::ClientContext> ContextWith(const std::string& token) {
    auto context = Context();
    context->AddMetadata("authorization", "Bearer " + token);
    return context;
  }

  grpc::Status EmbedWith(const std::string& token) {
    v1::EmbedResponse response;
    return stub_->Embed(ContextWith(token).get(), Request({SolidImage(1)}), &response);
  }

  // Every method that the server says it has, as a caller with a token hears it.
  std::vector<std::string> MethodsOfAllServices() {
    using grpc::reflection::v1alpha::ServerReflectionRequest;
    using grpc::reflection::v1alpha::ServerReflectionResponse;
    ServerReflectionRequest request;
    request.set_list_services("*");
    GenericCall call(channel_, kReflect, "Bearer first");
    call.Write(request.SerializeAsString());
    ServerReflectionResponse response;
    EXPECT_TRUE(response.ParseFromString(call.Read().value_or("")));
    call.HalfClose();
    EXPECT_TRUE(call.Finish().ok());
    std::vector<std::string> methods;
    for (const auto& service : response.list_services_response().service()) {
      const ServiceDescriptor* const descriptor =
          DescriptorPool::generated_pool()->FindServiceByName(service.name());
      EXPECT_NE(descriptor, nullptr) << service.name();
      if (descriptor == nullptr) continue;
      for (int i = 0; i < descriptor->method_count(); ++i) {
        methods.push_back("/" + service.name() + "/" + descriptor->method(i)->name());
      }
    }
    return methods;
  }

  const TemporaryDirectory folder_;
};

TEST_F(TokenTest, EveryMethodOfEveryServiceRefusesACallWithoutOneButHealth) {
  StartGuarded();
  std::vector<std::string> open;
  const std::vector<std::string> methods = MethodsOfAllServices();
  for (const char* const one :
       {"/pixembed.v1.EmbeddingService/EmbedStream", "/pixembed.v1.EmbeddingService/ExplainImage",
        "/inference.GRPCInferenceService/ModelInfer", kReflect}) {
    EXPECT_THAT(methods, Contains(one));
  }
  for (const std::string& method : methods) {
    for (const char* const shown : {"", "Bearer third", "first"}) {
      GenericCall call(channel_, method, shown);
      if (method == "/grpc.health.v1.Health/Watch") {
        call.Write("");
        EXPECT_NE(call.Read(), std::nullopt);
        call.context().TryCancel();
      } else if (method == "/grpc.health.v1.Health/Check") {
        call.Write("");
        call.HalfClose();
      }
      // Of the others nothing is sent: they are refused before.
      while (call.Read().has_value()) {
      }
      const grpc::Status status = call.Finish();
      if (method.starts_with("/grpc.health.v1.Health/")) {
        EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
        continue;
      }
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << method << ": " << shown;
      EXPECT_EQ(ReasonIn(status), "INVALID_TOKEN") << method << ": " << shown;
    }
  }
}

// So that the walk above forgets none.
TEST_F(TokenTest, WhatReflectionListsIsAllThatThereIs) {
  StartGuarded();
  const std::vector<std::string> methods = MethodsOfAllServices();
  std::vector<const google::protobuf::FileDescriptor*> files;
  for (const char* const name :
       {"pixembed/v1/embedding.proto", "inference/grpc_service.proto",
        "grpc/health/v1/health.proto", "grpc/reflection/v1alpha/reflection.proto"}) {
    const auto* const file = DescriptorPool::generated_pool()->FindFileByName(name);
    ASSERT_NE(file, nullptr) << name;
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        EXPECT_THAT(methods, Contains("/" + file->service(i)->full_name() + "/" +
                                      file->service(i)->method(j)->name()));
      }
    }
  }
}

TEST_F(TokenTest, EveryTokenOfTheFileIsServed) {
  StartGuarded();
  EXPECT_TRUE(EmbedWith("first").ok());
  EXPECT_TRUE(EmbedWith("second").ok());
  const grpc::Status status = EmbedWith("third");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(status.error_message(), HasSubstr("--auth_token_file"));
}

TEST_F(TokenTest, ARefusedCallHoldsNothingAndCountsForNothing) {
  ServerOptions options;
  options.max_calls = 1;
  StartGuarded(std::move(options));
  const auto holding = ContextWith("first");
  const auto stream = stub_->EmbedStream(holding.get());
  ASSERT_TRUE(stream->Write(Request({SolidImage(1)})));
  v1::EmbedResult result;
  ASSERT_TRUE(stream->Read(&result));
  // Nobody hears how busy the server is before they have shown a token.
  EXPECT_EQ(EmbedWith("third").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(EmbedWith("second").error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&result));
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(engine_->stats().admitted, 1U);
}

TEST_F(TokenTest, ARotatedTokenIsRefusedForNewCallsAndAStreamThatBeganGoesOn) {
  StartGuarded();
  const auto context = ContextWith("second");
  const auto stream = stub_->EmbedStream(context.get());
  ASSERT_TRUE(stream->Write(Request({SolidImage(1)})));
  v1::EmbedResult result;
  ASSERT_TRUE(stream->Read(&result));
  WriteTokens("first\nthird\n");
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!EmbedWith("third").ok()) ASSERT_LT(std::chrono::steady_clock::now(), end);
  EXPECT_EQ(EmbedWith("second").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(EmbedWith("first").ok());
  ASSERT_TRUE(stream->Write(Request({SolidImage(2)})));
  ASSERT_TRUE(stream->Read(&result));
  EXPECT_TRUE(result.has_embedding());
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(TokenTest, WithoutATokenFileNobodyIsAsked) {
  Start();
  EXPECT_TRUE(EmbedWith("anything").ok());
}

class BareTokenTest : public TokenTest {
 protected:
  // What a server with tokens and these addresses says.
  std::vector<std::string> WarningsOn(const std::vector<std::string>& listen,
                                      const std::string& http_listen) {
    std::vector<std::string> warnings;
    ServerOptions options;
    options.listen = listen;
    options.http_listen = http_listen;
    options.tokens = *BearerTokens::Open((folder_.path() / "tokens").string(), nullptr);
    options.log = [&warnings](LogLevel severity, const std::string& line) {
      if (severity == LogLevel::kWarning) warnings.push_back(line);
    };
    StartUnconnected(std::move(options));
    return warnings;
  }
};

TEST_F(BareTokenTest, TokensThatOthersCanReadAreWarnedOf) {
  EXPECT_THAT(WarningsOn({"0.0.0.0:0", "127.0.0.1:0"}, "[::]:0"),
              ElementsAre(HasSubstr("0.0.0.0:0 without TLS"), HasSubstr("[::]:0 without TLS")));
}

TEST_F(BareTokenTest, NotWhereOnlyThisMachineReachesThem) {
  EXPECT_THAT(WarningsOn({"127.0.0.1:0", "localhost:0", "[::1]:0",
                          "unix:" + (folder_.path() / "socket").string()},
                         "localhost:0"),
              IsEmpty());
}

}  // namespace
}  // namespace pixembed
