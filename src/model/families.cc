#include "src/model/families.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/network.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

struct FamilyRow {
  std::string_view model_type;
  FamilyBuilder* build;
  bool vision_part;  // one of two towers: its configuration is the section "vision_config"
  // Takes images that each have a grid of patches of their own, and no other.
  bool own_grids = false;
};

constexpr std::array kFamilies = {
    FamilyRow{"vit", &BuildVit, false},
    FamilyRow{"vit_mae", &BuildVitMae, false},
    FamilyRow{"vit_msn", &BuildVitMsn, false},
    FamilyRow{"ijepa", &BuildIjepa, false},
    FamilyRow{"deit", &BuildDeit, false},
    FamilyRow{"beit", &BuildBeit, false},
    FamilyRow{"data2vec-vision", &BuildData2VecVision, false},
    FamilyRow{"dinov2", &BuildDinov2, false},
    FamilyRow{"dinov2_with_registers", &BuildDinov2WithRegisters, false},
    FamilyRow{"dinov3_vit", &BuildDinov3Vit, false},
    FamilyRow{"clip", &BuildClip, true},
    FamilyRow{"clip_vision_model", &BuildClip, false},
    FamilyRow{"mlcd", &BuildMlcd, false},
    FamilyRow{"mlcd_vision_model", &BuildMlcd, false},
    FamilyRow{"siglip", &BuildSiglip, true},
    FamilyRow{"siglip_vision_model", &BuildSiglip, false},
    FamilyRow{"siglip2", &BuildSiglip2, true, true},
    FamilyRow{"siglip2_vision_model", &BuildSiglip2, false, true},
    FamilyRow{"swin", &BuildSwin, false},
    FamilyRow{"swinv2", &BuildSwinV2, false},
    FamilyRow{"hiera", &BuildHiera, false},
    FamilyRow{"timm_wrapper", &BuildTimm, false},
};

// Families whose last_hidden_state is a map [N, channels, height, width] instead of tokens.
// Source: transformers 5.23.0, AutoModel.from_config(...) of each, run on an image of zeros.
constexpr std::array<std::string_view, 18> kMapFamilies = {
    "bit",          "convnext",     "convnextv2", "cvt",         "efficientnet", "glpn",
    "mobilenet_v1", "mobilenet_v2", "mobilevit",  "mobilevitv2", "poolformer",   "pvt_v2",
    "regnet",       "resnet",       "segformer",  "swiftformer", "textnet",      "vitdet"};

// No map: [N, 1 + places, channels]; but nothing of it is a transformer.
// Source: transformers 5.23.0 models/dinov3_convnext/modeling_dinov3_convnext.py.
constexpr std::string_view kConvolutionalFamily = "dinov3_convnext";

const FamilyRow* FindFamily(std::string_view model_type) {
  const auto* const family =
      std::find_if(kFamilies.begin(), kFamilies.end(),
                   [&](const FamilyRow& row) { return row.model_type == model_type; });
  return family == kFamilies.end() ? nullptr : family;
}

// Old CLIP files hold "vision_config_dict", which wins.
// Source: transformers 5.23.0 models/clip/configuration_clip.py CLIPConfig.__post_init__.
absl::StatusOr<Config> VisionConfig(const Config& config, const FamilyRow& family) {
  if (!family.vision_part) return config;
  constexpr std::string_view kOldSection = "vision_config_dict";
  const bool old = family.build == &BuildClip && config.Has(kOldSection);
  return config.Section(old ? kOldSection : "vision_config");
}

// What the processor counts patches for, if it does.
std::optional<PatchBudget> PatchesOf(const Processor& processor) {
  const std::optional<ResizeTarget>& resize = processor.spec.resize;
  return resize.has_value() ? resize->patches : std::nullopt;
}

// Whether images of the processor are of the kind that the family takes.
absl::Status CheckGrids(const Checkpoint& checkpoint, const FamilyRow& family) {
  if (PatchesOf(checkpoint.processor).has_value() == family.own_grids) return absl::OkStatus();
  const char* const makes =
      family.own_grids ? "images of one size" : "patches of images of many sizes";
  const char* const takes =
      family.own_grids ? "patches of images of many sizes (max_num_patches)" : "images of one size";
  return MakeError(Reason::kUnsupportedProcessor,
                   absl::StrCat(checkpoint.processor.type, " makes ", makes, ", the model \"",
                                checkpoint.model_type, "\" takes ", takes));
}

}  // namespace

void RequireTrainedSize(const FamilyInput& input, const Architecture& architecture) {
  if (input.input == architecture.image) return;
  input.weights.Fail(MakeError(
      Reason::kUnsupportedProcessor,
      absl::StrCat("the processor makes images of ", SizeText(input.input),
                   ", the model takes image_size ", SizeText(architecture.image), " only")));
}

absl::Status CheckFamily(const Checkpoint& checkpoint) {
  if (FindFamily(checkpoint.model_type) != nullptr) return absl::OkStatus();
  const std::string what = absl::StrCat(checkpoint.config.origin(), ": model_type ",
                                        Quoted(checkpoint.model_type), " is not implemented");
  if (checkpoint.model_type == kConvolutionalFamily) {
    return MakeError(
        Reason::kUnsupportedModel,
        absl::StrCat(what,
                     ": it is a convolutional network, whose last_hidden_state is the mean of "
                     "a map followed by the places of that map. dinov3_vit is implemented"));
  }
  if (std::ranges::find(kMapFamilies, checkpoint.model_type) != kMapFamilies.end()) {
    return MakeError(
        Reason::kUnsupportedModel,
        absl::StrCat(what,
                     ": its last_hidden_state is a map [N, channels, height, width], not tokens "
                     "[N, tokens, hidden]. The reference's mean over dimension 1 would average the "
                     "channels and leave one number per place of the image: no embedding"));
  }
  const auto name = [](std::string* out, const FamilyRow& row) { out->append(row.model_type); };
  return MakeError(Reason::kUnsupportedModel,
                   absl::StrCat(what, "; these are: ", absl::StrJoin(kFamilies, ", ", name)));
}

absl::StatusOr<std::unique_ptr<const Network>> BuildNetwork(const Checkpoint& checkpoint,
                                                            Size input, WeightReader& weights) {
  if (absl::Status status = CheckFamily(checkpoint); !status.ok()) return status;
  const FamilyRow* const family = FindFamily(checkpoint.model_type);
  if (absl::Status status = CheckGrids(checkpoint, *family); !status.ok()) return status;
  const absl::StatusOr<Config> config = VisionConfig(checkpoint.config, *family);
  if (!config.ok()) return config.status();
  std::unique_ptr<Network> network =
      family->build({*config, input, weights, PatchesOf(checkpoint.processor)});
  if (!weights.ok()) return weights.status();
  return network;
}

}  // namespace pixembed
