#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
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
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/timm_architectures.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/timm_wrapper/modeling_timm_wrapper.py TimmWrapperModel, whose
// last hidden state is timm 1.0.31 models/vision_transformer.py VisionTransformer.forward_features.
namespace pixembed {
namespace {

constexpr std::int64_t kMaxWidth = 65'536;
constexpr std::int64_t kMaxLayers = 1'024;
constexpr std::int64_t kMaxHeads = 4'096;
constexpr int kMaxImageSide = 16'384;
constexpr int kMaxPatchSide = 1'024;
constexpr double kMaxMlpRatio = 64.0;

// What "model_args" may change of an architecture.
constexpr std::array<std::string_view, 6> kModelArgs = {"depth",     "embed_dim", "img_size",
                                                        "mlp_ratio", "num_heads", "patch_size"};

// nullptr after an error.
const TimmArchitecture* FindArchitecture(const FamilyInput& input) {
  const absl::StatusOr<std::string> name = input.config.String("architecture", "resnet50");
  if (!name.ok()) {
    input.weights.Fail(name.status());
    return nullptr;
  }
  if (!input.config.Has("num_classes")) {
    input.weights.Fail(MakeError(
        Reason::kCheckpointCorrupt,
        absl::StrCat(input.config.Describe("num_classes"),
                     " must be an integer: the reference does not read a file without it")));
    return nullptr;
  }
  const TimmArchitecture* const found = FindTimmArchitecture(*name);
  if (found == nullptr) {
    ConfigReader(input.config, input.weights)
        .Refuse(
            Reason::kUnsupportedModel,
            absl::StrCat(
                "architecture ", Quoted(*name), " is not implemented. Of timm's, the ",
                TimmArchitectures().size(),
                " plain vision transformers are: vit_*, deit_*, deit3_*, flexivit_*, eva_large_* "
                "with one attention and one Mlp a block, LayerNorm, and images of one size"));
  }
  return found;
}

void RequireKnownArguments(const Config& arguments, WeightReader& errors) {
  for (const std::string& key : arguments.Keys()) {
    if (std::ranges::find(kModelArgs, key) != kModelArgs.end()) continue;
    const auto name = [](std::string* out, std::string_view known) { out->append(known); };
    errors.Fail(MakeError(Reason::kUnsupportedModel,
                          absl::StrCat(arguments.Describe(key), " is not implemented; ",
                                       absl::StrJoin(kModelArgs, ", ", name), " are")));
  }
}

// The numbers of `timm`, where "model_args" does not give others.
Architecture ReadTimmArchitecture(const FamilyInput& input, const TimmArchitecture& timm) {
  Architecture architecture;
  const absl::StatusOr<Config> arguments = input.config.Section("model_args");
  if (!arguments.ok()) {
    input.weights.Fail(arguments.status());
    return architecture;
  }
  RequireKnownArguments(*arguments, input.weights);
  ConfigReader config(*arguments, input.weights);
  architecture.width = config.Int("embed_dim", timm.width, 1, kMaxWidth);
  architecture.layers = config.Int("depth", timm.layers, 1, kMaxLayers);
  architecture.heads = config.Int("num_heads", timm.heads, 1, kMaxHeads);
  architecture.head_dim = architecture.width / architecture.heads;
  const double ratio = config.Double("mlp_ratio", timm.mlp_ratio, 0.0, kMaxMlpRatio);
  architecture.intermediate =
      static_cast<std::int64_t>(static_cast<double>(architecture.width) * ratio);
  architecture.image = config.SquareOrPair("img_size", timm.image, kMaxImageSide);
  architecture.patch = config.SquareOrPair("patch_size", timm.patch, kMaxPatchSide);
  architecture.epsilon = timm.style.epsilon;
  architecture.activation = timm.style.activation;
  architecture.qkv_bias = timm.style.qkv_bias;
  return architecture;
}

// What the model's code asserts, and what nothing could be computed of.
void RequireSound(const FamilyInput& input, const Architecture& architecture, bool gated) {
  const auto fail = [&](const std::string& what) {
    ConfigReader(input.config, input.weights).Refuse(Reason::kUnsupportedModel, what);
  };
  if (architecture.attention_width() != architecture.width) {
    fail(absl::StrCat("embed_dim ", architecture.width, " is not a multiple of num_heads ",
                      architecture.heads));
  }
  if (architecture.intermediate < 1 || (gated && architecture.intermediate % 2 != 0)) {
    fail(absl::StrCat("mlp_ratio makes the Mlp ", architecture.intermediate, " wide, which is ",
                      architecture.intermediate < 1 ? "nothing" : "no even number"));
  }
  if (Count(Grid(architecture.image, architecture.patch)) == 0) {
    fail(absl::StrCat("img_size ", SizeText(architecture.image), " is smaller than patch_size ",
                      SizeText(architecture.patch)));
  }
}

Block ReadBlock(const WeightScope& scope, const Architecture& architecture,
                const TimmStyle& style) {
  const std::int64_t width = architecture.width;
  const std::int64_t inner = architecture.intermediate;
  Block block;
  block.norm1 = ReadLayerNorm(scope.At("norm1"), width, architecture.epsilon);
  block.attention.heads = architecture.heads;
  block.attention.head_dim = architecture.head_dim;
  block.attention.qkv = ReadLinear(scope.At("attn.qkv"), width, 3 * width, style.qkv_bias);
  block.attention.output = ReadLinear(scope.At("attn.proj"), width, width);
  block.norm2 = ReadLayerNorm(scope.At("norm2"), width, architecture.epsilon);
  block.mlp.up = ReadLinear(scope.At("mlp.fc1"), width, inner);
  block.mlp.down = ReadLinear(scope.At("mlp.fc2"), style.gated ? inner / 2 : inner, width);
  block.mlp.activation = architecture.activation;
  block.mlp.gated = style.gated;
  if (style.layer_scale) {
    block.scale1 = scope.Get("ls1.gamma", {width});
    block.scale2 = scope.Get("ls2.gamma", {width});
  }
  return block;
}

// What stands in front of the patches, [L, width], without positions. Undefined: nothing, or an
// error.
at::Tensor ReadLeadingTokens(const WeightScope& root, const TimmStyle& style, std::int64_t width) {
  std::vector<at::Tensor> tokens;
  if (style.class_token) tokens.push_back(root.GetOnCpu("cls_token", {1, 1, width}));
  if (style.distillation_token) tokens.push_back(root.GetOnCpu("dist_token", {1, 1, width}));
  if (style.registers > 0) {
    tokens.push_back(root.GetOnCpu("reg_token", {1, style.registers, width}));
  }
  if (tokens.empty() || !root.reader().ok()) return {};
  return at::cat(tokens, 1)[0];
}

}  // namespace

std::unique_ptr<Network> BuildTimm(const FamilyInput& input) {
  const TimmArchitecture* const timm = FindArchitecture(input);
  if (timm == nullptr) return nullptr;
  const TimmStyle& style = timm->style;
  const Architecture architecture = ReadTimmArchitecture(input, *timm);
  if (!input.weights.ok()) return nullptr;
  RequireSound(input, architecture, style.gated);
  RequireTrainedSize(input, architecture);
  if (!input.weights.ok()) return nullptr;

  const std::int64_t width = architecture.width;
  const std::int64_t patches = Count(Grid(architecture.image, architecture.patch));
  constexpr std::array<std::string_view, 2> kPrefixes = {"timm_model.", ""};
  const WeightScope root = input.weights.Root(kPrefixes, "patch_embed.proj.weight");

  TransformerParts parts;
  // transformers' hidden states of these models are maps [N, width, rows, columns].
  parts.gives_hidden_states = false;
  parts.projection = ReadPatchProjection(root.At("patch_embed.proj"), width, architecture.patch,
                                         /*bias=*/!style.norm_before);
  const at::Tensor tokens = ReadLeadingTokens(root, style, width);
  const std::int64_t leading = tokens.defined() ? tokens.size(0) : 0;
  const std::int64_t placed = style.positions_of_patches_only ? 0 : leading;
  const at::Tensor positions = root.GetOnCpu("pos_embed", {1, placed + patches, width});
  if (style.norm_before) {
    parts.norm_before = ReadLayerNorm(root.At("norm_pre"), width, architecture.epsilon);
  }
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadBlock(root.At("blocks", i), architecture, style));
  }
  if (style.norm_after) {
    parts.norm_after = ReadLayerNorm(root.At("norm"), width, architecture.epsilon);
  }
  if (!input.weights.ok()) return nullptr;

  if (leading > 0) {
    parts.leading_tokens =
        input.weights.Place(placed > 0 ? tokens.add(positions[0].narrow(0, 0, placed)) : tokens);
  }
  parts.patch_positions = input.weights.Place(positions[0].narrow(0, placed, patches));
  return std::make_unique<VisionTransformer>(
      NetworkInfo{.patch = architecture.patch,
                  .tokens = static_cast<int>(leading + patches),
                  .dimension = static_cast<int>(width),
                  .has_cls = style.class_token,
                  .architecture = absl::StrCat("timm ", TimmStyleText(style), " ",
                                               ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace pixembed
