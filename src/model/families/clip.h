// What CLIP's and SigLIP's vision towers share. Internal to the families.
#ifndef PIXEMBED_SRC_MODEL_FAMILIES_CLIP_H_
#define PIXEMBED_SRC_MODEL_FAMILIES_CLIP_H_

#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/layers.h"
#include "src/model/weights.h"

namespace pixembed {

// The configuration of a tower, whose sizes are single numbers.
Architecture ReadTowerArchitecture(const FamilyInput& input, const ArchitectureDefaults& defaults);

// Where the tower's keys begin: below "vision_model.", or at the top in files of the tower alone.
WeightScope TowerRoot(const FamilyInput& input);

Block ReadTowerBlock(const WeightScope& scope, const Architecture& architecture);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FAMILIES_CLIP_H_
