// Whether a model gives the pixels and vectors that the user's own transformers gave.
//
// The proof lies beside the model: pixembed_golden.safetensors, written by deploy/make_golden.py.
// For every image NAME it holds
//   NAME.encoded              U8 [bytes]      the file
//   NAME.pixel_values_sha256  U8 [32]         SHA-256 of pixel_values, float32, row-major,
//                                             little-endian: [3, H, W], or of a processor that cuts
//                                             patches [patches, values], with its padding
//   NAME.vector               F32 [D]         mean of last_hidden_state over the tokens
// and in its metadata "format" = "pixembed_golden", "version" = "1", "backend" = "torchvision" or
// "pil", "dtype" = "float32", "pooling" = "mean", and what made it, for the log: "transformers",
// "torch", "torchvision", "pillow".
#ifndef PIXEMBED_SRC_VERIFY_VERIFY_H_
#define PIXEMBED_SRC_VERIFY_VERIFY_H_

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/digest/digest.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

inline constexpr std::string_view kGoldenFileName = "pixembed_golden.safetensors";

// One image and what becomes of it in the reference.
struct GoldenImage {
  std::string name;
  std::span<const std::byte> encoded;
  Sha256Digest pixel_values{};
  std::vector<float> vector;  // finite
};

// A golden file, read. Copies share the mapping.
struct GoldenFile {
  Backend backend = Backend::kTorchvision;
  std::string made_with;            // "transformers 5.23.0, torch 2.11.0, ...", printable
  std::vector<GoldenImage> images;  // not empty; by name
  std::shared_ptr<const void> owner;
};

// Whether a model directory holds a golden file.
bool HasGoldenFile(const std::filesystem::path& directory);

// Reads the golden file of a model directory. It may be hostile.
// Errors: CHECKPOINT_MISSING, CHECKPOINT_CORRUPT; the text names the file, but as OpenCheckpoint
// not the directory, and what is wrong in it.
absl::StatusOr<GoldenFile> OpenGoldenFile(const std::filesystem::path& directory);

// How far a vector may be from the reference's.
struct GoldenBounds {
  float max_abs = 1e-4F;    // absolute, of each number
  double cosine = 0.99999;  // at least
};

// The promise for float32; a model of less precision answers for its direction only, within
// ModelInfo::precision_min_cosine.
GoldenBounds BoundsOf(const ModelInfo& info);

// How well a model agrees with one golden image.
struct Agreement {
  std::string name;
  GoldenBounds bounds = {};  // the model's
  absl::Status decoded;      // the images room's error, where there is one; then nothing below
  bool same_pixels = false;  // pixel_values, bit for bit
  float max_abs = 0.0F;      // largest absolute difference; infinite where a number is none
  double cosine = 0.0;       // of the two vectors; 1 where both are 0

  bool ok() const {
    return decoded.ok() && same_pixels && max_abs <= bounds.max_abs && cosine >= bounds.cosine;
  }
};

// How well a model on one device agrees with all of them.
struct Verification {
  Device device;
  std::vector<Agreement> images;  // as in the file

  // The worst of those that were decoded; 0 and 1 where none was.
  float max_abs() const;
  double cosine() const;
  // OK, or GOLDEN_MISMATCH with the number of images that disagree and what is wrong with the
  // first.
  absl::Status Verdict() const;
};

// Decodes, preprocesses and embeds every golden image on each device of the model. Makes a runner
// of its own, on the calling thread. `threads`: as Runner::Embed. Errors: GOLDEN_MISMATCH where the
// file speaks of another backend or another dimension than the model has; those of Model::NewRunner
// and Runner::Embed. That vectors differ is no error of this function: see Verdict.
absl::StatusOr<std::vector<Verification>> Verify(const Model& model, const GoldenFile& golden,
                                                 const DecodeLimits& limits, int threads);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_VERIFY_VERIFY_H_
