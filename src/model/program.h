// A model that is a program: compiled or scripted code with its weights, in one file of the
// directory. Running it runs what its author wrote, so nothing here may be reached without
// ModelOptions::trust_model_code. Internal to the room.
//
// LibTorch's headers for programs are heavy: they stay in the .cc file of each kind.
#ifndef PIXEMBED_SRC_MODEL_PROGRAM_H_
#define PIXEMBED_SRC_MODEL_PROGRAM_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "src/model/network.h"

namespace pixembed {

// Immutable, thread-safe.
class Program {
 public:
  Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  virtual ~Program() = default;

  // `images`: [N, 3, H, W] float32, normalized, contiguous. Returns the tensor that the program
  // gives, of whatever shape and type. Throws what the program or LibTorch throws.
  virtual at::Tensor Run(const at::Tensor& images) const = 0;
};

// A program and what its file says of it.
struct LoadedProgram {
  std::unique_ptr<const Program> program;
  bool class_token = false;     // the first of several tokens is a class token
  std::int64_t parameters = 0;  // numbers in its weights
  std::string kind;             // "TorchScript", for the log and the fingerprint
};

// A TorchScript archive (model.pt). Its forward takes one tensor and returns a tensor, or a dict,
// a tuple or an object: then its `last_hidden_state` counts, of a tuple without names the first
// element. Compiles nothing.
// Errors: CHECKPOINT_CORRUPT (no archive, truncated, a pickle), UNSUPPORTED_MODEL (LibTorch cannot
// load it: the text says why).
absl::StatusOr<LoadedProgram> LoadTorchScript(const MappedFile& file, c10::Device device);

// An AOTInductor package (model.pt2) of deploy/export_aotinductor.py, for images of size `input`.
// Its library lies in a temporary folder (TMPDIR) while it is loaded. Compiles nothing.
// Errors: CHECKPOINT_CORRUPT, INCOMPATIBLE_PROGRAM (built for another instruction set, device or
// version of torch, or it does not say for which), UNSUPPORTED_PROCESSOR (for images of another
// size), UNSUPPORTED_MODEL.
absl::StatusOr<LoadedProgram> LoadAotInductor(const MappedFile& file, Size input,
                                              c10::Device device);

// The network that `program` is. Runs it on a few images to find out tokens, dimension, and whether
// it takes batches; one that takes single images only is run on one after the other.
// Errors: UNSUPPORTED_MODEL (it fails, gives another result the second time, or mixes the images of
// a batch), TENSOR_SHAPE (what it gives is neither [N, tokens, dimension] nor [N, dimension]; the
// text holds both shapes). OUT_OF_MEMORY.
absl::StatusOr<std::unique_ptr<const Network>> ProbeProgram(LoadedProgram program, Size input,
                                                            c10::Device device);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_PROGRAM_H_
