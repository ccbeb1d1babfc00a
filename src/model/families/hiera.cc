#include <ATen/core/Tensor.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/im2col.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/activation.h"
#include "src/model/architecture.h"
#include "src/model/attention.h"
#include "src/model/families.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/hiera/modeling_hiera.py.
//
// Tokens are reordered once, so that those which pooling will make one lie equally far apart: token
// t of window w is number t * windows + w, and the maximum over the first of `stride` parts of the
// sequence is the maximum over a query_stride of the grid.
namespace pixembed {
namespace {

constexpr std::int64_t kMaxWidth = 8'192;
constexpr std::int64_t kMaxStages = 8;
constexpr std::int64_t kMaxDepth = 256;
constexpr std::int64_t kMaxHeads = 4'096;
constexpr std::int64_t kMaxPadding = 1'024;
constexpr int kMaxImageSide = 16'384;
constexpr int kMaxPatchSide = 1'024;
constexpr double kMaxRatio = 64.0;

struct HieraConfig {
  Size image;
  Size patch;
  Size stride;                        // of patches, which overlap
  std::vector<std::int64_t> padding;  // above and below, left and right
  std::int64_t width = 0;             // of the first stage
  double width_ratio = 0.0;           // from stage to stage
  std::vector<std::int64_t> depths;
  std::vector<std::int64_t> heads;
  std::int64_t pooled_stages = 0;  // num_query_pool: the stages from the second on that pool
  Size query_stride;
  Size unit;                       // masked_unit_size: the windows of the first stage
  std::vector<bool> unit_attends;  // masked_unit_attention: whether windows are attended to alone
  double mlp_ratio = 0.0;
  double epsilon = 0.0;
  Activation activation = Activation::kGelu;

