#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/positions.h"
#include "src/model/families/vit.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/beit/modeling_beit.py,
// models/data2vec/modeling_data2vec_vision.py; the keys are those in files (conversion_mapping.py
// "BeitModel").
namespace pixembed {
namespace {

// A bias is held for every pair of tokens, in every head and layer that has one of its own.
constexpr std::int64_t kMaxBiasedTokens = 4'097;

// What the configuration says besides the sizes.
struct BeitOptions {
  bool absolute;      // has position embeddings
  bool relative;      // has a relative position bias in every block
  bool shared;        // has one for all blocks
  bool scaled;        // has a layer scale
  bool mean_pooling;  // leaves the last hidden state as the last block gives it
};

BeitOptions ReadOptions(ConfigReader& config) {
  return {.absolute = config.Bool("use_absolute_position_embeddings", false),
          .relative = config.Bool("use_relative_position_bias", false),
          .shared = config.Bool("use_shared_relative_position_bias", false),
          .scaled = config.Double("layer_scale_init_value", 0.1, -1e9, 1e9) > 0.0,
          .mean_pooling = config.Bool("use_mean_pooling", true)};
}

// Rows and columns by which two patches of a grid can lie apart.
Size Distances(Size grid) { return {.height = 2 * grid.height - 1, .width = 2 * grid.width - 1}; }

// Which row of a table of Count(Distances(grid)) + 3 rows each pair of tokens takes: [T, T] int64.
// The last three are those of class token to patch, patch to class token, and class token to
// itself.
at::Tensor RelativePositionIndex(Size grid) {
  const Size distances = Distances(grid);
  const std::int64_t between_patches = Count(distances);
  const std::int64_t patches = Count(grid);
  at::Tensor index = at::empty({1 + patches, 1 + patches}, at::kLong);
  auto* row = index.mutable_data_ptr<std::int64_t>();
  row[0] = between_patches + 2;
  for (std::int64_t to = 0; to < patches; ++to) row[1 + to] = between_patches;
  for (std::int64_t from = 0; from < patches; ++from) {
    row += 1 + patches;
    row[0] = between_patches + 1;
    for (std::int64_t to = 0; to < patches; ++to) {
      const std::int64_t down = from / grid.width - to / grid.width + grid.height - 1;
      const std::int64_t right = from % grid.width - to % grid.width + grid.width - 1;
      row[1 + to] = down * distances.width + right;
    }
  }
  return index;
}

// The bias of every pair of tokens, [1, heads, T, T], from the table of the trained grid.
at::Tensor RelativePositionBias(const at::Tensor& table, Size trained, Size grid) {
  const Size from = Distances(trained);
  const Size to = Distances(grid);
  const std::int64_t between_patches = Count(from);
  const std::int64_t heads = table.size(1);
  // [sic] width before height: on grids that are no squares the reference reads the table so.
  const at::Tensor plane = table.narrow(0, 0, between_patches)
                               .reshape({1, from.width, from.height, heads})
                               .permute({0, 3, 1, 2});
  const at::Tensor resized =
      at::upsample_bilinear2d(plane, {to.height, to.width},
                              /*align_corners=*/false, std::nullopt, std::nullopt)
          .permute({0, 2, 3, 1})
          .reshape({-1, heads});
  const at::Tensor index = RelativePositionIndex(grid);
  return at::cat({resized, table.narrow(0, between_patches, 3)})
      .index_select(0, index.view({-1}))
      .view({index.size(0), index.size(1), heads})
      .permute({2, 0, 1})
      .contiguous()
      .unsqueeze(0);
}

// The bias below `scope`, on the CPU; undefined where the family has none there.
at::Tensor ReadBias(bool exists, const WeightScope& scope, const FamilyInput& input,
                    const Architecture& architecture) {
  if (!exists) return {};
  const Size trained = Grid(architecture.image, architecture.patch);
  const at::Tensor table = scope.GetOnCpu("relative_position_bias.relative_position_bias_table",
                                          {Count(Distances(trained)) + 3, architecture.heads});
  if (!table.defined()) return {};
  return RelativePositionBias(table, trained, Grid(input.input, architecture.patch));
}

void RequireBoundedBias(const FamilyInput& input, const Architecture& architecture) {
  const std::int64_t tokens = 1 + Count(Grid(input.input, architecture.patch));
  if (tokens <= kMaxBiasedTokens) return;
  ConfigReader(input.config, input.weights)
      .Refuse(Reason::kUnsupportedModel,
              absl::StrCat("images of ", SizeText(input.input), " and patch_size ",
                           SizeText(architecture.patch), " give ", tokens,
                           " tokens; with a relative position bias, ", kMaxBiasedTokens,
                           " are the most that are implemented"));
}

std::unique_ptr<Network> Build(const FamilyInput& input, std::string_view prefix) {
  ConfigReader config(input.config, input.weights);
  Architecture architecture = ReadArchitecture(config, {.epsilon = 1e-12});
  architecture.intermediate = ReadIntermediate(config);
  architecture.key_bias = false;
  const BeitOptions options = ReadOptions(config);
  RequireWholePatch(input, architecture);
  if (options.absolute) RequireInterpolablePositions(input, architecture);
  if (options.relative || options.shared) RequireBoundedBias(input, architecture);
  if (!input.weights.ok()) return nullptr;

  const std::int64_t width = architecture.width;
  const std::int64_t patches = Count(Grid(input.input, architecture.patch));
  const std::int64_t trained = Count(Grid(architecture.image, architecture.patch));
  const std::array<std::string_view, 2> prefixes = {prefix, ""};
  const WeightScope root =
      input.weights.Root(prefixes, "embeddings.patch_embeddings.projection.weight");
  const WeightScope embeddings = root.At("embeddings");

  TransformerParts parts;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embeddings.projection"), width,
                                         architecture.patch, /*bias=*/true);
  const at::Tensor cls = embeddings.GetOnCpu("cls_token", {1, 1, width});
  const at::Tensor positions =
      options.absolute ? embeddings.GetOnCpu("position_embeddings", {1, 1 + trained, width})
                       : at::Tensor();
  const at::Tensor shared = ReadBias(options.shared, root.At("encoder"), input, architecture);
  const at::Tensor shared_placed = shared.defined() ? input.weights.Place(shared) : shared;
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    const WeightScope layer = root.At("encoder.layer", i);
    Block block = ReadVitBlock(layer, architecture);
    const at::Tensor bias =
        ReadBias(options.relative, layer.At("attention.attention"), input, architecture);
    block.attention.bias = shared_placed;
    if (bias.defined()) {
      block.attention.bias = input.weights.Place(shared.defined() ? bias.add(shared) : bias);
    }
    if (options.scaled) {
      block.scale1 = layer.Get("lambda_1", {width});
      block.scale2 = layer.Get("lambda_2", {width});
    }
    parts.blocks.push_back(std::move(block));
  }
  if (!options.mean_pooling) {
    parts.norm_after = ReadLayerNorm(root.At("layernorm"), width, architecture.epsilon);
  }
  if (!input.weights.ok()) return nullptr;

  at::Tensor leading = cls[0];
  if (options.absolute) {
    leading = leading.add(positions[0].narrow(0, 0, 1));
    parts.patch_positions = input.weights.Place(InterpolatePositions(
        positions.narrow(1, 1, trained), input, architecture, /*antialias=*/false));
  }
  parts.leading_tokens = input.weights.Place(leading);
  return std::make_unique<VisionTransformer>(
      NetworkInfo{.patch = architecture.patch,
                  .tokens = static_cast<int>(1 + patches),
                  .dimension = static_cast<int>(width),
                  .has_cls = true,
                  .architecture = absl::StrCat(
                      "beit absolute=", options.absolute, " relative=", options.relative,
                      " shared=", options.shared, " scaled=", options.scaled,
                      " norm_after=", !options.mean_pooling, " ", ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace

std::unique_ptr<Network> BuildBeit(const FamilyInput& input) { return Build(input, "beit."); }

std::unique_ptr<Network> BuildData2VecVision(const FamilyInput& input) {
  return Build(input, "data2vec_vision.");
}

}  // namespace pixembed
