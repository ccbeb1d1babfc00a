// A pixembed server that computes nothing: the client's counterpart in its tests.
//
// An image's vector is {number of bytes, first byte, 0.5, -1}. An image that begins with "bad"
// fails with TRUNCATED_IMAGE. Real gRPC over loopback, port 0.
#ifndef PIXEMBED_TESTS_CLIENT_FAKE_SERVICE_H_
#define PIXEMBED_TESTS_CLIENT_FAKE_SERVICE_H_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/server_context.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {

inline constexpr char kFingerprint[] = "f1f1f1f1f1f1f1f1";

inline google::rpc::Status RpcError(int code, const std::string& reason, const std::string& text) {
  google::rpc::ErrorInfo info;
  info.set_domain("pixembed");
  info.set_reason(reason);
  google::rpc::Status status;
  status.set_code(code);
  status.set_message(text);
  status.add_details()->PackFrom(info);
  return status;
}

inline grpc::Status ToGrpc(const google::rpc::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), status.message(),
          status.SerializeAsString()};
}

inline grpc::Status Overloaded(std::chrono::milliseconds retry_delay) {
  google::rpc::Status status =
      RpcError(grpc::RESOURCE_EXHAUSTED, "OVERLOADED", "the queue is full");
  google::rpc::RetryInfo retry;
  *retry.mutable_retry_delay() =
      google::protobuf::util::TimeUtil::MillisecondsToDuration(retry_delay.count());
  status.add_details()->PackFrom(retry);
  return ToGrpc(status);
}

inline grpc::Status Draining() {
  return ToGrpc(RpcError(grpc::UNAVAILABLE, "DRAINING", "the server is shutting down"));
}

class FakeEmbedding final : public v1::EmbeddingService::Service {
 public:
  // What the service does, set before the call it concerns.
  struct Behaviour {
    // So many calls are refused with this before one is served.
    int refusals = 0;
    grpc::Status refusal = grpc::Status::OK;
    // EmbedStream: results of so many images are held back and sent in reverse order.
    std::size_t reverse = 1;
    // EmbedStream: ends with `broken` after so many results; 0: never.
    std::size_t break_after = 0;
    grpc::Status broken = {grpc::UNAVAILABLE, "the server is draining"};
    // EmbedStream: so many calls read `silent_reads` images, answer none and end with `broken`.
    int silent_calls = 0;
    std::size_t silent_reads = 0;
    // EmbedStream: its end when all is read and answered.
    grpc::Status end = grpc::Status::OK;
    // EmbedStream: reads so many images, answers none until Release.
    std::size_t hold_after = 0;
    // Answers with these indices instead of the right ones.
    bool wrong_index = false;
    // FLOAT32 in `values` even where packed was asked for.
    bool unpacked = false;
  };