  std::size_t stages() const { return depths.size(); }
  std::int64_t stage_width(std::size_t stage) const {
    return static_cast<std::int64_t>(static_cast<double>(width) *
                                     std::pow(width_ratio, static_cast<double>(stage)));
  }
  // Tokens of a window of this stage.
  std::int64_t window(std::size_t stage) const {
    return static_cast<std::int64_t>(
        static_cast<double>(Count(unit)) *
        std::pow(static_cast<double>(Count(query_stride)), -static_cast<double>(stage)));
  }
};

void RequireLists(const HieraConfig& config, ConfigReader& reader) {
  const auto fail = [&](const std::string& what) {
    reader.Refuse(Reason::kUnsupportedModel, what);
  };
  const auto stages = static_cast<std::int64_t>(config.stages());
  if (stages == 0 || stages > kMaxStages) {
    fail(absl::StrCat("depths has ", stages, " values; 1 to ", kMaxStages,
                      " stages are implemented"));
  }
  if (static_cast<std::int64_t>(config.heads.size()) < stages) {
    fail(absl::StrCat("num_heads has ", config.heads.size(), " values, depths has ", stages));
  }
  if (static_cast<std::int64_t>(config.unit_attends.size()) < stages) {
    fail(absl::StrCat("masked_unit_attention has ", config.unit_attends.size(),
                      " values, depths has ", stages));
  }
  if (config.padding.size() != 2) {
    fail(absl::StrCat("patch_padding has ", config.padding.size(), " values, an image has 2 axes"));
  }
  if (config.pooled_stages >= stages) {
    fail(absl::StrCat("num_query_pool is ", config.pooled_stages, ", depths has ", stages,
                      " values; it must be less"));
  }
}

// What the reference's tensors cannot be reshaped to.
void RequireSizes(const HieraConfig& config, ConfigReader& reader) {
  const auto fail = [&](const std::string& what) {
    reader.Refuse(Reason::kUnsupportedModel, what);
  };
  const Size grid = Grid(config.image, config.stride);
  const auto placed = [&](int image, int patch, int stride, std::int64_t padding) {
    return (image + 2 * padding - patch) / stride + 1;
  };
  const std::int64_t rows =
      placed(config.image.height, config.patch.height, config.stride.height, config.padding[0]);
  const std::int64_t columns =
      placed(config.image.width, config.patch.width, config.stride.width, config.padding[1]);
  if (rows != grid.height || columns != grid.width) {
    fail(absl::StrCat("image_size ", SizeText(config.image), " over patch_stride ",
                      SizeText(config.stride), " is ", SizeText(grid), ", but it has ", rows, "x",
                      columns, " patches of patch_size and patch_padding"));
  }
  std::int64_t tokens = Count(grid);
  Size rest = grid;
  for (std::size_t stage = 0; stage < config.stages(); ++stage) {
    const std::int64_t width = config.stage_width(stage);
    if (width < 1 || width > kMaxWidth || width % config.heads[stage] != 0) {
      fail(absl::StrCat("stage ", stage, ": the width ", width, " is not a multiple of num_heads ",
                        config.heads[stage], " between 1 and ", kMaxWidth));
    }
    const std::int64_t window = config.window(stage);
    if (window < 1 || tokens % window != 0) {
      fail(absl::StrCat("stage ", stage, ": ", tokens, " tokens are no multiple of the ", window,
                        " of a window"));
      return;
    }
    const bool last = stage + 1 == config.stages();
    if (last) break;
    if (rest.height % config.query_stride.height != 0 ||
        rest.width % config.query_stride.width != 0) {
      fail(absl::StrCat("stage ", stage, ": the grid ", SizeText(rest),
                        " is no multiple of query_stride ", SizeText(config.query_stride)));
    }
    rest = Grid(rest, config.query_stride);
    if (static_cast<std::int64_t>(stage) < config.pooled_stages) {
      tokens /= Count(config.query_stride);
      if (Count(config.query_stride) > 1 &&
          config.stage_width(stage + 1) == config.stage_width(stage)) {
        fail(absl::StrCat("stage ", stage + 1,
                          " pools without growing wider: the reference then "
                          "adds what it did not pool"));
      }
    }
  }
}

HieraConfig ReadHieraConfig(const FamilyInput& input) {
  ConfigReader reader(input.config, input.weights);
  reader.RequireThreeChannels();
  HieraConfig config;
  config.image = reader.SquareOrPair("image_size", 224, kMaxImageSide);
  config.patch = reader.SquareOrPair("patch_size", 7, kMaxPatchSide);
  config.stride = reader.SquareOrPair("patch_stride", 4, kMaxPatchSide);
  config.padding = reader.Ints("patch_padding", {3, 3}, 0, kMaxPadding);
  config.width = reader.Int("embed_dim", 96, 1, kMaxWidth);
  config.width_ratio = reader.Double("embed_dim_multiplier", 2.0, 0.0, kMaxRatio);
  config.depths = reader.Ints("depths", {2, 3, 16, 3}, 1, kMaxDepth);
  config.heads = reader.Ints("num_heads", {1, 2, 4, 8}, 1, kMaxHeads);
  config.pooled_stages = reader.Int("num_query_pool", 3, 0, kMaxStages);
  config.query_stride = reader.SquareOrPair("query_stride", 2, kMaxPatchSide);
  config.unit = reader.SquareOrPair("masked_unit_size", 8, kMaxImageSide);
  config.unit_attends = reader.Bools("masked_unit_attention", {true, true, false, false});
  config.mlp_ratio = reader.Double("mlp_ratio", 4.0, 0.0, kMaxRatio);
  config.epsilon = reader.Double("layer_norm_eps", 1e-6, 0.0, 1.0);
  config.activation = reader.HiddenAct("gelu");
  RequireLists(config, reader);
  if (input.weights.ok()) RequireSizes(config, reader);
  return config;
}

// Attention inside windows, with queries that are the maximum of `pooled` tokens.
struct UnitAttention {
  Linear qkv;  // [3 * out, in]: queries, keys, values below each other
  Linear output;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t windows = 1;
  std::int64_t pooled = 1;

  at::Tensor Forward(const at::Tensor& x) const;  // [N, T, in] -> [N, T / pooled, out]
};

struct HieraLayer {
  LayerNorm norm1;
  Linear projection;  // of a layer that changes the width, else undefined
  UnitAttention attention;
  LayerNorm norm2;
  Mlp mlp;

