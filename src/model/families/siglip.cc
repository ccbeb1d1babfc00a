#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/clip.h"
#include "src/model/layers.h"
#include "src/model/network.h"
#include "src/model/transformer.h"
#include "src/model/weights.h"

// Source: transformers 5.23.0 models/siglip/modeling_siglip.py.
namespace pixembed {

std::unique_ptr<Network> BuildSiglip(const FamilyInput& input) {
  const Architecture architecture = ReadTowerArchitecture(
      input, {.patch = 16, .epsilon = 1e-6, .activation = "gelu_pytorch_tanh"});
  const std::int64_t width = architecture.width;
  const std::int64_t patches = Count(Grid(architecture.image, architecture.patch));
  // The reference does not look at the size, but adds as many positions as there were in training.
  const std::int64_t input_patches = Count(Grid(input.input, architecture.patch));
  if (input_patches != patches) {
    input.weights.Fail(
        MakeError(Reason::kUnsupportedProcessor,
                  absl::StrCat("the processor makes images of ", SizeText(input.input),
                               ", which give ", input_patches, " patches; the model's image_size ",
                               SizeText(architecture.image), " gives ", patches)));
  }

  const WeightScope root = TowerRoot(input);
  const WeightScope embeddings = root.At("embeddings");
  TransformerParts parts;
  parts.projection = ReadPatchProjection(embeddings.At("patch_embedding"), width,
                                         architecture.patch, /*bias=*/true);
  parts.patch_positions = embeddings.Get("position_embedding.weight", {patches, width});
  for (std::int64_t i = 0; i < architecture.layers; ++i) {
    parts.blocks.push_back(ReadTowerBlock(root.At("encoder.layers", i), architecture));
  }
  parts.norm_after = ReadLayerNorm(root.At("post_layernorm"), width, architecture.epsilon);
  if (!input.weights.ok()) return nullptr;

  return std::make_unique<VisionTransformer>(
      NetworkInfo{.patch = architecture.patch,
                  .tokens = static_cast<int>(patches),
                  .dimension = static_cast<int>(width),
                  .has_cls = false,
                  .architecture = absl::StrCat("siglip ", ArchitectureText(architecture))},
      std::move(parts));
}

}  // namespace pixembed
