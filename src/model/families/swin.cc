#include <ATen/core/Tensor.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log2.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/activation.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/weights.h"
#include "src/model/windowed_transformer.h"

// Source: transformers 5.23.0 models/swin/modeling_swin.py, models/swinv2/modeling_swinv2.py; the
// keys are those in files (conversion_mapping.py "swin").
namespace pixembed {
namespace {

constexpr std::int64_t kMaxWidth = 8'192;
constexpr std::int64_t kMaxStages = 8;
constexpr std::int64_t kMaxDepth = 256;
constexpr std::int64_t kMaxHeads = 4'096;
constexpr std::int64_t kMaxWindow = 64;  // an attention bias has window^4 values a head
constexpr int kMaxImageSide = 16'384;
constexpr int kMaxPatchSide = 1'024;
constexpr double kMaxMlpRatio = 64.0;

// Of the norms that the configuration says nothing about. Source: torch 2.11.0
// nn/modules/normalization.py LayerNorm.
constexpr double kTorchEpsilon = 1e-5;

// In what the two families differ.
enum class Version { kSwin, kSwinV2 };

struct SwinConfig {
  Version version = Version::kSwin;
  Size image;
  Size patch;
  std::int64_t width = 0;  // of the first stage; each further one has twice the width
  std::vector<std::int64_t> depths;
  std::vector<std::int64_t> heads;
  int window = 0;
  std::vector<std::int64_t> pretrained_windows;  // 0: the window itself
  double mlp_ratio = 0.0;
  double epsilon = 0.0;
  Activation activation = Activation::kGelu;
  bool qkv_bias = true;
  bool absolute_positions = false;

