// Every family as a GPU runs it in bfloat16, with what a GPU does in kernels of ours done by
// LibTorch on the CPU: the rest of that path, against the reference.
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "src/model/families.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/runner.h"
#include "src/model/weights.h"
#include "tests/golden/golden.h"
#include "tests/golden/golden_images.h"
#include "tests/model/fake_cuda_module.h"
#include "tests/model/fake_graphs.h"
#include "tests/model/fake_kernels.h"

namespace pixembed {
namespace {

constexpr double kCosine = 0.999;
// Attention at the largest scale there is, whose softmax amplifies what a product rounds: as in
// embeddings_golden_test.
constexpr double kSharpCosine = 0.99;
constexpr char kSharpAttention[] = "swinv2_scale_clamped";

// The mean of each image, the reference's.
TEST(DeviceKernelsGolden, EveryFamilyHasTheReferencesDirection) {
  InitializeRuntime();
  const c10::InferenceMode inference;
  FakeGraphLog graphs;
  const FakeCudaModule module(&graphs);
  int models = 0;
  int fused = 0;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenPath("embeddings"))) {
    if (!std::filesystem::exists(entry.path() / "model.safetensors")) continue;
    const std::string name = entry.path().filename().string();
    SCOPED_TRACE(name);
    const auto checkpoint = OpenCheckpoint(entry.path(), {});
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const FakeKernels kernels;
    const PreprocessSpec& spec = checkpoint->processor.spec;
    const Weights expected = GoldenTensors("embeddings/" + name + "/expected.safetensors");
    const std::vector<Image> images = GoldenImages(expected, spec);
    ASSERT_FALSE(images.empty());
    WeightReader weights(checkpoint->weights, c10::kCPU, {.precision = Precision::kBFloat16},
                         /*switches=*/nullptr, &kernels);
    const Size input = FixedOutputSize(spec).value_or(
        Size{.height = images.front().height(), .width = images.front().width()});
    auto network = BuildNetwork(*checkpoint, input, weights);
    ASSERT_TRUE(network.ok()) << network.status();
    auto runner = NewCudaRunner(
        module, {*std::move(network), std::make_shared<const PixelTable>(spec)}, 0, {});
    ASSERT_TRUE(runner.ok()) << runner.status();

    std::vector<const Image*> batch;
    batch.reserve(images.size());
    for (const Image& image : images) batch.push_back(&image);
    const std::vector<OutputSpec> specs(batch.size());
    const auto embeddings = (*runner)->Embed(batch, specs, /*threads=*/1);
    ASSERT_TRUE(embeddings.ok()) << embeddings.status();
    const auto means = GoldenRows<float>(expected, "mean");
    ASSERT_EQ(means.size(), embeddings->size());
    for (std::size_t i = 0; i < means.size(); ++i) {
      EXPECT_GE(CosineSimilarity(FloatValues((*embeddings)[i]), means[i]),
                name == kSharpAttention ? kSharpCosine : kCosine)
          << "image " << i;
    }
    EXPECT_GT(kernels.multiplied, 0);
    ++models;
    fused += kernels.added > 0 ? 1 : 0;
  }
  EXPECT_GT(models, 20);
  // Windowed transformers and Hiera, a fifth of the models, add up their branches by themselves.
  EXPECT_GT(fused, models * 3 / 4);
}

}  // namespace
}  // namespace pixembed
