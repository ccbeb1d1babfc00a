#include "src/model/families/clip.h"

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/clip/modeling_clip.py.
namespace pixembed {

Architecture ReadTowerArchitecture(const FamilyInput& input, const ArchitectureDefaults& defaults) {
  ConfigReader config(input.config, input.weights);
  Architecture architecture = ReadArchitecture(config, defaults);
  architecture.intermediate = ReadIntermediate(config, defaults);
  if (architecture.image.height != architecture.image.width ||
      architecture.patch.height != architecture.patch.width) {
    config.Refuse(Reason::kUnsupportedModel,
                  absl::StrCat("image_size ", SizeText(architecture.image), " and patch_size ",
                               SizeText(architecture.patch), " must be squares in this family"));
  }
  return architecture;
}

WeightScope TowerRoot(const FamilyInput& input) {
  constexpr std::array<std::string_view, 2> kPrefixes = {"vision_model.", ""};
  return input.weights.Root(kPrefixes, "embeddings.patch_embedding.weight");
}

Block ReadTowerBlock(const WeightScope& scope, const Architecture& architecture) {
  const std::int64_t width = architecture.width;
  const WeightScope projections = scope.At("self_attn");
  const WeightScope mlp = scope.At("mlp");
  Block block;
  block.norm1 = ReadLayerNorm(scope.At("layer_norm1"), width, architecture.epsilon);
  block.attention.heads = architecture.heads;
  block.attention.head_dim = architecture.head_dim;
  block.attention.qkv =
      ReadLinears(projections, {{"q_proj"}, {"k_proj"}, {"v_proj"}}, width, width);
  block.attention.output = ReadLinear(projections.At("out_proj"), width, width);
  block.norm2 = ReadLayerNorm(scope.At("layer_norm2"), width, architecture.epsilon);
  block.mlp.up = ReadLinear(mlp.At("fc1"), width, architecture.intermediate);
  block.mlp.down = ReadLinear(mlp.At("fc2"), architecture.intermediate, width);
  block.mlp.activation = architecture.activation;
  return block;
}

std::unique_ptr<Network> BuildClip(const FamilyInput& input) {
  const Architecture architecture =
      ReadTowerArchitecture(input, {.patch = 32, .epsilon = 1e-5, .activation = "quick_gelu"});
  RequireTrainedSize(input, architecture);

  const std::int64_t width = architecture.width;
  const std::int64_t patches = Count(Grid(architecture.image, architecture.patch));
  const WeightScope root = TowerRoot(input);
  const WeightScope embeddings = root.At("embeddings");

  TransformerParts parts;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embedding"), width,
                                         architecture.patch, /*bias=*/false);
  const at::Tensor cls = embeddings.GetOnCpu("class_embedding", {width});
  const at::Tensor positions =
      embeddings.GetOnCpu("position_embedding.weight", {1 + patches, width});
  // [sic]: the name is misspelt in every file.
  parts.norm_before = ReadLayerNorm(root.At("pre_layrnorm"), width, architecture.epsilon);
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadTowerBlock(root.At("encoder.layers", i), architecture));
  }
  // The last hidden state is the one before post_layernorm, which only the pooled output passes.
  if (!input.weights.ok()) return nullptr;

  parts.leading_tokens = input.weights.Place(cls.add(positions[0]).unsqueeze(0));
  parts.patch_positions = input.weights.Place(positions.narrow(0, 1, patches));
  return std::make_unique<VisionTransformer>(
      NetworkInfo{.patch = architecture.patch,
                  .tokens = static_cast<int>(1 + patches),
                  .dimension = static_cast<int>(width),
                  .has_cls = true,
                  .architecture = absl::StrCat("clip ", ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace pixembed
