// pixembed-server with a model that costs nothing: what remains is the cost of serving. The vector
// of an image is the mean of its pixels, 768 times. Prints "listening ADDRESS" and serves until
// SIGTERM or SIGINT.
//
// usage: null_server [ADDRESS]        default: 127.0.0.1:0
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/server.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

constexpr int kDimension = 768;
constexpr Size kInput = {224, 224};

Embedding MeanOfPixels(const Image& image, const OutputSpec& spec) {
  const std::span<const std::uint8_t> pixels = image.pixels();
  const auto sum = std::accumulate(pixels.begin(), pixels.end(), std::uint64_t{0});
  const std::vector<float> vector(
      static_cast<std::size_t>(kDimension),
      static_cast<float>(static_cast<double>(sum) / static_cast<double>(pixels.size())));
  Embedding embedding;
  embedding.data_type = spec.data_type;
  embedding.dimensions = kDimension;
  embedding.values.resize(vector.size() * sizeof(float));
  std::memcpy(embedding.values.data(), vector.data(), embedding.values.size());
  return embedding;
}

class NullRunner : public Runner {
 public:
  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int /*threads*/) override {
    std::vector<Embedding> embeddings;
    embeddings.reserve(images.size());
    for (std::size_t i = 0; i < images.size(); ++i) {
      embeddings.push_back(MeanOfPixels(*images[i], specs[i]));
    }
    return embeddings;
  }
};

class NullModel : public Model {
 public:
  NullModel() {
    info_.model_type = "null";
    info_.processor_type = "ViTImageProcessor";
    info_.preprocess.resize = ResizeTarget{.exact = kInput};
    info_.input = kInput;
    info_.tokens = 1;
    info_.dimension = kDimension;
    info_.precision = "float32";
    info_.kernels = "none";
  }
  const ModelInfo& info() const override { return info_; }
  std::string Fingerprint(Pooling /*pooling*/) const override { return std::string(64, '0'); }
  absl::Status CheckOutput(const OutputSpec& /*spec*/) const override { return absl::OkStatus(); }
  std::span<const Device> devices() const override { return devices_; }
  absl::StatusOr<std::unique_ptr<Runner>> NewRunner(const Device& /*device*/) const override {
    return std::make_unique<NullRunner>();
  }

 private:
  ModelInfo info_;
  std::vector<Device> devices_ = {Device{}};
};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "null_server: %s\n", status.ToString().c_str());
  return 1;
}

int Serve(const std::string& address) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread starts

  EngineOptions engine_options;
  engine_options.max_batch_size = 32;
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      Engine::Start({std::make_shared<NullModel>()}, engine_options);
  if (!engine.ok()) return Fail(engine.status());
  ServerOptions options;
  options.listen = {address};
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(**engine, {"null"}, options);
  if (!server.ok()) return Fail(server.status());
  std::printf("listening %s\n", (*server)->addresses().front().c_str());
  std::fflush(stdout);

  int signal = 0;
  sigwait(&signals, &signal);
  const absl::Status stopped =
      (*server)->Stop(std::chrono::steady_clock::now() + std::chrono::seconds(10));
  return stopped.ok() ? 0 : Fail(stopped);
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) { return pixembed::Serve(argc > 1 ? argv[1] : "127.0.0.1:0"); }
