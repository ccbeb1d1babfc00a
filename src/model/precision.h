// Matrix products in less than float32: where, and whether that is good enough. Internal to the
// room.
#ifndef PIXEMBED_SRC_MODEL_PRECISION_H_
#define PIXEMBED_SRC_MODEL_PRECISION_H_

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// OK where every one of `devices` multiplies numbers of `precision` in hardware. Others would take
// several times as long as in float32, not less. REQUIRES: `precision` is not kAuto.
// Errors: UNSUPPORTED_PRECISION names the device and what it lacks.
absl::Status CheckNative(Precision precision, std::span<const Device> devices);

// Pictures to compare two precisions on: shades, edges, blobs and noise, the same everywhere.
// `spec`: Resize gives them, of `input` pixels. Not empty.
std::vector<Image> CalibrationImages(const PreprocessSpec& spec, Size input);

// More of them, that look as photos do to a network: leaves of all sizes over each other, with
// shades and textures; coloured, dark, blurred and grey.
std::vector<Image> NaturalImages(const PreprocessSpec& spec, Size input);

// The smallest cosine between the mean-pooled vectors of two runners, image by image.
// Errors: those of Runner::Embed.
absl::StatusOr<double> WorstCosine(Runner& first, Runner& second, std::span<const Image> images,
                                   int threads);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PRECISION_H_
