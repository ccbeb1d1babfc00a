// What ViT, DeiT and DINOv2 share. Internal to the families.
#ifndef PIXEMBED_SRC_MODEL_FAMILIES_VIT_H_
#define PIXEMBED_SRC_MODEL_FAMILIES_VIT_H_

#include <memory>
#include <span>
#include <string_view>

#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/weights.h"

namespace pixembed {

// What a ViT has in front of its patches.
struct VitTokens {
  std::string_view prefix;                   // of the keys in files of head models: "vit."
  std::span<const std::string_view> tokens;  // "cls_token", ...
};

// A ViT with these leading tokens, each with a position of its own.
// Source: transformers 5.23.0 models/vit/modeling_vit.py, models/deit/modeling_deit.py; the keys
// are those in files (conversion_mapping.py "ViTModel").
std::unique_ptr<Network> BuildVitWithTokens(const FamilyInput& input, const VitTokens& tokens);

// The attention of ViT's and DINOv2's files: attention.{query,key,value}, output.dense.
Attention ReadVitAttention(const WeightScope& scope, const Architecture& architecture);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FAMILIES_VIT_H_