  at::Tensor Forward(const at::Tensor& x) const;
};

at::Tensor UnitAttention::Forward(const at::Tensor& x) const {
  const std::int64_t batch = x.size(0);
  const std::int64_t tokens = x.size(1) / windows;
  // [3, N * windows, heads, tokens, head_dim]
  const at::Tensor parts = qkv.Forward(x)
                               .view({batch, tokens, windows, 3, heads, head_dim})
                               .permute({3, 0, 2, 4, 1, 5})
                               .reshape({3, batch * windows, heads, tokens, head_dim});
  at::Tensor query = parts[0];
  if (pooled > 1) {
    query = at::amax(query.view({batch * windows, heads, pooled, tokens / pooled, head_dim}), {2});
  }
  const at::Tensor mixed = ScaledDotProductAttention(
      query, parts[1], parts[2], /*added=*/{},
      /*scale=*/1.0 / std::sqrt(static_cast<double>(head_dim)), qkv.rounds_to_bfloat16());
  return output.Forward(mixed.view({batch, windows, tokens / pooled, heads * head_dim})
                            .transpose(1, 2)
                            .reshape({batch, -1, heads * head_dim}));
}

at::Tensor HieraLayer::Forward(const at::Tensor& x) const {
  const at::Tensor normed = norm1.Forward(x);
  at::Tensor kept = x;
  if (projection.defined()) {
    kept = projection.Forward(normed);
    kept = at::amax(kept.view({kept.size(0), attention.pooled, -1, kept.size(2)}), {1});
  }
  kept = kept.add(attention.Forward(normed));
  return kept.add_(mlp.Forward(norm2.Forward(kept)));
}

struct HieraParts {
  Linear projection;  // of patches
  std::array<std::int64_t, 2> patch = {};
  std::array<std::int64_t, 2> stride = {};
  std::array<std::int64_t, 2> padding = {};
  at::Tensor positions;  // [P, width], row by row of the grid
  at::Tensor order;      // [P] int64: token i is patch order[i]
  std::vector<HieraLayer> layers;
};

class Hiera final : public Network {
 public:
  Hiera(NetworkInfo info, HieraParts parts) : info_(std::move(info)), parts_(std::move(parts)) {}

  const NetworkInfo& info() const override { return info_; }

  // Gives no layers: the hidden states of the stages differ in shape.
  HiddenStates Forward(const PatchBatch& batch, std::span<const int> /*layers*/) const override {
    const at::Tensor& images = batch.patches;
    const at::Tensor pixels =
        images.view({images.size(0), 3, info_.patch.height, info_.patch.width});
    // The convolution as a matrix product, as in every family; here the patches overlap.
    const at::Tensor patches =
        at::im2col(pixels, parts_.patch, /*dilation=*/{1, 1}, parts_.padding, parts_.stride);
    at::Tensor x = parts_.projection.Forward(patches.transpose(1, 2)).add_(parts_.positions);
    x = x.index_select(1, parts_.order);
    for (const HieraLayer& layer : parts_.layers) x = layer.Forward(x);
    return {.last = x};
  }

