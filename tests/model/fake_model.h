// A model without LibTorch, for tests of what stands around one: its vector is the mean of the
// pixels, its batches can be held, made to fail, and counted.
//
//   auto model = std::make_shared<FakeModel>();
//   model->Hold();                    // batches that begin from now on wait...
//   ... submit ...
//   model->AwaitHeld(1);              // ...and the test waits until one has begun
//   model->LetGo();                   // all of them, and those to come, go on
//   model->FailNext(MakeError(Reason::kDeviceFailure, "no"));
//
// What an image's vector will be: FakeModel::VectorOf(image); for each of OutputSpec::layers its
// index plus 1, times 1000, is added to the first number.
#ifndef PIXEMBED_TESTS_MODEL_FAKE_MODEL_H_
#define PIXEMBED_TESTS_MODEL_FAKE_MODEL_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// Holds threads that pass through it until they are let go. Thread-safe.
class Gate {
 public:
  // Threads that come from now on wait.
  void Hold() {
    const std::lock_guard lock(mutex_);
    holding_ = true;
  }
  // All that wait go on, and those that come later pass.
  void LetGo() {
    const std::lock_guard lock(mutex_);
    holding_ = false;
    changed_.notify_all();
  }
  // One that waits, or the next to come, goes on.
  void LetGoOne() {
    const std::lock_guard lock(mutex_);
    ++passes_;
    changed_.notify_all();
  }
  // Blocks until `count` threads wait in the gate, those that may go not counted.
  void AwaitHeld(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ - passes_ >= count; });
  }

  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !holding_ || passes_ > 0; });
    if (holding_) --passes_;
    --waiting_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool holding_ = false;
  int passes_ = 0;
  int waiting_ = 0;
};

struct FakeModelOptions {
  Size input = {8, 8};
  // The vector repeats the means of red, green and blue.
  int dimension = 3;
  std::string fingerprint_seed = "fake";
  std::vector<Device> devices = {Device{}};
  bool deterministic = false;
  bool one_by_one = false;
  int best_batch_size = 4;
  Precision precision = Precision::kFloat32;
  double precision_min_cosine = 1.0;
  // The model takes images of many sizes instead, and has MASKED_MEAN pooling.
  std::optional<PatchBudget> patches = std::nullopt;
};

// Answers FLOAT32, BFLOAT16 and INT8; refuses FLOAT16 and BINARY, and CLS pooling. Thread-safe.
class FakeModel : public Model {
 public:
  // One call of Runner::Embed. Warm-up calls are recorded as well.
  struct Call {
    std::vector<float> first_means;  // of each image: its red mean, which names it in tests
    int threads = 0;
  };

  explicit FakeModel(FakeModelOptions options = {}) : options_(std::move(options)) {
    info_.model_type = "fake";
    info_.processor_type = "FakeImageProcessor";
    info_.preprocess.resize = ResizeTarget{.exact = options_.input};
    info_.input = options_.input;
    if (options_.patches.has_value()) {
      info_.preprocess.resize = ResizeTarget{.exact = std::nullopt, .patches = options_.patches};
      info_.input = LargestSquare(*options_.patches);
      info_.max_patches = options_.patches->max_patches;
    }
    info_.tokens = 1;
    info_.hidden_states = 3;
    info_.dimension = options_.dimension;
    info_.parameters = 1;
    info_.precision = options_.precision;
    info_.precision_min_cosine = options_.precision_min_cosine;
    info_.kernels = "none";
    info_.deterministic = options_.deterministic;
    info_.one_by_one = options_.one_by_one;
    info_.best_batch_size = options_.best_batch_size;
  }

  const ModelInfo& info() const override { return info_; }

