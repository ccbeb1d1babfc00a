// The same bits whatever the batch, the runner and the number of threads, for every model that
// make_embeddings.py writes: where the model says so of itself (of weights, on a CPU with AVX2),
// and under --deterministic.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "tests/golden/golden.h"
#include "tests/golden/golden_images.h"

namespace pixembed {
namespace {

constexpr int kRunners = 2;  // on a thread each, at the same time
constexpr int kBatches = 6;  // of each runner
constexpr std::size_t kMaxBatch = 6;
constexpr int kMaxThreads = 4;

std::unique_ptr<Runner> NewRunner(const Model& model) {
  absl::StatusOr<std::unique_ptr<Runner>> runner = model.NewRunner(Device{});
  EXPECT_TRUE(runner.ok()) << runner.status();
  return runner.ok() ? *std::move(runner) : nullptr;
}

std::vector<std::string> BitsOf(Runner& runner, const std::vector<const Image*>& batch,
                                int threads) {
  const std::vector<OutputSpec> specs(batch.size());
  const auto embeddings = runner.Embed(batch, specs, threads);
  EXPECT_TRUE(embeddings.ok()) << embeddings.status();
  std::vector<std::string> bits;
  if (!embeddings.ok()) return bits;
  for (const Embedding& embedding : *embeddings) bits.push_back(embedding.values);
  return bits;
}

// Random batches on one runner; how many vectors had other bits than when the image was alone.
int RunMixes(const Model& model, const std::vector<Image>& images,
             const std::vector<std::string>& alone, unsigned int seed) {
  std::mt19937 random(seed);
  const std::unique_ptr<Runner> runner = NewRunner(model);
  int different = 0;
  for (int i = 0; i < kBatches; ++i) {
    const std::size_t size = 1 + random() % kMaxBatch;
    const int threads = 1 + static_cast<int>(random() % kMaxThreads);
    std::vector<std::size_t> chosen(size);
    std::vector<const Image*> batch;
    for (std::size_t& index : chosen) {
      index = random() % images.size();
      batch.push_back(&images[index]);
    }
    const std::vector<std::string> bits = BitsOf(*runner, batch, threads);
    for (std::size_t k = 0; k < bits.size(); ++k) different += bits[k] != alone[chosen[k]] ? 1 : 0;
  }
  return different;
}

// Vectors that depended on the batch, the runner or the threads. Nothing: the model does not say
// that none does.
std::optional<int> CountDifferences(const std::filesystem::path& directory, const Weights& expected,
                                    bool deterministic, Precision precision = Precision::kFloat32) {
  const auto model = LoadModel(directory, {.trust_model_code = true,
                                           .deterministic = deterministic,
                                           .precision = precision,
                                           .precision_min_cosine = 0.0});
  if (ReasonOf(model.status()) == Reason::kUnsupportedPrecision) return std::nullopt;
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return -1;
  if (!(*model)->info().deterministic) return std::nullopt;
  const std::vector<Image> images = GoldenImages(expected, (*model)->info().preprocess);
  EXPECT_FALSE(images.empty());
  if (images.empty()) return -1;
  std::vector<std::string> alone;
  {
    const std::unique_ptr<Runner> runner = NewRunner(**model);
    for (const Image& image : images) alone.push_back(BitsOf(*runner, {&image}, 1).front());
  }
  std::vector<int> different(kRunners);
  {
    std::vector<std::jthread> threads;
    threads.reserve(kRunners);
    for (int i = 0; i < kRunners; ++i) {
      threads.emplace_back([&, i] {
        different[static_cast<std::size_t>(i)] =
            RunMixes(**model, images, alone, static_cast<unsigned int>(i));
      });
    }
  }
  return different[0] + different[1];
}

TEST(DeterministicGolden, TinyModelsGiveTheSameBitsInEveryBatchOnEveryRunner) {
  InitializeRuntime();
  int models = 0;
  int by_themselves = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenPath("embeddings"))) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    const std::string name = entry.path().filename().string();
    const Weights expected = GoldenTensors("embeddings/" + name + "/expected.safetensors");
    ++models;
    const std::optional<int> differences = CountDifferences(entry.path(), expected, false);
    EXPECT_EQ(differences.value_or(0), 0) << name;
    for (const Precision precision : {Precision::kInt16, Precision::kInt8, Precision::kBFloat16}) {
      EXPECT_EQ(CountDifferences(entry.path(), expected, false, precision).value_or(0), 0)
          << name << " in " << PrecisionName(precision);
    }
    if (differences.has_value()) {
      ++by_themselves;
    } else {
      EXPECT_EQ(CountDifferences(entry.path(), expected, true), 0) << name;
    }
  }
  EXPECT_GT(models, 20);
  // The rest are programs.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    EXPECT_GT(by_themselves, models - 10);
  }
}

TEST(DeterministicGolden, TheRealModelGivesTheSameBitsInEveryBatchOnEveryRunner) {
  InitializeRuntime();
  const std::string directory = GoldenBytes("embeddings/dinov2-s14/directory");
  const Weights expected = GoldenTensors("embeddings/dinov2-s14/expected.safetensors");
  EXPECT_EQ(CountDifferences(directory, expected, false).value_or(0), 0);
  for (const Precision precision : {Precision::kInt16, Precision::kInt8, Precision::kBFloat16}) {
    EXPECT_EQ(CountDifferences(directory, expected, false, precision).value_or(0), 0)
        << PrecisionName(precision);
  }
  EXPECT_EQ(CountDifferences(directory, expected, true), 0);
}

}  // namespace
}  // namespace pixembed