  void Set(Behaviour behaviour) {
    const std::lock_guard lock(mutex_);
    behaviour_ = std::move(behaviour);
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  // Until a stream has read `count` images.
  void WaitUntilRead(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return images_read_ >= count; });
  }
  // Until so many Embed calls have come.
  void WaitUntilCalled(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_ >= count; });
  }
  std::size_t images_read() const {
    const std::lock_guard lock(mutex_);
    return images_read_;
  }
  int calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  v1::EmbedOptions last_options() const {
    const std::lock_guard lock(mutex_);
    return last_options_;
  }

  grpc::Status Embed(grpc::ServerContext*, const v1::EmbedRequest* request,
                     v1::EmbedResponse* response) override {
    if (grpc::Status refusal = Admit(*request); !refusal.ok()) {
      return refusal;
    }
    for (int i = 0; i < request->images_size(); ++i) {
      *response->add_results() = Answer(request->images(i), i);
    }
    response->set_model("fake");
    response->set_fingerprint(kFingerprint);
    return grpc::Status::OK;
  }

  grpc::Status EmbedStream(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::EmbedResult, v1::EmbedRequest>* stream) override {
    const Behaviour behaviour = Current();
    bool silent = false;
    v1::EmbedRequest request;
    std::vector<v1::EmbedResult> held;
    std::uint64_t index = 0;
    std::size_t sent = 0;
    while (stream->Read(&request)) {
      if (index == 0) {
        if (grpc::Status refusal = Admit(request); !refusal.ok()) {
          return refusal;
        }
        silent = TakeSilentCall();
      }
      for (const v1::Image& image : request.images()) {
        held.push_back(Answer(image, index++));
        held.back().set_fingerprint(kFingerprint);
      }
      CountRead(index);
      if (silent) {
        if (index < behaviour.silent_reads) {
          continue;
        }
        return behaviour.broken;
      }
      if (behaviour.hold_after != 0 && index < behaviour.hold_after) {
        continue;
      }
      WaitUntilReleased(behaviour);
      if (held.size() >= behaviour.reverse) {
        sent += Flush(held, *stream);
      }
      if (behaviour.break_after != 0 && sent >= behaviour.break_after) {
        return behaviour.broken;
      }
    }
    Flush(held, *stream);
    return behaviour.end;
  }

  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    *response->add_models() = FakeModel();
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::Model* model) override {
    if (!request->name().empty() && request->name() != "fake") {
      return ToGrpc(RpcError(grpc::NOT_FOUND, "UNKNOWN_MODEL",
                             absl::StrCat("no model \"", request->name(), "\"; there is: fake")));
    }
    *model = FakeModel();
    return grpc::Status::OK;
  }

 private:
  static v1::Model FakeModel() {
    v1::Model model;
    model.set_name("fake");
    model.set_model_type("vit");
    model.set_dimension(4);
    model.set_tokens(5);
    model.set_precision("float32");
    model.add_devices("cpu");
    (*model.mutable_fingerprints())["mean"] = kFingerprint;
    model.mutable_limits()->set_max_image_bytes(1 << 20);
    model.mutable_limits()->set_max_request_images(64);
    model.mutable_limits()->set_max_message_bytes(1 << 26);
    return model;
  }

  Behaviour Current() const {
    const std::lock_guard lock(mutex_);
    return behaviour_;
  }

  grpc::Status Admit(const v1::EmbedRequest& request) {
    const std::lock_guard lock(mutex_);
    ++calls_;
    changed_.notify_all();
    last_options_ = request.options();
    if (behaviour_.refusals > 0) {
      --behaviour_.refusals;
      return behaviour_.refusal;
    }
    return grpc::Status::OK;
  }

  bool TakeSilentCall() {
    const std::lock_guard lock(mutex_);
    if (behaviour_.silent_calls <= 0) return false;
    --behaviour_.silent_calls;
    return true;
  }

  void CountRead(std::size_t count) {
    const std::lock_guard lock(mutex_);
    images_read_ = count;
    changed_.notify_all();
  }

  void WaitUntilReleased(const Behaviour& behaviour) {
    if (behaviour.hold_after != 0) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return released_; });
    }
  }

  static std::size_t Flush(std::vector<v1::EmbedResult>& held,
                           grpc::ServerReaderWriter<v1::EmbedResult, v1::EmbedRequest>& stream) {
    std::reverse(held.begin(), held.end());
    for (const v1::EmbedResult& result : held) {
      stream.Write(result);
    }
    return std::exchange(held, {}).size();
  }

  v1::EmbedResult Answer(const v1::Image& image, std::uint64_t index) const {
    const Behaviour behaviour = Current();
    v1::EmbedResult result;
    result.set_index(behaviour.wrong_index ? index + 1000 : index);
    result.set_id(image.id());
    if (image.data().starts_with("bad")) {
      *result.mutable_error() =
          RpcError(grpc::INVALID_ARGUMENT, "TRUNCATED_IMAGE", "it ends early");
      return result;
    }
    const std::string& data = image.data();
    const int first = data.empty() ? 0 : static_cast<unsigned char>(data[0]);
    const std::vector<float> vector = {static_cast<float>(data.size()), static_cast<float>(first),
                                       0.5F, -1.0F};
    v1::Embedding& embedding = *result.mutable_embedding();
    embedding.set_data_type(v1::DATA_TYPE_FLOAT32);
    embedding.set_dimensions(4);
    if (behaviour.unpacked) {
      embedding.mutable_values()->Add(vector.begin(), vector.end());
    } else {
      embedding.set_data(reinterpret_cast<const char*>(vector.data()),
                         vector.size() * sizeof(float));
    }
    return result;
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Behaviour behaviour_;
  v1::EmbedOptions last_options_;
  std::size_t images_read_ = 0;
  int calls_ = 0;
  bool released_ = false;
};

class FakeHealth final : public grpc::health::v1::Health::Service {
 public:
  using Response = grpc::health::v1::HealthCheckResponse;

  void Set(Response::ServingStatus status) {
    const std::lock_guard lock(mutex_);
    status_ = status;
    changed_.notify_all();
  }
  // Check fails with this.
  void Refuse(grpc::Status refusal) {
    const std::lock_guard lock(mutex_);
    refusal_ = std::move(refusal);
  }
  int checks() const {
    const std::lock_guard lock(mutex_);
    return checks_;
  }
  // Until a Watch has begun.
  void WaitUntilWatched() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return watched_; });
  }

  grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* request,
                     Response* response) override {
    const std::lock_guard lock(mutex_);
    ++checks_;
    if (!request->service().empty()) {
      return {grpc::NOT_FOUND, "unknown service"};
    }
    response->set_status(status_);
    return refusal_;
  }

  // Sends the state now, and again until SERVING was sent.
  grpc::Status Watch(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* request,
                     grpc::ServerWriter<Response>* writer) override {
    Response response;
    if (!request->service().empty()) {
      response.set_status(Response::SERVICE_UNKNOWN);
      writer->Write(response);
      return grpc::Status::OK;
    }
    std::unique_lock lock(mutex_);
    watched_ = true;
    changed_.notify_all();
    response.set_status(status_);
    writer->Write(response);
    changed_.wait(lock, [&] { return status_ == Response::SERVING || stopped_; });
    response.set_status(status_);
    writer->Write(response);
    return grpc::Status::OK;
  }

  void Stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    changed_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Response::ServingStatus status_ = Response::SERVING;
  grpc::Status refusal_ = grpc::Status::OK;
  int checks_ = 0;
  bool watched_ = false;
  bool stopped_ = false;
};

// Both services on a port of loopback; stops in its destructor.
class FakeServer {
 public:
  FakeServer() : FakeServer("127.0.0.1:0") {}
  // `address` may be "unix:path".
  explicit FakeServer(const std::string& address) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.SetMaxReceiveMessageSize(1 << 26);
    builder.RegisterService(&embedding);
    builder.RegisterService(&health);
    server_ = builder.BuildAndStart();
    address_ = address.starts_with("unix:") ? address : absl::StrCat("127.0.0.1:", port);
  }
  ~FakeServer() {
    embedding.Release();
    health.Stop();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  const std::string& address() const { return address_; }

  FakeEmbedding embedding;
  FakeHealth health;

 private:
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace pixembed::client

#endif  // PIXEMBED_TESTS_CLIENT_FAKE_SERVICE_H_
