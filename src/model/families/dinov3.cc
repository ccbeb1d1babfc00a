#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

#include <array>
#include <cstdint>
#include <memory>
#include <numbers>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/positions.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/rotary.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/dinov3_vit/modeling_dinov3_vit.py; the keys are those in files
// (conversion_mapping.py "dinov3_vit").
namespace pixembed {
namespace {

constexpr std::int64_t kMaxRegisters = 1'024;
constexpr double kMaxTheta = 1e12;

// What the configuration says besides the sizes.
struct Dinov3Options {
  bool query_bias;
  bool key_bias;
  bool value_bias;
  bool output_bias;
  bool mlp_bias;
  bool gated;
  double theta;
  std::int64_t registers;
};

Dinov3Options ReadOptions(ConfigReader& config) {
  return {.query_bias = config.Bool("query_bias", true),
          .key_bias = config.Bool("key_bias", false),
          .value_bias = config.Bool("value_bias", true),
          .output_bias = config.Bool("proj_bias", true),
          .mlp_bias = config.Bool("mlp_bias", true),
          .gated = config.Bool("use_gated_mlp", false),
          .theta = config.Double("rope_theta", 100.0, 1.0, kMaxTheta),
          .registers = config.Int("num_register_tokens", 0, 0, kMaxRegisters)};
}

// The centres of `count` patches between -1 and 1, times 2 pi.
at::Tensor Centres(int count) {
  return at::arange(0.5, count, 1.0, at::kFloat)
      .div(count)
      .mul(2.0)
      .sub(1.0)
      .mul(2.0 * std::numbers::pi);
}

at::Tensor Angles(Size grid, std::int64_t head_dim, double theta) {
  const at::Tensor exponents =
      at::arange(0.0, 1.0, 4.0 / static_cast<double>(head_dim), at::kFloat);
  return AxialAngles(Centres(grid.height), Centres(grid.width),
                     at::pow(at::Scalar(theta), exponents).reciprocal());
}

Mlp ReadMlp(const WeightScope& scope, const Architecture& architecture,
            const Dinov3Options& options) {
  const std::int64_t width = architecture.width;
  const std::int64_t inner = architecture.intermediate;
  Mlp mlp;
  mlp.up =
      options.gated
          ? ReadLinears(scope, {{"gate_proj", options.mlp_bias}, {"up_proj", options.mlp_bias}},
                        width, inner)
          : ReadLinear(scope.At("up_proj"), width, inner, options.mlp_bias);
  mlp.down = ReadLinear(scope.At("down_proj"), inner, width, options.mlp_bias);
  mlp.activation = architecture.activation;
  mlp.gated = options.gated;
  return mlp;
}

Block ReadBlock(const WeightScope& scope, const Architecture& architecture,
                const Dinov3Options& options, const Rotary& rotary) {
  const std::int64_t width = architecture.width;
  const WeightScope attention = scope.At("attention");
  Block block;
  block.norm1 = ReadLayerNorm(scope.At("norm1"), width, architecture.epsilon);
  block.attention.heads = architecture.heads;
  block.attention.head_dim = architecture.head_dim;
  block.attention.qkv = ReadLinears(attention,
                                    {{"q_proj", options.query_bias},
                                     {"k_proj", options.key_bias},
                                     {"v_proj", options.value_bias}},
                                    width, width);
  block.attention.output = ReadLinear(attention.At("o_proj"), width, width, options.output_bias);
  block.attention.rotary = rotary;
  block.scale1 = scope.Get("layer_scale1.lambda1", {width});
  block.norm2 = ReadLayerNorm(scope.At("norm2"), width, architecture.epsilon);
  block.mlp = ReadMlp(scope.At("mlp"), architecture, options);
  block.scale2 = scope.Get("layer_scale2.lambda1", {width});
  return block;
}

}  // namespace

std::unique_ptr<Network> BuildDinov3Vit(const FamilyInput& input) {
  constexpr ArchitectureDefaults kDefaults = {
      .width = 384, .heads = 6, .intermediate = 1'536, .epsilon = 1e-5};
  ConfigReader config(input.config, input.weights);
  Architecture architecture = ReadArchitecture(config, kDefaults);
  architecture.intermediate = ReadIntermediate(config, kDefaults);
  const Dinov3Options options = ReadOptions(config);
  RequireWholePatch(input, architecture);
  RequireAxialHeads(input, architecture);
  if (!input.weights.ok()) return nullptr;

  const std::int64_t width = architecture.width;
  const Size grid = Grid(input.input, architecture.patch);
  constexpr std::array<std::string_view, 1> kNoPrefix = {""};
  const WeightScope root = input.weights.Root(kNoPrefix, "norm.weight");
  const WeightScope embeddings = root.At("embeddings");

  TransformerParts parts;
  parts.projection =
      ReadPatchProjection(embeddings.At("patch_embeddings"), width, architecture.patch,
                          /*bias=*/true);
  at::Tensor leading = embeddings.GetOnCpu("cls_token", {1, 1, width});
  if (options.registers > 0) {
    const at::Tensor registers =
        embeddings.GetOnCpu("register_tokens", {1, options.registers, width});
    if (input.weights.ok()) leading = at::cat({leading, registers}, 1);
  }
  const Rotary rotary =
      MakeRotary(Angles(grid, architecture.head_dim, options.theta), input.weights);
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadBlock(root.At("layer", i), architecture, options, rotary));
  }
  parts.norm_after = ReadLayerNorm(root.At("norm"), width, architecture.epsilon);
  if (!input.weights.ok()) return nullptr;

  parts.leading_tokens = input.weights.Place(leading[0]);
  return std::make_unique<VisionTransformer>(
      NetworkInfo{.patch = architecture.patch,
                  .tokens = static_cast<int>(1 + options.registers + Count(grid)),
                  .dimension = static_cast<int>(width),
                  .has_cls = true,
                  .architecture = absl::StrCat("dinov3_vit registers=", options.registers,
                                               " theta=", options.theta, " gated=", options.gated,
                                               " ", ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace pixembed
