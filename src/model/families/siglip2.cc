#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/clip.h"
#include "src/model/layers.h"
#include "src/model/linear.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/position_map.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// SigLIP 2 for images that keep their aspect ratio (NaFlex). Its checkpoints for images of one size
// are of the family siglip.
// Source: transformers 5.23.0 models/siglip2/modeling_siglip2.py.
namespace pixembed {
namespace {

constexpr std::int64_t kMaxPositions = 1 << 20;

// The side of the square of trained positions.
std::int64_t ReadPositionSide(const FamilyInput& input) {
  ConfigReader config(input.config, input.weights);
  const std::int64_t positions = config.Int("num_patches", 256, 1, kMaxPositions);
  const auto side = static_cast<std::int64_t>(std::sqrt(static_cast<double>(positions)));
  if (side * side != positions) {
    config.Refuse(Reason::kUnsupportedModel,
                  absl::StrCat("num_patches ", positions, " is no square: between ", side * side,
                               " and ", (side + 1) * (side + 1), " there is none"));
  }
  return side;
}

// The weight of the patches' Linear, whose inputs are in the order (y, x, channel), in the order of
// PatchBatch::patches.
at::Tensor InOrderOfPatches(const at::Tensor& weight, Size patch) {
  return weight.view({weight.size(0), patch.height, patch.width, 3})
      .permute({0, 3, 1, 2})
      .reshape({weight.size(0), -1});
}

}  // namespace

std::unique_ptr<Network> BuildSiglip2(const FamilyInput& input) {
  Architecture architecture = ReadTowerArchitecture(
      input, {.patch = 16, .epsilon = 1e-6, .activation = "gelu_pytorch_tanh"});
  const std::int64_t width = architecture.width;
  const Size patch = architecture.patch;
  const std::int64_t side = ReadPositionSide(input);
  // The configuration has no "image_size".
  architecture.image = {static_cast<int>(side * patch.height),
                        static_cast<int>(side * patch.width)};
  const PatchBudget budget = input.patches.value_or(PatchBudget{});
  if (budget.patch != patch.height) {
    input.weights.Fail(MakeError(Reason::kUnsupportedProcessor,
                                 absl::StrCat("the processor's patch_size is ", budget.patch,
                                              ", the model's is ", patch.height)));
  }

  const WeightScope root = TowerRoot(input);
  const WeightScope embeddings = root.At("embeddings");
  const WeightScope projection = embeddings.At("patch_embedding");
  const std::int64_t values = std::int64_t{3} * patch.height * patch.width;
  const at::Tensor projection_weight = projection.GetOnCpu("weight", {width, values});
  const at::Tensor projection_bias = projection.GetOnCpu("bias", {width});
  const at::Tensor positions =
      embeddings.GetOnCpu("position_embedding.weight", {side * side, width});
  TransformerParts parts;
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadTowerBlock(root.At("encoder.layers", i), architecture));
  }
  parts.norm_after = ReadLayerNorm(root.At("post_layernorm"), width, architecture.epsilon);
  if (!input.weights.ok()) return nullptr;

  parts.projection =
      PlaceProjection(input.weights, InOrderOfPatches(projection_weight, patch), projection_bias);
  // A copy: nothing of a model stays in its file's mapping.
  parts.position_map = std::make_unique<const PositionMap>(
      positions.clone().view({side, side, width}).permute({2, 0, 1}).unsqueeze(0),
      input.weights.device());
  return std::make_unique<VisionTransformer>(
      NetworkInfo{.patch = patch,
                  .tokens = budget.max_patches,
                  .dimension = static_cast<int>(width),
                  .has_cls = false,
                  .max_patches = budget.max_patches,
                  .architecture = absl::StrCat("siglip2 ", ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace pixembed
