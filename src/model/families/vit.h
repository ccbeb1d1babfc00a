// What ViT and its descendants share. Internal to the families.
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

// In what the families that are a ViT differ.
struct VitVariant {
  std::string_view prefix;  // of the keys in files of head models: "vit."
  // What stands in front of the patches, the class token first; each has a position of its own.
  std::span<const std::string_view> tokens;  // "cls_token", ...
  double epsilon = 1e-12;                    // the default
};

// Source: transformers 5.23.0 models/{vit,deit,vit_msn,ijepa}/modeling_*.py; the keys are those in
// files (conversion_mapping.py "ViTModel").
std::unique_ptr<Network> BuildVitVariant(const FamilyInput& input, const VitVariant& variant);

// The attention of ViT's and DINOv2's files: attention.{query,key,value}, output.dense.
Attention ReadVitAttention(const WeightScope& scope, const Architecture& architecture);

// A block of ViT's files: layernorm_before, attention, layernorm_after, intermediate, output.
Block ReadVitBlock(const WeightScope& scope, const Architecture& architecture);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FAMILIES_VIT_H_
