#include "src/model/families/positions.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/upsample_bicubic2d.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/families.h"

namespace pixembed {
namespace {

// The side of the square that the reference takes the trained positions for.
std::int64_t SquareSide(std::int64_t count) {
  return static_cast<std::int64_t>(std::sqrt(static_cast<double>(count)));
}

// Whether the reference takes the positions as they are.
bool PositionsFit(Size input, const Architecture& architecture) {
  return Count(Grid(input, architecture.patch)) ==
             Count(Grid(architecture.image, architecture.patch)) &&
         input.height == input.width;
}

}  // namespace

void RequireWholePatch(const FamilyInput& input, const Architecture& architecture) {
  if (Count(Grid(input.input, architecture.patch)) > 0) return;
  input.weights.Fail(MakeError(
      Reason::kUnsupportedProcessor,
      absl::StrCat("the processor makes images of ", SizeText(input.input),
                   ", smaller than the model's patch_size ", SizeText(architecture.patch))));
}

void RequireAxialHeads(const FamilyInput& input, const Architecture& architecture) {
  if (architecture.head_dim % 4 == 0) return;
  ConfigReader(input.config, input.weights)
      .Refuse(Reason::kUnsupportedModel,
              absl::StrCat("hidden_size ", architecture.width, " over num_attention_heads ",
                           architecture.heads, " is ", architecture.head_dim,
                           ", not a multiple of 4, which rotary positions on two axes need"));
}

void RequireInterpolablePositions(const FamilyInput& input, const Architecture& architecture) {
  const std::int64_t trained = Count(Grid(architecture.image, architecture.patch));
  const std::int64_t side = SquareSide(trained);
  if (PositionsFit(input.input, architecture) || side * side == trained) return;
  ConfigReader(input.config, input.weights)
      .Refuse(Reason::kUnsupportedModel,
              absl::StrCat("image_size ", SizeText(architecture.image), " and patch_size ",
                           SizeText(architecture.patch), " give ", trained,
                           " positions, which are no square and cannot be interpolated to ",
                           SizeText(Grid(input.input, architecture.patch))));
}

at::Tensor InterpolatePositions(const at::Tensor& positions, const FamilyInput& input,
                                const Architecture& architecture, bool antialias) {
  if (PositionsFit(input.input, architecture)) return positions[0];
  const Size grid = Grid(input.input, architecture.patch);
  const std::int64_t side = SquareSide(positions.size(1));
  const std::int64_t width = positions.size(2);
  const at::Tensor square = positions.reshape({1, side, side, width}).permute({0, 3, 1, 2});
  const std::array<std::int64_t, 2> target = {grid.height, grid.width};
  const at::OptionalIntArrayRef size(target);
  const std::optional<at::ArrayRef<double>> no_factors;
  const at::Tensor resized =
      antialias ? at::_upsample_bicubic2d_aa(square, size, /*align_corners=*/false, no_factors)
                : at::upsample_bicubic2d(square, size, /*align_corners=*/false, no_factors);
  return resized.permute({0, 2, 3, 1}).reshape({-1, width}).contiguous();
}

}  // namespace pixembed
