// A whole server in the test's process: FakeModel, the real engine, real gRPC over loopback.
#ifndef PIXEMBED_TESTS_SERVER_SERVER_FIXTURE_H_
#define PIXEMBED_TESTS_SERVER_SERVER_FIXTURE_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <future>
#include <limits>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "google/rpc/status.pb.h"
#include "pixembed/v1/embedding.grpc.pb.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "tests/api/details.h"
#include "tests/model/fake_model.h"
#include "tests/server/observed_engine.h"
#include "tests/server/test_images.h"

namespace pixembed {

// Long enough for any machine; a test that meets it has failed.
inline constexpr std::chrono::seconds kPatience(100);

inline google::rpc::Status DetailsOf(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  return details;
}

// As of its details.
inline std::string ReasonIn(const grpc::Status& status) { return ReasonIn(DetailsOf(status)); }

// Blocks until the server has noticed that a call is over.
inline void AwaitStop(const std::stop_token& stop) {
  std::promise<void> stopped;
  const std::stop_callback callback(stop, [&stopped] { stopped.set_value(); });
  stopped.get_future().wait();
}

// A channel that is connected. gRPC 1.51 reads the errno of connect() only after other calls that
// may change it, takes a connection that succeeds for one that failed (about 1 in 200 where
// threads connect at once), and fails the calls that wait for it.
inline std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + kPatience));
  return channel;
}

class ServerTest : public ::testing::Test {
 protected:
  // One model, "fake", unless `names` has more. Small defaults, so that a test that holds the model
  // knows what is inside: one core, one worker, one image a batch.
  void Start(ServerOptions options = {}, const EngineOptions& engine_options = {},
             const std::vector<std::string>& names = {"fake"},
             const FakeModelOptions& model_options = {}) {
    options.listen = {"127.0.0.1:0"};
    StartUnconnected(std::move(options), engine_options, names, model_options);
    if (HasFatalFailure()) return;
    channel_ = Connect(address_);
    stub_ = v1::EmbeddingService::NewStub(channel_);
  }

  // The same on the addresses of `options`, without a client.
  void StartUnconnected(ServerOptions options, EngineOptions engine_options = {},
                        const std::vector<std::string>& names = {"fake"},
                        FakeModelOptions model_options = {}) {
    std::vector<std::shared_ptr<const Model>> models;
    for (const std::string& name : names) {
      model_options.fingerprint_seed = name;
      models_.push_back(std::make_shared<FakeModel>(model_options));
      models.push_back(models_.back());
    }
    if (engine_options.cores == 0) engine_options.cores = 1;
    if (engine_options.max_batch_size == 0) engine_options.max_batch_size = 1;
    auto engine = Engine::Start(models, engine_options);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = std::make_unique<ObservedEngine>(*std::move(engine));
    if (options.threads == 0) options.threads = 1;
    auto server = Server::Start(*engine_, names, options);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    address_ = server_->addresses().front();
  }

  static std::unique_ptr<grpc::ClientContext> Context() {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + kPatience);
    return context;
  }

  // A round trip on the connection of stub_. With one server thread, what had arrived on the
  // connection before it has been seen by the server when it returns.
  void RoundTrip() {
    v1::Model model;
    ASSERT_TRUE(stub_->GetModel(Context().get(), v1::GetModelRequest(), &model).ok());
  }

  static v1::EmbedRequest Request(const std::vector<std::string>& images) {
    v1::EmbedRequest request;
    for (const std::string& image : images) {
      v1::Image& added = *request.add_images();
      added.set_id("image " + std::to_string(request.images_size() - 1));
      added.set_data(image);
    }
    return request;
  }

  grpc::Status Embed(const v1::EmbedRequest& request, v1::EmbedResponse* response) {
    return stub_->Embed(Context().get(), request, response);
  }

  // Every call was served to its end, every admitted image has its outcome, and nothing hangs.
  void TearDown() override {
    for (const auto& model : models_) model->LetGo();
    if (server_ != nullptr) {
      EXPECT_TRUE(server_->Stop(std::chrono::steady_clock::now() + kPatience).ok());
      EXPECT_EQ(server_->calls(), 0U);
    }
    if (engine_ != nullptr) {
      const EngineStats stats = engine_->stats();
      EXPECT_EQ(stats.admitted, stats.completed + stats.failed);
      EXPECT_EQ(stats.queued_images, 0U);
      EXPECT_EQ(stats.queued_bytes, 0U);
    }
  }

  std::vector<std::shared_ptr<FakeModel>> models_;
  std::unique_ptr<ObservedEngine> engine_;
  std::unique_ptr<Server> server_;
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::EmbeddingService::Stub> stub_;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_SERVER_SERVER_FIXTURE_H_