  std::string Fingerprint(const VectorSpace& space) const override {
    // 64 hexadecimal digits, different for each seed and space.
    std::string text = options_.fingerprint_seed + std::string(PoolingName(space.pooling));
    for (const int layer : space.layers) text += "," + std::to_string(layer);
    if (space.policy.apply_exif_orientation) text += " upright";
    if (space.policy.background.has_value()) {
      text += " on " + std::to_string(space.policy.background->red);
    }
    std::uint64_t hash = 14695981039346656037U;
    std::string digits;
    while (digits.size() < 64) {
      for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211U;
      digits.push_back("0123456789abcdef"[hash >> 60]);
    }
    return digits;
  }

  absl::Status CheckOutput(const OutputSpec& spec) const override {
    const bool masked = spec.pooling == Pooling::kMaskedMean;
    if (spec.pooling == Pooling::kCls || (masked && info_.max_patches == 0)) {
      return MakeError(
          Reason::kInvalidOption,
          "pooling is " + std::string(PoolingName(spec.pooling)) + "; the fake has mean and max");
    }
    if (spec.dimensions < 0 || spec.dimensions > info_.dimension) {
      return MakeError(Reason::kInvalidOption, "dimensions is " + std::to_string(spec.dimensions) +
                                                   "; the fake has " +
                                                   std::to_string(info_.dimension));
    }
    if (spec.data_type == DataType::kFloat16 || spec.data_type == DataType::kBinary) {
      return MakeError(Reason::kInvalidOption, "data_type is not one that the fake answers");
    }
    return absl::OkStatus();
  }

  std::span<const Device> devices() const override { return options_.devices; }

  absl::StatusOr<std::unique_ptr<Runner>> NewRunner(const Device& /*device*/) const override {
    const std::lock_guard lock(mutex_);
    ++runners_made_;
    if (!runner_status_.ok()) return runner_status_;
    return std::make_unique<FakeRunner>(this);
  }

  // The vector of an image, before truncation.
  std::vector<float> VectorOf(const Image& image) const {
    std::array<double, 3> sums{};
    const std::span<const std::uint8_t> pixels = image.pixels();
    for (std::size_t i = 0; i < pixels.size(); ++i) sums[i % 3] += pixels[i];
    std::vector<float> vector;
    for (int i = 0; i < info_.dimension; ++i) {
      vector.push_back(static_cast<float>(sums[static_cast<std::size_t>(i) % 3] /
                                          (static_cast<double>(pixels.size()) / 3)));
    }
    return vector;
  }

  // Batches that begin from now on wait, counted neither as done nor as failed.
  void Hold() const { gate_.Hold(); }
  void LetGo() const { gate_.LetGo(); }
  void LetGoOne() const { gate_.LetGoOne(); }
  // Blocks until so many batches wait.
  void AwaitHeld(int batches) const { gate_.AwaitHeld(batches); }

  // The next batch fails as a whole. May be called several times, for several batches.
  void FailNext(absl::Status status) const {
    const std::lock_guard lock(mutex_);
    failures_.push_back(std::move(status));
  }
  // Batches of more images fail with OUT_OF_MEMORY.
  void LimitMemoryTo(std::size_t images) const {
    const std::lock_guard lock(mutex_);
    memory_images_ = images;
  }
  // The vectors of images with this red mean are not finite (0: those of the warm-up).
  void SpoilVectorsOf(float first_mean) const {
    const std::lock_guard lock(mutex_);
    spoiled_mean_ = first_mean;
  }
  // Runners cannot be made.
  void FailRunners(absl::Status status) const {
    const std::lock_guard lock(mutex_);
    runner_status_ = std::move(status);
  }

