#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/clip.h"
#include "src/model/families/positions.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/rotary.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/mlcd/modeling_mlcd.py.
namespace pixembed {
namespace {

constexpr double kDefaultTheta = 10'000.0;
constexpr double kMaxTheta = 1e12;

double ReadTheta(const FamilyInput& input) {
  const absl::StatusOr<Config> rope = input.config.Section("rope_parameters");
  if (!rope.ok()) {
    input.weights.Fail(rope.status());
    return kDefaultTheta;
  }
  const absl::StatusOr<std::string> type = rope->String("rope_type", "axial");
  if (!type.ok()) input.weights.Fail(type.status());
  if (type.ok() && *type != "axial") {
    input.weights.Fail(
        MakeError(Reason::kUnsupportedModel,
                  absl::StrCat(rope->Describe("rope_type"), ": only \"axial\" is implemented")));
  }
  // Beside "rope_parameters" in older files.
  const double fallback =
      ConfigReader(input.config, input.weights).Double("rope_theta", kDefaultTheta, 1.0, kMaxTheta);
  return ConfigReader(*rope, input.weights).Double("rope_theta", fallback, 1.0, kMaxTheta);
}

at::Tensor PatchAngles(Size grid, std::int64_t head_dim, double theta) {
  const std::int64_t half = head_dim / 2;
  const at::Tensor exponents = at::arange(0, half, 2, at::kFloat).div(static_cast<double>(half));
  return AxialAngles(at::arange(0, grid.height, 1, at::kFloat),
                     at::arange(0, grid.width, 1, at::kFloat),
                     at::pow(at::Scalar(theta), exponents).reciprocal());
}

}  // namespace

std::unique_ptr<Network> BuildMlcd(const FamilyInput& input) {
  const Architecture architecture = ReadTowerArchitecture(input, {.width = 1'664,
                                                                  .layers = 48,
                                                                  .heads = 16,
                                                                  .intermediate = 8'192,
                                                                  .image = 336,
                                                                  .patch = 14,
                                                                  .epsilon = 1e-5});
  const double theta = ReadTheta(input);
  ConfigReader config(input.config, input.weights);
  if (const std::int64_t groups = config.Int("num_key_value_groups", 1, 1, 1'024); groups != 1) {
    config.Fail(MakeError(
        Reason::kUnsupportedModel,
        absl::StrCat(input.config.Describe("num_key_value_groups"), ": only 1 is implemented")));
  }
  RequireWholePatch(input, architecture);
  RequireAxialHeads(input, architecture);
  if (!input.weights.ok()) return nullptr;

  const std::int64_t width = architecture.width;
  const Size grid = Grid(input.input, architecture.patch);
  const WeightScope root = TowerRoot(input);
  const WeightScope embeddings = root.At("embeddings");

  TransformerParts parts;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embedding"), width,
                                         architecture.patch, /*bias=*/false);
  const at::Tensor cls = embeddings.GetOnCpu("class_embedding", {width});
  // The class token turns too, by angles of its own.
  const at::Tensor cls_angles = root.GetOnCpu("class_pos_emb", {1, architecture.head_dim / 2});
  // [sic]: the name is misspelt in every file.
  parts.norm_before = ReadLayerNorm(root.At("pre_layrnorm"), width, architecture.epsilon);
  if (!input.weights.ok()) return nullptr;
  const Rotary rotary = MakeRotary(
      at::cat({cls_angles, PatchAngles(grid, architecture.head_dim, theta)}), input.weights);
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadTowerBlock(root.At("encoder.layers", i), architecture));
    parts.blocks.back().attention.rotary = rotary;
  }
  // The last hidden state is the one before post_layernorm, which only the pooled output passes.
  if (!input.weights.ok()) return nullptr;

  parts.leading_tokens = input.weights.Place(cls.unsqueeze(0));
  return std::make_unique<VisionTransformer>(
      NetworkInfo{
          .patch = architecture.patch,
          .tokens = static_cast<int>(1 + Count(grid)),
          .dimension = static_cast<int>(width),
          .has_cls = true,
          .architecture = absl::StrCat("mlcd theta=", theta, " ", ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace pixembed
