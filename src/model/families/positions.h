// What the families ask of a grid of patches, and learned position embeddings on another grid than
// that of training. Internal to the families.
#ifndef PIXEMBED_SRC_MODEL_FAMILIES_POSITIONS_H_
#define PIXEMBED_SRC_MODEL_FAMILIES_POSITIONS_H_

#include <ATen/core/Tensor.h>

#include "src/model/architecture.h"
#include "src/model/families.h"

namespace pixembed {

// Refuses images that hold no whole patch.
void RequireWholePatch(const FamilyInput& input, const Architecture& architecture);

// Refuses heads that cannot be turned by rows and columns: see AxialAngles.
void RequireAxialHeads(const FamilyInput& input, const Architecture& architecture);

// Refuses images to whose grid the trained positions cannot be interpolated: the reference takes
// these for a square.
void RequireInterpolablePositions(const FamilyInput& input, const Architecture& architecture);

// The patch positions [1, trained, width] on the grid of the input's patches: [patches, width].
// Bicubic where the grid is another one. REQUIRES: RequireInterpolablePositions had nothing to say.
// Source: transformers 5.23.0 models/dinov2/modeling_dinov2.py interpolate_pos_encoding, which
// models/beit/modeling_beit.py has too; with antialias:
// models/dinov2_with_registers/modeling_dinov2_with_registers.py.
at::Tensor InterpolatePositions(const at::Tensor& positions, const FamilyInput& input,
                                const Architecture& architecture, bool antialias);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_FAMILIES_POSITIONS_H_