  // Every call so far, in the order of their beginning.
  std::vector<Call> calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  // Images of each call so far.
  std::vector<std::size_t> batch_sizes() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::size_t> sizes;
    for (const Call& call : calls_) sizes.push_back(call.first_means.size());
    return sizes;
  }
  // The largest sum of `threads` over calls that ran at the same time.
  int max_threads_at_once() const {
    const std::lock_guard lock(mutex_);
    return max_threads_;
  }
  int runners_made() const {
    const std::lock_guard lock(mutex_);
    return runners_made_;
  }
  int runners_alive() const {
    const std::lock_guard lock(mutex_);
    return runners_alive_;
  }

 private:
  class FakeRunner : public Runner {
   public:
    // REQUIRES: the model's mutex is held.
    explicit FakeRunner(const FakeModel* model) : model_(*model) { ++model_.runners_alive_; }
    ~FakeRunner() override {
      const std::lock_guard lock(model_.mutex_);
      --model_.runners_alive_;
    }
    absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                                 std::span<const OutputSpec> specs,
                                                 int threads) override {
      return model_.Embed(images, specs, threads);
    }

   private:
    const FakeModel& model_;
  };

  absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                               std::span<const OutputSpec> specs,
                                               int threads) const {
    Call call;
    call.threads = threads;
    std::vector<Embedding> embeddings;
    for (std::size_t i = 0; i < images.size(); ++i) {
      std::vector<float> vector = VectorOf(*images[i]);
      call.first_means.push_back(vector.at(0));
      for (const int layer : specs[i].layers)
        vector.at(0) += 1000.0F * static_cast<float>(layer + 1);
      embeddings.push_back(Convert(std::move(vector), specs[i]));
      embeddings.back().finite = !IsSpoiled(call.first_means.back());
    }
    const absl::Status status = Begin(std::move(call));
    gate_.Pass();
    End(threads);
    if (!status.ok()) return status;
    return embeddings;
  }

  bool IsSpoiled(float first_mean) const {
    const std::lock_guard lock(mutex_);
    return spoiled_mean_ == first_mean;
  }

  absl::Status Begin(Call call) const {
    const std::lock_guard lock(mutex_);
    threads_ += call.threads;
    max_threads_ = std::max(max_threads_, threads_);
    const std::size_t images = call.first_means.size();
    calls_.push_back(std::move(call));
    if (!failures_.empty()) {
      absl::Status status = std::move(failures_.front());
      failures_.pop_front();
      return status;
    }
    if (images > memory_images_) {
      return MakeError(Reason::kOutOfMemory, "the fake holds " + std::to_string(memory_images_) +
                                                 " images, not " + std::to_string(images));
    }
    return absl::OkStatus();
  }

  void End(int threads) const {
    const std::lock_guard lock(mutex_);
    threads_ -= threads;
  }

  static Embedding Convert(std::vector<float> vector, const OutputSpec& spec) {
    if (spec.dimensions > 0) vector.resize(static_cast<std::size_t>(spec.dimensions));
    if (spec.normalize) {
      const double norm =
          std::sqrt(std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0));
      for (float& value : vector) {
        if (norm > 0) value = static_cast<float>(value / norm);
      }
    }
    Embedding embedding;
    embedding.data_type = spec.data_type;
    embedding.dimensions = static_cast<int>(vector.size());
    float largest = 0;
    for (const float value : vector) largest = std::max(largest, std::abs(value));
    if (spec.data_type == DataType::kInt8) embedding.scale = largest > 0 ? largest / 127 : 1.0F;
    for (const float value : vector) {
      std::array<char, sizeof(float)> bytes{};
      std::memcpy(bytes.data(), &value, sizeof(float));
      switch (spec.data_type) {
        case DataType::kInt8:
          embedding.values.push_back(static_cast<char>(std::lround(value / embedding.scale)));
          break;
        case DataType::kBFloat16:
          embedding.values.append(bytes.data() + 2, 2);
          break;
        default:
          embedding.values.append(bytes.data(), bytes.size());
      }
    }
    return embedding;
  }

  const FakeModelOptions options_;
  ModelInfo info_;
  mutable Gate gate_;

  mutable std::mutex mutex_;
  // All below are guarded by mutex_.
  mutable std::vector<Call> calls_;
  mutable std::deque<absl::Status> failures_;
  mutable absl::Status runner_status_;
  mutable std::size_t memory_images_ = SIZE_MAX;
  mutable std::optional<float> spoiled_mean_;
  mutable int threads_ = 0;
  mutable int max_threads_ = 0;
  mutable int runners_made_ = 0;
  mutable int runners_alive_ = 0;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_FAKE_MODEL_H_
