#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "src/image/image.h"
#include "src/model/activation.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/positions.h"
#include "src/model/families/vit.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/dinov2/modeling_dinov2.py,
// models/dinov2_with_registers/modeling_dinov2_with_registers.py; the keys are those in files
// (conversion_mapping.py "Dinov2Model").
namespace pixembed {
namespace {

// In what the two families differ.
struct Variant {
  std::string_view prefix;  // of the keys in files of head models
  bool registers;           // has register tokens, and interpolates positions with antialias
  int patch;                // the default
};

constexpr std::int64_t kMaxRegisters = 1'024;
constexpr std::int64_t kMaxMlpRatio = 64;

// SwiGLU keeps two thirds of the width, rounded up to a multiple of 8.
std::int64_t SwigluWidth(std::int64_t width) { return (width * 2 / 3 + 7) / 8 * 8; }

Mlp ReadMlp(const WeightScope& scope, const Architecture& architecture, bool swiglu) {
  const std::int64_t width = architecture.width;
  const std::int64_t inner = architecture.intermediate;
  if (swiglu) {
    return {.up = ReadLinear(scope.At("weights_in"), width, 2 * inner),
            .down = ReadLinear(scope.At("weights_out"), inner, width),
            .activation = Activation::kSilu,
            .gated = true};
  }
  return {.up = ReadLinear(scope.At("fc1"), width, inner),
          .down = ReadLinear(scope.At("fc2"), inner, width),
          .activation = architecture.activation};
}

Block ReadBlock(const WeightScope& scope, const Architecture& architecture, bool swiglu) {
  const std::int64_t width = architecture.width;
  return {.norm1 = ReadLayerNorm(scope.At("norm1"), width, architecture.epsilon),
          .attention = ReadVitAttention(scope.At("attention"), architecture),
          .scale1 = scope.Get("layer_scale1.lambda1", {width}),
          .norm2 = ReadLayerNorm(scope.At("norm2"), width, architecture.epsilon),
          .mlp = ReadMlp(scope.At("mlp"), architecture, swiglu),
          .scale2 = scope.Get("layer_scale2.lambda1", {width})};
}

std::unique_ptr<Network> Build(const FamilyInput& input, const Variant& variant) {
  ConfigReader config(input.config, input.weights);
  Architecture architecture = ReadArchitecture(config, {.patch = variant.patch, .epsilon = 1e-6});
  const bool swiglu = config.Bool("use_swiglu_ffn", false);
  architecture.intermediate = architecture.width * config.Int("mlp_ratio", 4, 1, kMaxMlpRatio);
  if (swiglu) architecture.intermediate = SwigluWidth(architecture.intermediate);
  architecture.qkv_bias = config.Bool("qkv_bias", true);
  const std::int64_t registers =
      variant.registers ? config.Int("num_register_tokens", 4, 0, kMaxRegisters) : 0;
  RequireWholePatch(input, architecture);
  RequireInterpolablePositions(input, architecture);

  const std::int64_t width = architecture.width;
  const std::int64_t trained = Count(Grid(architecture.image, architecture.patch));
  const Size grid = Grid(input.input, architecture.patch);
  const std::array<std::string_view, 2> prefixes = {variant.prefix, ""};
  const WeightScope root =
      input.weights.Root(prefixes, "embeddings.patch_embeddings.projection.weight");
  const WeightScope embeddings = root.At("embeddings");

  TransformerParts parts;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embeddings.projection"), width,
                                         architecture.patch, /*bias=*/true);
  const at::Tensor cls = embeddings.GetOnCpu("cls_token", {1, 1, width});
  const at::Tensor register_tokens =
      variant.registers ? embeddings.GetOnCpu("register_tokens", {1, registers, width})
                        : at::Tensor();
  const at::Tensor positions = embeddings.GetOnCpu("position_embeddings", {1, 1 + trained, width});
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadBlock(root.At("encoder.layer", i), architecture, swiglu));
  }
  parts.norm_after = ReadLayerNorm(root.At("layernorm"), width, architecture.epsilon);
  if (!input.weights.ok()) return nullptr;

  // Registers have no position: they are inserted after positions are added.
  at::Tensor leading = cls[0].add(positions[0].narrow(0, 0, 1));
  if (variant.registers) leading = at::cat({leading, register_tokens[0]});
  parts.leading_tokens = input.weights.Place(leading);
  parts.patch_positions = input.weights.Place(InterpolatePositions(
      positions.narrow(1, 1, trained), input, architecture, variant.registers));
  return std::make_unique<VisionTransformer>(
      NetworkInfo{.patch = architecture.patch,
                  .tokens = static_cast<int>(1 + registers + Count(grid)),
                  .dimension = static_cast<int>(width),
                  .has_cls = true,
                  .architecture = absl::StrCat("registers=", registers, " swiglu=", swiglu,
                                               " antialias=", variant.registers, " ",
                                               ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace

std::unique_ptr<Network> BuildDinov2(const FamilyInput& input) {
  return Build(input, {.prefix = "dinov2.", .registers = false, .patch = 14});
}

std::unique_ptr<Network> BuildDinov2WithRegisters(const FamilyInput& input) {
  return Build(input, {.prefix = "dinov2_with_registers.", .registers = true, .patch = 16});
}

}  // namespace pixembed
