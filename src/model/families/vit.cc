#include "src/model/families/vit.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

namespace pixembed {

Attention ReadVitAttention(const WeightScope& scope, const Architecture& architecture) {
  const std::int64_t inner = architecture.attention_width();
  Attention attention;
  attention.heads = architecture.heads;
  attention.head_dim = architecture.head_dim;
  attention.qkv = ReadLinears(scope.At("attention"),
                              {{"query", architecture.qkv_bias},
                               {"key", architecture.qkv_bias && architecture.key_bias},
                               {"value", architecture.qkv_bias}},
                              architecture.width, inner);
  attention.output = ReadLinear(scope.At("output.dense"), inner, architecture.width);
  return attention;
}

Block ReadVitBlock(const WeightScope& scope, const Architecture& architecture) {
  const std::int64_t width = architecture.width;
  Block block;
  block.norm1 = ReadLayerNorm(scope.At("layernorm_before"), width, architecture.epsilon);
  block.attention = ReadVitAttention(scope.At("attention"), architecture);
  block.norm2 = ReadLayerNorm(scope.At("layernorm_after"), width, architecture.epsilon);
  block.mlp.up = ReadLinear(scope.At("intermediate.dense"), width, architecture.intermediate);
  block.mlp.down = ReadLinear(scope.At("output.dense"), architecture.intermediate, width);
  block.mlp.activation = architecture.activation;
  return block;
}

std::unique_ptr<Network> BuildVitVariant(const FamilyInput& input, const VitVariant& variant) {
  ConfigReader config(input.config, input.weights);
  Architecture architecture = ReadArchitecture(config, {.epsilon = variant.epsilon});
  architecture.intermediate = ReadIntermediate(config);
  architecture.qkv_bias = config.Bool("qkv_bias", true);
  RequireTrainedSize(input, architecture);

  const std::int64_t width = architecture.width;
  const std::int64_t patches = Count(Grid(architecture.image, architecture.patch));
  const auto leading = static_cast<std::int64_t>(variant.tokens.size());
  const std::array<std::string_view, 2> prefixes = {variant.prefix, ""};
  const WeightScope root =
      input.weights.Root(prefixes, "embeddings.patch_embeddings.projection.weight");
  const WeightScope embeddings = root.At("embeddings");
  // ViTMSNForImageClassification saves its encoder, and nothing else, without the prefix.
  const WeightScope encoder =
      input.weights.Root(prefixes, "encoder.layer.0.layernorm_before.weight").At("encoder");

  TransformerParts parts;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embeddings.projection"), width,
                                         architecture.patch, /*bias=*/true);
  std::vector<at::Tensor> leading_tokens;
  for (const std::string_view name : variant.tokens) {
    leading_tokens.push_back(embeddings.GetOnCpu(name, {1, 1, width}));
  }
  const at::Tensor positions =
      embeddings.GetOnCpu("position_embeddings", {1, leading + patches, width});
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadVitBlock(encoder.At("layer", i), architecture));
  }
  parts.norm_after = ReadLayerNorm(root.At("layernorm"), width, architecture.epsilon);
  if (!input.weights.ok()) return nullptr;

  if (leading > 0) {
    parts.leading_tokens =
        input.weights.Place(at::cat(leading_tokens, 1)[0].add(positions[0].narrow(0, 0, leading)));
  }
  parts.patch_positions = input.weights.Place(positions[0].narrow(0, leading, patches));
  return std::make_unique<VisionTransformer>(
      NetworkInfo{
          .patch = architecture.patch,
          .tokens = static_cast<int>(leading + patches),
          .dimension = static_cast<int>(width),
          .has_cls = leading > 0,
          .architecture = absl::StrCat("leading=", leading, " ", ArchitectureText(architecture))},
      std::move(parts));
}

std::unique_ptr<Network> BuildVit(const FamilyInput& input) {
  constexpr std::array<std::string_view, 1> kTokens = {"cls_token"};
  return BuildVitVariant(input, {.prefix = "vit.", .tokens = kTokens});
}

}  // namespace pixembed