 private:
  NetworkInfo info_;
  HieraParts parts_;
};

// Source: unroll.
at::Tensor UnrolledOrder(const HieraConfig& config) {
  const Size grid = Grid(config.image, config.stride);
  const std::int64_t rows = config.query_stride.height;
  const std::int64_t columns = config.query_stride.width;
  std::int64_t height = grid.height;
  std::int64_t width = grid.width;
  at::Tensor order = at::arange(Count(grid), at::kLong).view({1, height, width});
  for (std::size_t stage = 0; stage + 1 < config.stages(); ++stage) {
    height /= rows;
    width /= columns;
    order = order.view({-1, height, rows, width, columns})
                .permute({0, 2, 4, 1, 3})
                .reshape({-1, height, width});
  }
  return order.reshape({-1});
}

// Layer `index` of a stage that gets `tokens`.
HieraLayer ReadLayer(const WeightScope& scope, const HieraConfig& config, std::size_t stage,
                     std::int64_t index, std::int64_t tokens) {
  const bool first = index == 0 && stage > 0;
  const std::int64_t out = config.stage_width(stage);
  const std::int64_t in = first ? config.stage_width(stage - 1) : out;
  const auto inner = static_cast<std::int64_t>(static_cast<double>(out) * config.mlp_ratio);
  // The windows of a stage are attended to one layer later, after its pooling.
  const bool alone = config.unit_attends[stage] || (first && config.unit_attends[stage - 1]);
  HieraLayer layer;
  layer.norm1 = ReadLayerNorm(scope.At("layernorm_before"), in, config.epsilon);
  if (in != out) layer.projection = ReadLinear(scope.At("proj"), in, out);
  UnitAttention& attention = layer.attention;
  attention.heads = config.heads[stage];
  attention.head_dim = out / attention.heads;
  if (first && static_cast<std::int64_t>(stage) <= config.pooled_stages) {
    attention.pooled = Count(config.query_stride);
  }
  if (alone) attention.windows = tokens / (attention.pooled * config.window(stage));
  attention.qkv = ReadLinear(scope.At("attn.qkv"), in, 3 * out);
  attention.output = ReadLinear(scope.At("attn.proj"), out, out);
  layer.norm2 = ReadLayerNorm(scope.At("layernorm_after"), out, config.epsilon);
  layer.mlp.up = ReadLinear(scope.At("mlp.fc1"), out, inner);
  layer.mlp.down = ReadLinear(scope.At("mlp.fc2"), inner, out);
  layer.mlp.activation = config.activation;
  return layer;
}

std::string HieraText(const HieraConfig& config) {
  const std::string_view activation = ActivationName(config.activation);
  return absl::StrCat(
      "hiera image=", SizeText(config.image), " patch=", SizeText(config.patch),
      " stride=", SizeText(config.stride), " padding=", absl::StrJoin(config.padding, ","),
      " width=", config.width, " width_ratio=", config.width_ratio,
      " depths=", absl::StrJoin(config.depths, ","), " heads=", absl::StrJoin(config.heads, ","),
      " pooled_stages=", config.pooled_stages, " query_stride=", SizeText(config.query_stride),
      " unit=", SizeText(config.unit), " unit_attends=", absl::StrJoin(config.unit_attends, ","),
      " mlp_ratio=", config.mlp_ratio, " epsilon=", config.epsilon,
      " activation=", absl::string_view(activation.data(), activation.size()));
}

}  // namespace

std::unique_ptr<Network> BuildHiera(const FamilyInput& input) {
  const HieraConfig config = ReadHieraConfig(input);
  Architecture trained;
  trained.image = config.image;
  RequireTrainedSize(input, trained);
  if (!input.weights.ok()) return nullptr;

  constexpr std::array<std::string_view, 2> kPrefixes = {"hiera.", ""};
  const WeightScope root =
      input.weights.Root(kPrefixes, "embeddings.patch_embeddings.projection.weight");
  const WeightScope embeddings = root.At("embeddings");
  std::int64_t tokens = Count(Grid(config.image, config.stride));

  HieraParts parts;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embeddings.projection"), config.width,
                                         config.patch, /*bias=*/true);
  parts.patch = {config.patch.height, config.patch.width};
  parts.stride = {config.stride.height, config.stride.width};
  parts.padding = {config.padding[0], config.padding[1]};
  const at::Tensor positions = embeddings.Get("position_embeddings", {1, tokens, config.width});
  for (std::size_t stage = 0; stage < config.stages(); ++stage) {
    const WeightScope scope = root.At("encoder.stages", static_cast<std::int64_t>(stage));
    for (std::int64_t i = 0; i < config.depths[stage]; ++i) {
      parts.layers.push_back(ReadLayer(scope.At("layers", i), config, stage, i, tokens));
      tokens /= parts.layers.back().attention.pooled;
    }
  }
  if (!input.weights.ok()) return nullptr;

  parts.positions = positions[0];
  parts.order = input.weights.Place(UnrolledOrder(config));
  return std::make_unique<Hiera>(
      NetworkInfo{.patch = input.input,
                  .tokens = static_cast<int>(tokens),
                  .dimension = static_cast<int>(config.stage_width(config.stages() - 1)),
                  // Of the first stage: the others have fewer.
                  .attended_tokens = static_cast<int>(Count(Grid(config.image, config.stride))),
                  .has_cls = false,
                  .architecture = HieraText(config)},
      std::move(parts));
}

}  // namespace pixembed
