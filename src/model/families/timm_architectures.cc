// Source: timm 1.0.31 models/vision_transformer.py and models/deit.py: every architecture that is
// made of the classes VisionTransformer or VisionTransformerDistilled, Block, Attention,
// PatchEmbed, LayerNorm, and Mlp or GluMlp, without dynamic_img_size. timm_golden_test holds this
// table against timm itself.
#include "src/model/families/timm_architectures.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "src/model/activation.h"

namespace pixembed {
namespace {

constexpr TimmStyle kPlain = {};
constexpr TimmStyle kDistilled = {.distillation_token = true};
constexpr TimmStyle kNoQkvBias = {.qkv_bias = false};
constexpr TimmStyle kScaled = {.layer_scale = true};
constexpr TimmStyle kClip = {.epsilon = 1e-5, .norm_before = true};
constexpr TimmStyle kClipQuickGelu = {
    .epsilon = 1e-5, .activation = Activation::kQuickGelu, .norm_before = true};
constexpr TimmStyle kEva = {.norm_after = false};
constexpr TimmStyle kFlexi = {.positions_of_patches_only = true};
constexpr TimmStyle kDeit3 = {.positions_of_patches_only = true, .layer_scale = true};
constexpr TimmStyle kTest3 = {.class_token = false, .registers = 1, .layer_scale = true};
constexpr TimmStyle kTips = {
    .registers = 1, .positions_of_patches_only = true, .layer_scale = true};
constexpr TimmStyle kDinoReg4 = {
    .registers = 4, .positions_of_patches_only = true, .layer_scale = true};
constexpr TimmStyle kGiantDino = {
    .activation = Activation::kSilu, .gated = true, .layer_scale = true};
constexpr TimmStyle kGiantTips = {.activation = Activation::kSilu,
                                  .gated = true,
                                  .registers = 1,
                                  .positions_of_patches_only = true,
                                  .layer_scale = true};
constexpr TimmStyle kGiantDinoReg4 = {.activation = Activation::kSilu,
                                      .gated = true,
                                      .registers = 4,
                                      .positions_of_patches_only = true,
                                      .layer_scale = true};
constexpr TimmStyle kNoClass = {.class_token = false};
constexpr TimmStyle kSiglipTanh = {.activation = Activation::kGeluTanh, .class_token = false};
constexpr TimmStyle kGap = {.class_token = false, .layer_scale = true, .qkv_bias = false};
constexpr TimmStyle kReg1Gap = {.class_token = false,
                                .registers = 1,
                                .positions_of_patches_only = true,
                                .norm_after = false,
                                .layer_scale = true};
constexpr TimmStyle kReg4Gap = {.class_token = false,
                                .registers = 4,
                                .positions_of_patches_only = true,
                                .norm_after = false,
                                .layer_scale = true};
constexpr TimmStyle kReg4GapUnscaled = {
    .class_token = false, .registers = 4, .positions_of_patches_only = true, .norm_after = false};
constexpr TimmStyle kSo150m = {.class_token = false, .registers = 4};
constexpr TimmStyle kSo150m2 = {.class_token = false,
                                .registers = 1,
                                .norm_after = false,
                                .layer_scale = true,
                                .qkv_bias = false};
constexpr TimmStyle kRadioScaled = {
    .registers = 7, .positions_of_patches_only = true, .norm_after = false, .layer_scale = true};
constexpr TimmStyle kRadio = {
    .registers = 7, .positions_of_patches_only = true, .norm_after = false};
constexpr TimmStyle kRadio4 = {
    .registers = 9, .positions_of_patches_only = true, .norm_after = false};

constexpr auto kArchitectures = std::to_array<TimmArchitecture>({
    {"deit3_base_patch16_224", 768, 12, 12, 4.0, 224, 16, kDeit3},
    {"deit3_base_patch16_384", 768, 12, 12, 4.0, 384, 16, kDeit3},
    {"deit3_huge_patch14_224", 1280, 32, 16, 4.0, 224, 14, kDeit3},
    {"deit3_large_patch16_224", 1024, 24, 16, 4.0, 224, 16, kDeit3},
    {"deit3_large_patch16_384", 1024, 24, 16, 4.0, 384, 16, kDeit3},
    {"deit3_medium_patch16_224", 512, 12, 8, 4.0, 224, 16, kDeit3},
    {"deit3_small_patch16_224", 384, 12, 6, 4.0, 224, 16, kDeit3},
    {"deit3_small_patch16_384", 384, 12, 6, 4.0, 384, 16, kDeit3},
    {"deit_base_distilled_patch16_224", 768, 12, 12, 4.0, 224, 16, kDistilled},
    {"deit_base_distilled_patch16_384", 768, 12, 12, 4.0, 384, 16, kDistilled},
    {"deit_base_patch16_224", 768, 12, 12, 4.0, 224, 16, kPlain},
    {"deit_base_patch16_384", 768, 12, 12, 4.0, 384, 16, kPlain},
    {"deit_small_distilled_patch16_224", 384, 12, 6, 4.0, 224, 16, kDistilled},
    {"deit_small_patch16_224", 384, 12, 6, 4.0, 224, 16, kPlain},
    {"deit_tiny_distilled_patch16_224", 192, 12, 3, 4.0, 224, 16, kDistilled},
    {"deit_tiny_patch16_224", 192, 12, 3, 4.0, 224, 16, kPlain},
    {"eva_large_patch14_196", 1024, 24, 16, 4.0, 196, 14, kEva},
    {"eva_large_patch14_336", 1024, 24, 16, 4.0, 336, 14, kEva},
    {"flexivit_base", 768, 12, 12, 4.0, 240, 16, kFlexi},
    {"flexivit_large", 1024, 24, 16, 4.0, 240, 16, kFlexi},
    {"flexivit_small", 384, 12, 6, 4.0, 240, 16, kFlexi},
    {"test_vit3", 96, 9, 3, 2.0, 160, 16, kTest3},
    {"vit_base_patch14_dinov2", 768, 12, 12, 4.0, 518, 14, kScaled},
    {"vit_base_patch14_reg1_tipsv2", 768, 12, 12, 4.0, 448, 14, kTips},
    {"vit_base_patch14_reg4_dinov2", 768, 12, 12, 4.0, 518, 14, kDinoReg4},
    {"vit_base_patch16_224", 768, 12, 12, 4.0, 224, 16, kPlain},
    {"vit_base_patch16_224_miil", 768, 12, 12, 4.0, 224, 16, kNoQkvBias},
    {"vit_base_patch16_384", 768, 12, 12, 4.0, 384, 16, kPlain},
    {"vit_base_patch16_clip_224", 768, 12, 12, 4.0, 224, 16, kClip},
    {"vit_base_patch16_clip_384", 768, 12, 12, 4.0, 384, 16, kClip},
    {"vit_base_patch16_clip_quickgelu_224", 768, 12, 12, 4.0, 224, 16, kClipQuickGelu},
    {"vit_base_patch16_gap_224", 768, 12, 16, 4.0, 224, 16, kNoClass},
    {"vit_base_patch16_plus_240", 896, 12, 14, 4.0, 240, 16, kScaled},
    {"vit_base_patch16_plus_clip_240", 896, 12, 14, 4.0, 240, 16, kClip},
    {"vit_base_patch16_radio_v3", 768, 12, 12, 4.0, 512, 16, kRadioScaled},
    {"vit_base_patch16_reg4_gap_256", 768, 12, 12, 4.0, 256, 16, kReg4GapUnscaled},
    {"vit_base_patch16_siglip_224", 768, 12, 12, 4.0, 224, 16, kNoClass},
    {"vit_base_patch16_siglip_256", 768, 12, 12, 4.0, 256, 16, kNoClass},
    {"vit_base_patch16_siglip_384", 768, 12, 12, 4.0, 384, 16, kNoClass},
    {"vit_base_patch16_siglip_512", 768, 12, 12, 4.0, 512, 16, kNoClass},
    {"vit_base_patch16_siglip_gap_224", 768, 12, 12, 4.0, 224, 16, kNoClass},
    {"vit_base_patch16_siglip_gap_256", 768, 12, 12, 4.0, 256, 16, kNoClass},
    {"vit_base_patch16_siglip_gap_384", 768, 12, 12, 4.0, 384, 16, kNoClass},
    {"vit_base_patch16_siglip_gap_512", 768, 12, 12, 4.0, 512, 16, kNoClass},
    {"vit_base_patch32_224", 768, 12, 12, 4.0, 224, 32, kPlain},
    {"vit_base_patch32_384", 768, 12, 12, 4.0, 384, 32, kPlain},
    {"vit_base_patch32_clip_224", 768, 12, 12, 4.0, 224, 32, kClip},
    {"vit_base_patch32_clip_256", 768, 12, 12, 4.0, 256, 32, kClip},
    {"vit_base_patch32_clip_384", 768, 12, 12, 4.0, 384, 32, kClip},
    {"vit_base_patch32_clip_448", 768, 12, 12, 4.0, 448, 32, kClip},
    {"vit_base_patch32_clip_quickgelu_224", 768, 12, 12, 4.0, 224, 32, kClipQuickGelu},
    {"vit_base_patch32_plus_256", 896, 12, 14, 4.0, 256, 32, kScaled},
    {"vit_base_patch32_siglip_256", 768, 12, 12, 4.0, 256, 32, kSiglipTanh},
    {"vit_base_patch32_siglip_gap_256", 768, 12, 12, 4.0, 256, 32, kSiglipTanh},
    {"vit_base_patch8_224", 768, 12, 12, 4.0, 224, 8, kPlain},
    {"vit_betwixt_patch16_gap_256", 640, 12, 10, 4.0, 256, 16, kGap},
    {"vit_betwixt_patch16_reg1_gap_256", 640, 12, 10, 4.0, 256, 16, kReg1Gap},
    {"vit_betwixt_patch16_reg4_gap_256", 640, 12, 10, 4.0, 256, 16, kReg4Gap},
    {"vit_betwixt_patch16_reg4_gap_384", 640, 12, 10, 4.0, 384, 16, kReg4Gap},
    {"vit_betwixt_patch32_clip_224", 640, 12, 10, 4.0, 224, 32, kClip},
    {"vit_giant_patch14_224", 1408, 40, 16, 4.363636363636363, 224, 14, kPlain},
    {"vit_giant_patch14_clip_224", 1408, 40, 16, 4.363636363636363, 224, 14, kClip},
    {"vit_giant_patch14_dinov2", 1536, 40, 24, 5.33334, 518, 14, kGiantDino},
    {"vit_giant_patch14_reg1_tipsv2", 1536, 40, 24, 5.33334, 448, 14, kGiantTips},
    {"vit_giant_patch14_reg4_dinov2", 1536, 40, 24, 5.33334, 518, 14, kGiantDinoReg4},
    {"vit_giant_patch16_gap_224", 1408, 40, 16, 4.363636363636363, 224, 16, kNoClass},
    {"vit_giant_patch16_radio_v3", 1536, 40, 24, 4.0, 512, 16, kRadio},
    {"vit_giantopt_patch16_siglip_256", 1536, 40, 16, 4.0, 256, 16, kSiglipTanh},
    {"vit_giantopt_patch16_siglip_384", 1536, 40, 16, 4.0, 384, 16, kSiglipTanh},
    {"vit_giantopt_patch16_siglip_gap_256", 1536, 40, 16, 4.0, 256, 16, kSiglipTanh},
    {"vit_giantopt_patch16_siglip_gap_384", 1536, 40, 16, 4.0, 384, 16, kSiglipTanh},
    {"vit_gigantic_patch14_224", 1664, 48, 16, 4.923076923076923, 224, 14, kPlain},
    {"vit_gigantic_patch14_clip_224", 1664, 48, 16, 4.923076923076923, 224, 14, kClip},
    {"vit_gigantic_patch14_clip_378", 1664, 48, 16, 4.923076923076923, 378, 14, kClip},
    {"vit_gigantic_patch14_clip_quickgelu_224", 1664, 48, 16, 4.923076923076923, 224, 14,
     kClipQuickGelu},
    {"vit_huge_patch14_224", 1280, 32, 16, 4.0, 224, 14, kPlain},
    {"vit_huge_patch14_clip_224", 1280, 32, 16, 4.0, 224, 14, kClip},
    {"vit_huge_patch14_clip_336", 1280, 32, 16, 4.0, 336, 14, kClip},
    {"vit_huge_patch14_clip_378", 1280, 32, 16, 4.0, 378, 14, kClip},
    {"vit_huge_patch14_clip_quickgelu_224", 1280, 32, 16, 4.0, 224, 14, kClipQuickGelu},
    {"vit_huge_patch14_clip_quickgelu_378", 1280, 32, 16, 4.0, 378, 14, kClipQuickGelu},
    {"vit_huge_patch14_gap_224", 1280, 32, 16, 4.0, 224, 14, kNoClass},
    {"vit_huge_patch16_gap_448", 1280, 32, 16, 4.0, 448, 16, kNoClass},
    {"vit_huge_patch16_radio_v3", 1280, 32, 16, 4.0, 512, 16, kRadio},
    {"vit_huge_patch16_radio_v4", 1280, 32, 16, 4.0, 512, 16, kRadio4},
    {"vit_large_patch14_224", 1024, 24, 16, 4.0, 224, 14, kPlain},
    {"vit_large_patch14_clip_224", 1024, 24, 16, 4.0, 224, 14, kClip},
    {"vit_large_patch14_clip_336", 1024, 24, 16, 4.0, 336, 14, kClip},
    {"vit_large_patch14_clip_quickgelu_224", 1024, 24, 16, 4.0, 224, 14, kClipQuickGelu},
    {"vit_large_patch14_clip_quickgelu_336", 1024, 24, 16, 4.0, 336, 14, kClipQuickGelu},
    {"vit_large_patch14_dinov2", 1024, 24, 16, 4.0, 518, 14, kScaled},
    {"vit_large_patch14_reg1_tipsv2", 1024, 24, 16, 4.0, 448, 14, kTips},
    {"vit_large_patch14_reg4_dinov2", 1024, 24, 16, 4.0, 518, 14, kDinoReg4},
    {"vit_large_patch16_224", 1024, 24, 16, 4.0, 224, 16, kPlain},
    {"vit_large_patch16_384", 1024, 24, 16, 4.0, 384, 16, kPlain},
    {"vit_large_patch16_radio_v3", 1024, 24, 16, 4.0, 512, 16, kRadioScaled},
    {"vit_large_patch16_siglip_256", 1024, 24, 16, 4.0, 256, 16, kNoClass},
    {"vit_large_patch16_siglip_384", 1024, 24, 16, 4.0, 384, 16, kNoClass},
    {"vit_large_patch16_siglip_512", 1024, 24, 16, 4.0, 512, 16, kSiglipTanh},
    {"vit_large_patch16_siglip_gap_256", 1024, 24, 16, 4.0, 256, 16, kNoClass},
    {"vit_large_patch16_siglip_gap_384", 1024, 24, 16, 4.0, 384, 16, kNoClass},
    {"vit_large_patch16_siglip_gap_512", 1024, 24, 16, 4.0, 512, 16, kSiglipTanh},
    {"vit_large_patch32_224", 1024, 24, 16, 4.0, 224, 32, kPlain},
    {"vit_large_patch32_384", 1024, 24, 16, 4.0, 384, 32, kPlain},
    {"vit_little_patch16_reg1_gap_256", 320, 14, 5, 5.6, 256, 16, kReg1Gap},
    {"vit_little_patch16_reg4_gap_256", 320, 14, 5, 5.6, 256, 16, kReg4Gap},
    {"vit_medium_patch16_clip_224", 512, 12, 8, 4.0, 224, 16, kClip},
    {"vit_medium_patch16_gap_240", 512, 12, 8, 4.0, 240, 16, kGap},
    {"vit_medium_patch16_gap_256", 512, 12, 8, 4.0, 256, 16, kGap},
    {"vit_medium_patch16_gap_384", 512, 12, 8, 4.0, 384, 16, kGap},
    {"vit_medium_patch16_reg1_gap_256", 512, 12, 8, 4.0, 256, 16, kReg1Gap},
    {"vit_medium_patch16_reg4_gap_256", 512, 12, 8, 4.0, 256, 16, kReg4Gap},
    {"vit_medium_patch32_clip_224", 512, 12, 8, 4.0, 224, 32, kClip},
    {"vit_mediumd_patch16_reg4_gap_256", 512, 20, 8, 4.0, 256, 16, kReg4Gap},
    {"vit_mediumd_patch16_reg4_gap_384", 512, 20, 8, 4.0, 384, 16, kReg4Gap},
    {"vit_small_patch14_dinov2", 384, 12, 6, 4.0, 518, 14, kScaled},
    {"vit_small_patch14_reg4_dinov2", 384, 12, 6, 4.0, 518, 14, kDinoReg4},
    {"vit_small_patch16_224", 384, 12, 6, 4.0, 224, 16, kPlain},
    {"vit_small_patch16_36x1_224", 384, 36, 6, 4.0, 224, 16, kScaled},
    {"vit_small_patch16_384", 384, 12, 6, 4.0, 384, 16, kPlain},
    {"vit_small_patch32_224", 384, 12, 6, 4.0, 224, 32, kPlain},
    {"vit_small_patch32_384", 384, 12, 6, 4.0, 384, 32, kPlain},
    {"vit_small_patch8_224", 384, 12, 6, 4.0, 224, 8, kPlain},
    {"vit_so150m2_patch16_reg1_gap_256", 832, 21, 13, 2.6153846153846154, 256, 16, kSo150m2},
    {"vit_so150m2_patch16_reg1_gap_384", 832, 21, 13, 2.6153846153846154, 384, 16, kSo150m2},
    {"vit_so150m2_patch16_reg1_gap_448", 832, 21, 13, 2.6153846153846154, 448, 16, kSo150m2},
    {"vit_so150m_patch16_reg4_gap_256", 896, 18, 14, 2.572, 256, 16, kSo150m},
    {"vit_so150m_patch16_reg4_gap_384", 896, 18, 14, 2.572, 384, 16, kSo150m},
    {"vit_so150m_patch16_reg4_map_256", 896, 18, 14, 2.572, 256, 16, kSo150m},
    {"vit_so400m_patch14_reg1_tipsv2", 1152, 27, 16, 3.736111111111111, 448, 14, kTips},
    {"vit_so400m_patch14_siglip_224", 1152, 27, 16, 3.7362, 224, 14, kNoClass},
    {"vit_so400m_patch14_siglip_378", 1152, 27, 16, 3.7362, 378, 14, kNoClass},
    {"vit_so400m_patch14_siglip_384", 1152, 27, 16, 3.7362, 384, 14, kNoClass},
    {"vit_so400m_patch14_siglip_gap_224", 1152, 27, 16, 3.7362, 224, 14, kNoClass},
    {"vit_so400m_patch14_siglip_gap_378", 1152, 27, 16, 3.7362, 378, 14, kNoClass},
    {"vit_so400m_patch14_siglip_gap_384", 1152, 27, 16, 3.7362, 384, 14, kNoClass},
    {"vit_so400m_patch14_siglip_gap_448", 1152, 27, 16, 3.7362, 448, 14, kNoClass},
    {"vit_so400m_patch14_siglip_gap_896", 1152, 27, 16, 3.7362, 896, 14, kNoClass},
    {"vit_so400m_patch16_radio_v4", 1152, 27, 16, 3.736111111111111, 512, 16, kRadio4},
    {"vit_so400m_patch16_siglip_256", 1152, 27, 16, 3.7362, 256, 16, kSiglipTanh},
    {"vit_so400m_patch16_siglip_384", 1152, 27, 16, 3.7362, 384, 16, kSiglipTanh},
    {"vit_so400m_patch16_siglip_512", 1152, 27, 16, 3.7362, 512, 16, kSiglipTanh},
    {"vit_so400m_patch16_siglip_gap_256", 1152, 27, 16, 3.7362, 256, 16, kSiglipTanh},
    {"vit_so400m_patch16_siglip_gap_384", 1152, 27, 16, 3.7362, 384, 16, kSiglipTanh},
    {"vit_so400m_patch16_siglip_gap_512", 1152, 27, 16, 3.7362, 512, 16, kSiglipTanh},
    {"vit_tiny_patch16_224", 192, 12, 3, 4.0, 224, 16, kPlain},
    {"vit_tiny_patch16_384", 192, 12, 3, 4.0, 384, 16, kPlain},
    {"vit_wee_patch16_reg1_gap_256", 256, 14, 4, 5.0, 256, 16, kReg1Gap},
    {"vit_xsmall_patch16_clip_224", 256, 10, 4, 4.0, 224, 16, kClip},
});

}  // namespace

std::span<const TimmArchitecture> TimmArchitectures() { return kArchitectures; }

const TimmArchitecture* FindTimmArchitecture(std::string_view name) {
  const auto* const found =
      std::ranges::lower_bound(kArchitectures, name, {}, &TimmArchitecture::name);
  return found != kArchitectures.end() && found->name == name ? found : nullptr;
}

std::string TimmArchitectureText(const TimmArchitecture& architecture) {
  const TimmStyle& style = architecture.style;
  const std::string_view activation = ActivationName(style.activation);
  return absl::StrCat(
      "width=", architecture.width, " layers=", architecture.layers, " heads=", architecture.heads,
      " intermediate=",
      static_cast<std::int64_t>(static_cast<double>(architecture.width) * architecture.mlp_ratio),
      " image=", architecture.image, " patch=", architecture.patch, " epsilon=", style.epsilon,
      " activation=", absl::string_view(activation.data(), activation.size()),
      " qkv_bias=", style.qkv_bias, " ", TimmStyleText(style));
}

std::string TimmStyleText(const TimmStyle& style) {
  return absl::StrCat("gated=", style.gated, " class_token=", style.class_token,
                      " distillation_token=", style.distillation_token,
                      " registers=", style.registers,
                      " positions_of_patches_only=", style.positions_of_patches_only,
                      " norm_before=", style.norm_before, " norm_after=", style.norm_after,
                      " layer_scale=", style.layer_scale);
}

}  // namespace pixembed