  std::int64_t stage_width(std::size_t stage) const { return width << stage; }
  std::int64_t mlp_width(std::int64_t of_width) const {
    return static_cast<std::int64_t>(mlp_ratio * static_cast<double>(of_width));
  }
};

void CheckLists(const SwinConfig& config, ConfigReader& reader) {
  const std::size_t stages = config.depths.size();
  const auto check = [&](std::string_view key, std::size_t count) {
    if (count >= stages) return;
    reader.Refuse(Reason::kCheckpointCorrupt,
                  absl::StrCat(std::string(key), " has ", count, " values, depths has ", stages));
  };
  if (stages == 0 || stages > kMaxStages) {
    reader.Refuse(Reason::kUnsupportedModel, absl::StrCat("depths has ", stages, " values; 1 to ",
                                                          kMaxStages, " stages are implemented"));
  }
  check("num_heads", config.heads.size());
  if (config.version == Version::kSwinV2) {
    check("pretrained_window_sizes", config.pretrained_windows.size());
  }
  for (std::size_t i = 0; i < std::min(stages, config.heads.size()); ++i) {
    if (config.stage_width(i) % config.heads[i] == 0) continue;
    reader.Refuse(Reason::kUnsupportedModel,
                  absl::StrCat("stage ", i, ": the width ", config.stage_width(i),
                               " is not a multiple of num_heads ", config.heads[i]));
  }
  for (const std::int64_t pretrained : config.pretrained_windows) {
    if (pretrained != 1) continue;
    reader.Refuse(Reason::kUnsupportedModel,
                  "a pretrained_window_sizes of 1 divides by zero in the reference");
  }
}

SwinConfig ReadSwinConfig(const FamilyInput& input, Version version) {
  ConfigReader reader(input.config, input.weights);
  reader.RequireThreeChannels();
  SwinConfig config;
  config.version = version;
  config.image = reader.SquareOrPair("image_size", 224, kMaxImageSide);
  config.patch = reader.SquareOrPair("patch_size", 4, kMaxPatchSide);
  config.width = reader.Int("embed_dim", 96, 1, kMaxWidth);
  config.depths = reader.Ints("depths", {2, 2, 6, 2}, 0, kMaxDepth);
  config.heads = reader.Ints("num_heads", {3, 6, 12, 24}, 1, kMaxHeads);
  config.window = static_cast<int>(reader.Int("window_size", 7, 1, kMaxWindow));
  if (version == Version::kSwinV2) {
    config.pretrained_windows =
        reader.Ints("pretrained_window_sizes", {0, 0, 0, 0}, 0, kMaxImageSide);
  }
  config.mlp_ratio = reader.Double("mlp_ratio", 4.0, 0.0, kMaxMlpRatio);
  config.epsilon = reader.Double("layer_norm_eps", 1e-5, 0.0, 1.0);
  config.activation = reader.HiddenAct("gelu");
  config.qkv_bias = reader.Bool("qkv_bias", true);
  config.absolute_positions = reader.Bool("use_absolute_embeddings", false);
  CheckLists(config, reader);
  if (config.absolute_positions && version == Version::kSwinV2) {
    reader.Refuse(Reason::kUnsupportedModel,
                  "use_absolute_embeddings is true: the reference has one position more "
                  "than patches there, and cannot add them");
  }
  return config;
}

// A grid of patches that holds every pixel.
Size PaddedGrid(Size image, Size patch) {
  return {.height = (image.height + patch.height - 1) / patch.height,
          .width = (image.width + patch.width - 1) / patch.width};
}

void RequirePositionsFit(const FamilyInput& input, const SwinConfig& config) {
  const std::int64_t trained = Count(Grid(config.image, config.patch));
  const std::int64_t patches = Count(PaddedGrid(input.input, config.patch));
  if (!config.absolute_positions || patches == trained) return;
  input.weights.Fail(
      MakeError(Reason::kUnsupportedProcessor,
                absl::StrCat("the processor makes images of ", SizeText(input.input),
                             ", which give ", patches, " patches; the model's image_size ",
                             SizeText(config.image), " gives ", trained, " positions")));
}

// The windows of a stage, without the shift of a block; and the shift of its odd blocks.
struct StageWindows {
  int window = 0;
  int shift = 0;
};

// Swin takes the window from the grid that it gets, SwinV2 from the height of the grid that it was
// made for. Source: SwinLayer.set_shift_and_window_size, Swinv2Layer._compute_window_shift.
StageWindows WindowsOfStage(const FamilyInput& input, const SwinConfig& config, std::size_t stage,
                            Size grid) {
  if (config.version == Version::kSwin) {
    const int side = std::min(grid.height, grid.width);
    if (side > config.window) return {config.window, config.window / 2};
    if (side < config.window) {
      ConfigReader(input.config, input.weights)
          .Refuse(Reason::kUnsupportedModel,
                  absl::StrCat("stage ", stage, " has ", SizeText(grid),
                               " tokens, less than "
                               "window_size ",
                               config.window,
                               ": the reference has no position bias for such a window"));
    }
    return {side, 0};
  }
  const int side = Grid(config.image, config.patch).height >> stage;
  if (side == 0) {
    ConfigReader(input.config, input.weights)
        .Refuse(Reason::kUnsupportedModel, absl::StrCat("image_size ", SizeText(config.image),
                                                        " leaves stage ", stage, " no token"));
  }
  const int window = std::clamp(side, 1, config.window);
  return {window, side <= window ? 0 : config.window / 2};
}

// [(2 * window - 1)^2, heads] -> [heads, window^2, window^2].
at::Tensor SpreadBias(const at::Tensor& table, int window) {
  const std::int64_t tokens = std::int64_t{window} * window;
  return table.index_select(0, RelativePositionIndex(window))
      .view({tokens, tokens, -1})
      .permute({2, 0, 1})
      .contiguous();
}

// What SwinV2's bias network gets: displacements on a logarithmic scale, [(2 * window - 1)^2, 2].
// Source: Swinv2SelfAttention.create_coords_table_and_index.
at::Tensor LogSpacedCoordinates(int window, std::int64_t pretrained_window) {
  const int count = 2 * window - 1;
  at::Tensor coordinates = at::zeros({std::int64_t{count} * count, 2}, at::kFloat);
  auto* out = coordinates.mutable_data_ptr<float>();
  for (int y = 1 - window; y < window; ++y) {
    for (int x = 1 - window; x < window; ++x) {
      *out++ = static_cast<float>(y);
      *out++ = static_cast<float>(x);
    }
  }
  const std::int64_t side = pretrained_window > 0 ? pretrained_window : window;
  if (side > 1) coordinates.div_(side - 1);
  coordinates.mul_(8);
  return at::sign(coordinates).mul_(at::log2(coordinates.abs().add_(1.0))).div_(std::log2(8.0));
}

// [heads, window^2, window^2], on the CPU.
at::Tensor ReadBias(const WeightScope& scope, const SwinConfig& config, std::size_t stage,
                    int window) {
  constexpr std::int64_t kHidden = 512;
  const std::int64_t heads = config.heads[stage];
  const std::int64_t displacements = std::int64_t{2 * window - 1} * (2 * window - 1);
  if (config.version == Version::kSwin) {
    const at::Tensor table = scope.GetOnCpu("relative_position_bias_table", {displacements, heads});
    return scope.reader().ok() ? SpreadBias(table, window) : at::Tensor();
  }
  const WeightScope mlp = scope.At("continuous_position_bias_mlp");
  const at::Tensor up = mlp.GetOnCpu("0.weight", {kHidden, 2});
  const at::Tensor up_bias = mlp.GetOnCpu("0.bias", {kHidden});
  const at::Tensor down = mlp.GetOnCpu("2.weight", {heads, kHidden});
  if (!scope.reader().ok()) return {};
  const at::Tensor coordinates = LogSpacedCoordinates(window, config.pretrained_windows[stage]);
  const at::Tensor table = at::linear(at::linear(coordinates, up, up_bias).relu_(), down);
  return SpreadBias(table, window).sigmoid_().mul_(16);
}

// Queries, keys and values. SwinV2's keys have no bias.
Linear ReadQkv(const WeightScope& scope, std::int64_t width, const SwinConfig& config) {
  const bool key_bias = config.qkv_bias && config.version == Version::kSwin;
  return ReadLinears(scope,
                     {{"query", config.qkv_bias}, {"key", key_bias}, {"value", config.qkv_bias}},
                     width, width);
}

// The reference adds SwinV2's mask twice. Source: SwinLayer.get_attn_mask,
// Swinv2SelfAttention.forward.
double BlockedScore(Version version) { return version == Version::kSwin ? -100.0 : -200.0; }

WindowAttention ReadAttention(const WeightScope& scope, const SwinConfig& config, std::size_t stage,
                              const Windows& windows) {
  const std::int64_t width = config.stage_width(stage);
  const WeightScope self = scope.At("self");
  WindowAttention attention;
  attention.heads = config.heads[stage];
  attention.head_dim = width / attention.heads;
  attention.window_tokens = windows.window_tokens();
  attention.qkv = ReadQkv(self, width, config);
  attention.output = ReadLinear(scope.At("output.dense"), width, width);
  at::Tensor bias = ReadBias(self, config, stage, windows.window);
  at::Tensor cosine_scale;
  if (config.version == Version::kSwinV2) {
    cosine_scale = self.GetOnCpu("logit_scale", {attention.heads, 1, 1});
  }
  if (!scope.reader().ok()) return attention;

  bias = bias.unsqueeze(0);
  const at::Tensor mask = ShiftMask(windows, BlockedScore(config.version));
  if (mask.defined()) bias = bias.add(mask.unsqueeze(1));
  attention.bias = scope.reader().Place(bias);
  if (cosine_scale.defined()) {
    const double largest = std::log(1.0 / 0.01);
    attention.cosine_scale = scope.reader().Place(cosine_scale.clamp_max(largest).exp_());
  }
  return attention;
}

TokenOrder Placed(const WeightReader& reader, TokenOrder order) {
  order.index = reader.Place(order.index);
  return order;
}

WindowBlock ReadBlock(const WeightScope& scope, const SwinConfig& config, std::size_t stage,
                      const Windows& windows) {
  const std::int64_t width = config.stage_width(stage);
  const std::int64_t inner = config.mlp_width(width);
  WindowBlock block;
  block.post_norm = config.version == Version::kSwinV2;
  block.norm1 = ReadLayerNorm(scope.At("layernorm_before"), width, config.epsilon);
  block.attention = ReadAttention(scope.At("attention"), config, stage, windows);
  block.norm2 = ReadLayerNorm(scope.At("layernorm_after"), width, config.epsilon);
  block.mlp.up = ReadLinear(scope.At("intermediate.dense"), width, inner);
  block.mlp.down = ReadLinear(scope.At("output.dense"), inner, width);
  block.mlp.activation = config.activation;
  return block;
}

PatchMerging ReadMerging(const WeightScope& scope, const SwinConfig& config, std::size_t stage,
                         Size grid) {
  const std::int64_t width = config.stage_width(stage);
  PatchMerging merging;
  merging.post_norm = config.version == Version::kSwinV2;
  merging.order = Placed(scope.reader(), MergeOrder(grid));
  merging.reduction = ReadLinear(scope.At("reduction"), 4 * width, 2 * width, /*bias=*/false);
  merging.norm =
      ReadLayerNorm(scope.At("norm"), merging.post_norm ? 2 * width : 4 * width, kTorchEpsilon);
  return merging;
}

// The stages' grids and windows. Known before a tensor is read, so that what cannot be is refused.
struct StageShape {
  Size grid;
  StageWindows windows;
};

std::vector<StageShape> ShapesOfStages(const FamilyInput& input, const SwinConfig& config) {
  std::vector<StageShape> shapes;
  Size grid = PaddedGrid(input.input, config.patch);
  for (std::size_t stage = 0; stage < config.depths.size(); ++stage) {
    shapes.push_back({grid, WindowsOfStage(input, config, stage, grid)});
    grid = MergedGrid(grid);
  }
  return shapes;
}

WindowStage ReadStage(const FamilyInput& input, const WeightScope& scope, const SwinConfig& config,
                      std::size_t stage, const StageShape& shape) {
  const auto& [grid, sizes] = shape;
  // One order for all blocks of a kind.
  const std::array<Windows, 2> windows = {Windows{grid, sizes.window, 0},
                                          Windows{grid, sizes.window, sizes.shift}};
  std::array<TokenOrder, 2> partitions;
  std::array<TokenOrder, 2> reverses;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    partitions[i] = Placed(input.weights, PartitionOrder(windows[i]));
    reverses[i] = Placed(input.weights, ReverseOrder(windows[i]));
  }
  WindowStage read;
  for (std::int64_t i = 0; i < config.depths[stage]; ++i) {
    const auto kind = static_cast<std::size_t>(i % 2);
    WindowBlock block = ReadBlock(scope.At("blocks", i), config, stage, windows[kind]);
    if (!input.weights.ok()) return {};
    block.partition = partitions[kind];
    block.reverse = reverses[kind];
    read.blocks.push_back(std::move(block));
  }
  if (stage + 1 < config.depths.size()) {
    read.merging = ReadMerging(scope.At("downsample"), config, stage, grid);
  }
  return read;
}

std::string SwinText(const SwinConfig& config) {
  const std::string_view activation = ActivationName(config.activation);
  return absl::StrCat(config.version == Version::kSwin ? "swin" : "swinv2",
                      " image=", SizeText(config.image), " patch=", SizeText(config.patch),
                      " width=", config.width, " depths=", absl::StrJoin(config.depths, ","),
                      " heads=", absl::StrJoin(config.heads, ","), " window=", config.window,
                      " pretrained_windows=", absl::StrJoin(config.pretrained_windows, ","),
                      " mlp_ratio=", config.mlp_ratio, " epsilon=", config.epsilon,
                      " activation=", absl::string_view(activation.data(), activation.size()),
                      " qkv_bias=", config.qkv_bias,
                      " absolute_positions=", config.absolute_positions);
}

std::unique_ptr<Network> Build(const FamilyInput& input, Version version, std::string_view prefix) {
  const SwinConfig config = ReadSwinConfig(input, version);
  if (!input.weights.ok()) return nullptr;
  RequirePositionsFit(input, config);
  const std::vector<StageShape> shapes = ShapesOfStages(input, config);
  if (!input.weights.ok()) return nullptr;

  const std::array<std::string_view, 2> prefixes = {prefix, ""};
  const WeightScope root =
      input.weights.Root(prefixes, "embeddings.patch_embeddings.projection.weight");
  const WeightScope embeddings = root.At("embeddings");
  const bool whole_patches =
      input.input.height % config.patch.height == 0 && input.input.width % config.patch.width == 0;

  WindowedTransformerParts parts;
  if (!whole_patches) parts.pads_to_patch = config.patch;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embeddings.projection"), config.width,
                                         config.patch, /*bias=*/true);
  parts.norm_before = ReadLayerNorm(embeddings.At("norm"), config.width, kTorchEpsilon);
  if (config.absolute_positions) {
    parts.positions =
        embeddings.Get("position_embeddings", {1, Count(shapes.front().grid), config.width});
  }
  for (std::size_t stage = 0; stage < shapes.size() && input.weights.ok(); ++stage) {
    const WeightScope scope = root.At("encoder.layers", static_cast<std::int64_t>(stage));
    parts.stages.push_back(ReadStage(input, scope, config, stage, shapes[stage]));
  }
  const std::int64_t width = config.stage_width(config.depths.size() - 1);
  parts.norm_after = ReadLayerNorm(root.At("layernorm"), width, config.epsilon);
  if (!input.weights.ok()) return nullptr;
  return std::make_unique<WindowedTransformer>(
      NetworkInfo{.patch = whole_patches ? config.patch : input.input,
                  .tokens = static_cast<int>(Count(shapes.back().grid)),
                  .dimension = static_cast<int>(width),
                  .attended_tokens = static_cast<int>(config.window * config.window),
                  .has_cls = false,
                  .architecture = SwinText(config)},
      std::move(parts));
}

}  // namespace

std::unique_ptr<Network> BuildSwin(const FamilyInput& input) {
  return Build(input, Version::kSwin, "swin.");
}

std::unique_ptr<Network> BuildSwinV2(const FamilyInput& input) {
  return Build(input, Version::kSwinV2, "swinv2.");
}

}  // namespace pixembed
