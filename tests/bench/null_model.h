// A model that costs next to nothing: the vector of an image is the mean of its pixels, 768 times.
// What a benchmark measures with it is everything else.
#ifndef PIXEMBED_TESTS_BENCH_NULL_MODEL_H_
#define PIXEMBED_TESTS_BENCH_NULL_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

constexpr int kNullDimension = 768;

inline Embedding MeanOfPixels(const Image& image, const OutputSpec& spec) {
  const std::span<const std::uint8_t> pixels = image.pixels();
  const auto sum = std::accumulate(pixels.begin(), pixels.end(), std::uint64_t{0});
  const std::vector<float> vector(
      static_cast<std::size_t>(kNullDimension),
      static_cast<float>(static_cast<double>(sum) / static_cast<double>(pixels.size())));
  Embedding embedding;
  embedding.data_type = spec.data_type;
  embedding.dimensions = kNullDimension;
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
  explicit NullModel(Size input = {224, 224}) {
    info_.model_type = "null";
    info_.processor_type = "ViTImageProcessor";
    info_.preprocess.resize = ResizeTarget{.exact = input};
    info_.input = input;
    info_.tokens = 1;
    info_.dimension = kNullDimension;
    info_.kernels = "none";
  }
  const ModelInfo& info() const override { return info_; }
  std::string Fingerprint(const VectorSpace& /*space*/) const override {
    return std::string(64, '0');
  }
  absl::Status CheckOutput(const OutputSpec& /*spec*/) const override { return absl::OkStatus(); }
  std::span<const Device> devices() const override { return devices_; }
  absl::StatusOr<std::unique_ptr<Runner>> NewRunner(const Device& /*device*/) const override {
    return std::make_unique<NullRunner>();
  }

 private:
  ModelInfo info_;
  std::vector<Device> devices_ = {Device{}};
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_BENCH_NULL_MODEL_H_
