// The model families, by the "model_type" of config.json. Internal to the room.
//
// To add one: a file in families/, its Build function here, a row in families.cc, and a model in
// tests/golden/make_embeddings.py.
#ifndef PIXEMBED_SRC_MODEL_FAMILIES_H_
#define PIXEMBED_SRC_MODEL_FAMILIES_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/network.h"
#include "src/model/weights.h"

namespace pixembed {

// What a family builds from.
struct FamilyInput {
  const Config& config;   // the part of config.json that describes the vision model
  Size input;             // of every image that the processor gives; see ModelInfo
  WeightReader& weights;  // where errors go, too
  // Of a processor whose images have grids of their own: none unless the family's row says so.
  std::optional<PatchBudget> patches = std::nullopt;
};

// Builds a network, or returns nullptr after an error that FamilyInput::weights knows.
using FamilyBuilder = std::unique_ptr<Network>(const FamilyInput&);

FamilyBuilder BuildVit;
FamilyBuilder BuildVitMae;
FamilyBuilder BuildVitMsn;
FamilyBuilder BuildIjepa;
FamilyBuilder BuildDeit;
FamilyBuilder BuildBeit;
FamilyBuilder BuildData2VecVision;
FamilyBuilder BuildDinov2;
FamilyBuilder BuildDinov2WithRegisters;
FamilyBuilder BuildDinov3Vit;
FamilyBuilder BuildClip;
FamilyBuilder BuildMlcd;
FamilyBuilder BuildSiglip;
FamilyBuilder BuildSiglip2;
FamilyBuilder BuildSwin;
FamilyBuilder BuildSwinV2;
FamilyBuilder BuildTimm;
FamilyBuilder BuildHiera;

// Refuses images of another size than `architecture` was trained for: what transformers does in the
// families that do not interpolate their positions.
void RequireTrainedSize(const FamilyInput& input, const Architecture& architecture);

// Whether the model of `checkpoint` is of a family that is implemented. Errors: UNSUPPORTED_MODEL;
// the text lists the families, or says why this one gives no embedding.
absl::Status CheckFamily(const Checkpoint& checkpoint);

// Builds the network of `checkpoint` for images of size `input`, with the weights that `weights`
// gives. Errors: those of CheckFamily; UNSUPPORTED_MODEL, CHECKPOINT_CORRUPT, TENSOR_MISSING,
// TENSOR_SHAPE; UNSUPPORTED_PROCESSOR: the model refuses images of this size, or of one size, or of
// several.
absl::StatusOr<std::unique_ptr<const Network>> BuildNetwork(const Checkpoint& checkpoint,
                                                            Size input, WeightReader& weights);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FAMILIES_H_
