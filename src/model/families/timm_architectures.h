// The plain vision transformers of timm, by the name that config.json's "architecture" gives them.
// Internal to the families.
#ifndef PIXEMBED_SRC_MODEL_FAMILIES_TIMM_ARCHITECTURES_H_
#define PIXEMBED_SRC_MODEL_FAMILIES_TIMM_ARCHITECTURES_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "src/model/activation.h"

namespace pixembed {

// In what timm's vision transformers differ besides their sizes. The default is that of timm's
// class.
struct TimmStyle {
  double epsilon = 1e-6;  // of every LayerNorm
  Activation activation = Activation::kGelu;
  bool gated = false;  // the Mlp: timm's GluMlp with the gate first
  bool class_token = true;
  bool distillation_token = false;
  std::int64_t registers = 0;
  // Else what stands in front of the patches has positions, too.
  bool positions_of_patches_only = false;
  bool norm_before = false;  // the patches' projection has no bias then
  // Else the final norm comes after pooling, or there is none: the last hidden state is without.
  bool norm_after = true;
  bool layer_scale = false;
  bool qkv_bias = true;
};

struct TimmArchitecture {
  std::string_view name;
  std::int64_t width;
  std::int64_t layers;
  std::int64_t heads;
  double mlp_ratio;
  int image;  // side, as is
  int patch;  // the patch's
  TimmStyle style;
};

// Sorted by name.
std::span<const TimmArchitecture> TimmArchitectures();

// nullptr where timm has no such architecture, or it is another network than a plain vision
// transformer.
const TimmArchitecture* FindTimmArchitecture(std::string_view name);

// Every field but the name.
std::string TimmArchitectureText(const TimmArchitecture& architecture);

// The fields of its style that ArchitectureText has not: what the fingerprint takes, too.
std::string TimmStyleText(const TimmStyle& style);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FAMILIES_TIMM_ARCHITECTURES_H_
