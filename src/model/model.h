// A checkpoint -> vectors. This header is torch-free: the rest of the service, and its tests with
// a fake, build without LibTorch.
//
// Life: LoadModel once (immutable, shared by all threads); one Runner per worker thread.
#ifndef PIXEMBED_SRC_MODEL_MODEL_H_
#define PIXEMBED_SRC_MODEL_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/image/image.h"

namespace pixembed {

// How [tokens, hidden] becomes [hidden].
enum class Pooling {
  kMean,  // mean over all tokens, class/distillation/register tokens included (the reference)
  kCls,   // the class token; only where the family has one
  kMax,   // maximum over all tokens, per feature
  // Mean over the tokens of the image's own patches; only where images are padded to a number of
  // patches (ModelInfo::max_patches), whose tokens kMean and kMax count as the reference does.
  kMaskedMean,
};

// "mean", "cls", "max", "masked_mean".
std::string_view PoolingName(Pooling pooling);

// How the numbers of a vector are written. All little-endian.
enum class DataType {
  kFloat32,
  kFloat16,   // IEEE binary16, round to nearest even
  kBFloat16,  // upper half of float32, round to nearest even
  kInt8,      // symmetric: value ~ int8 * scale, scale = max|value| / 127
  kBinary,    // one bit per dimension, 1 where value > 0; first dimension in the highest bit
};

// What one image's answer shall look like. Applied in this order:
// select layers -> pool -> truncate to `dimensions` -> L2-normalize -> convert to `data_type`.
struct OutputSpec {
  Pooling pooling = Pooling::kMean;
  // What is pooled. Empty: last_hidden_state. Otherwise, as the elements of transformers'
  // output_hidden_states: 0 is what the first block gets, i what block i gives; several: their
  // mean, element by element. Ascending, each once.
  std::vector<int> layers = {};
  bool normalize = false;
  int dimensions = 0;  // 0: all
  DataType data_type = DataType::kFloat32;
  friend bool operator==(const OutputSpec&, const OutputSpec&) = default;
};

// What decides which space a vector lies in, beside the model.
struct VectorSpace {
  Pooling pooling = Pooling::kMean;
  std::vector<int> layers = {};  // as in OutputSpec
  DecodePolicy policy = {};
};

// One vector.
struct Embedding {
  DataType data_type = DataType::kFloat32;
  int dimensions = 0;
  float scale = 1.0F;  // kInt8 only
  // `dimensions` numbers of `data_type`, packed, little-endian; kBinary: ceil(dimensions / 8)
  // bytes.
  std::string values;
  // Otherwise a number of the vector, or what `data_type` makes of it, is NaN or infinite: it lies
  // in no space, and must not be answered. (kInt8 and kBinary have no such number to show it.)
  bool finite = true;
};

// The numbers of a vector. REQUIRES: embedding.data_type == DataType::kFloat32.
std::vector<float> FloatValues(const Embedding& embedding);

// Of two vectors of one size: 1 where both are 0, -1 where a number is none.
double CosineSimilarity(std::span<const float> first, std::span<const float> second);

// Where a runner computes.
struct Device {
  enum class Kind { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int index = 0;  // CUDA ordinal
  friend bool operator==(const Device&, const Device&) = default;
};

// "cpu", "cuda:0".
std::string DeviceName(const Device& device);

// Parses --device: "auto" (every CUDA device, else the CPU), "cpu", "cuda" (every CUDA device),
// "cuda:N", or a comma-separated list. Errors: INVALID_OPTION names the text, what was found, and
// why a CUDA device cannot be used.
absl::StatusOr<std::vector<Device>> ResolveDevices(std::string_view text);

// Whether a text of --device is written as one, whatever devices there are. Errors: INVALID_OPTION
// names the word that is none, and what is possible.
absl::Status CheckDeviceText(std::string_view text);

// The names of the CUDA devices, by ordinal: "NVIDIA H100 80GB HBM3". Not empty.
// Errors: DEVICE_FAILURE says what is missing: the driver, the CUDA half of this program, one of
// LibTorch's CUDA libraries, a device. This is why "auto" chose the CPU.
absl::StatusOr<std::vector<std::string>> CudaDevices();

// What the products with a block's weights are computed in: operands are rounded to it, sums are
// float32. What lies between the products is float32, and so are the patch embedding, the residual
// stream and all norms; of kBFloat16 on a CUDA device what lies within attention and within an MLP
// stays bfloat16 (BranchType in linear.h).
enum class Precision {
  kFloat32,
  kBFloat16,  // half the memory, and twice the speed or more where the device multiplies it
  // Half the memory, and nearly as exact as kFloat32. CPUs with AVX512_VNNI, AVX_VNNI or AVX2, but
  // not those with AVX-512 and no VNNI: they multiply kFloat32 as fast.
  kInt16,
  // A quarter of the memory; CPUs as kInt16. Products that lose too much by it stay in kBFloat16
  // (kInt16 where the CPU does not multiply that): which ones is found at load, and part of the
  // fingerprint, as is how activations are rounded, which is coarser without VNNI.
  kInt8,
  kAuto,  // kBFloat16 or else kInt16 where every device does and the model bears it, else kFloat32
};

// "float32", "bfloat16", "int16", "int8", "auto".
std::string_view PrecisionName(Precision precision);

// What a model is. Immutable after LoadModel.
struct ModelInfo {
  std::string model_type;      // config.json "model_type": "dinov2"
  std::string processor_type;  // "BitImageProcessor"
  PreprocessSpec preprocess;
  // Every image has this size when it enters the model; where max_patches is not 0, the largest
  // square ones do.
  Size input;
  // Where images keep their aspect ratio: how many patches (preprocess.resize->patches) an image
  // has at most, and every image is padded to. 0: images are not padded.
  int max_patches = 0;
  int tokens = 0;        // rows of last_hidden_state, padding included
  int dimension = 0;     // columns of last_hidden_state
  bool has_cls = false;  // Pooling::kCls is available
  // OutputSpec::layers may name 0 to this, not included. 0: only last_hidden_state is to be had.
  int hidden_states = 0;
  std::int64_t parameters = 0;
  Precision precision = Precision::kFloat32;  // never kAuto
  // Where precision is less than float32: the smallest cosine, found at load on a few built-in
  // pictures, between the mean-pooled vectors and those of float32; and the one that had to be.
  double precision_cosine = 1.0;
  double precision_min_cosine = 1.0;
  std::string kernels;  // what computes, for the log: "ATen AVX2, MKL"
  // An image's vector has the same bits whatever the batch, the runner and `threads`. kFloat32,
  // kInt16 and kInt8 on CPUs with AVX2 give them always, kBFloat16 on those with AMX; others where
  // ModelOptions asks for it.
  bool deterministic = false;
  // Runners take the images of a batch one by one, on a CPU each on one thread: how the others are
  // deterministic.
  bool one_by_one = false;
  // On a CPU: how many images of a batch to run together for the least time an image, on a core.
  int best_batch_size = 1;
};

// Runs batches on one device. One thread at a time; the thread that made it.
class Runner {
 public:
  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  virtual ~Runner() = default;

  // outputs[i] is made from images[i] as specs[i] asks. A vector does not depend on its neighbours
  // (beyond 1e-5; where info().deterministic, not in a bit). `threads` is the number of cores the
  // call may use (CPU only; >= 1). REQUIRES: images.size() == specs.size() >= 1; every image is
  // one that Resize gives under info().preprocess; every spec passed Model::CheckOutput. Batches of
  // any size are accepted; the caller bounds them. Errors, for the batch as a whole:
  // DEVICE_FAILURE, OUT_OF_MEMORY. Never throws.
  virtual absl::StatusOr<std::vector<Embedding>> Embed(std::span<const Image* const> images,
                                                       std::span<const OutputSpec> specs,
                                                       int threads) = 0;

  // Gives back to the device what the runner and its neighbours there hold without need: what the
  // caller does after OUT_OF_MEMORY, before it tries a smaller batch. May wait for all that the
  // device is doing. Never throws.
  virtual void ReleaseUnusedMemory() {}
};

// How many images a GPU's runner computes where it is given `images`, >= 1: the next of 1, 2, 4, 8,
// 16, 24, 32, ..., 64, 80, 96, 112, 128, 160, ..., and never more than the largest batch that it
// was given. For each of these sizes it keeps a recorded pass, and the device's libraries their
// plans: few sizes, all of which have been run before the first request comes.
std::int64_t PaddedBatchSize(std::int64_t images);

// Immutable, thread-safe.
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  // Names the space that such vectors live in: 64 hexadecimal digits, SHA-256 over weights,
  // architecture, processor, backend, pooling, layers, policy, precision and numerics version. Two
  // answers with different fingerprints must not meet in one index. REQUIRES: CheckOutput has no
  // objection.
  virtual std::string Fingerprint(const VectorSpace& space) const = 0;

  // Whether the model can give such an answer.
  // Errors: INVALID_OPTION (INVALID_ARGUMENT) names the field, its value and what is possible.
  virtual absl::Status CheckOutput(const OutputSpec& spec) const = 0;

  // The devices that hold the weights, as given to LoadModel.
  virtual std::span<const Device> devices() const = 0;

  // A runner on `device`, to be used by the calling thread. It does not outlive the model.
  // Errors: DEVICE_FAILURE, OUT_OF_MEMORY.
  virtual absl::StatusOr<std::unique_ptr<Runner>> NewRunner(const Device& device) const = 0;
};

// What a model directory holds the model as.
enum class ModelFormat {
  kAuto,         // safetensors where there are any, else model.pt2, else model.pt
  kSafetensors,  // weights alone, for a family that this program knows
  kTorchScript,  // model.pt, a program
  kAotInductor,  // model.pt2, a compiled program
};

// "auto", "safetensors", "torchscript", "aotinductor".
std::string_view ModelFormatName(ModelFormat format);

struct ModelOptions {
  Backend backend = Backend::kTorchvision;
  ModelFormat format = ModelFormat::kAuto;
  // Whether a model may be a program. It runs with all rights of this process.
  bool trust_model_code = false;
  // Not empty; each at most once. The weights are held once per device.
  std::vector<Device> devices = {Device{}};
  // Whether ModelInfo::deterministic has to be, at the cost of ModelInfo::one_by_one.
  bool deterministic = false;
  // Less than float32 is checked at load: see ModelInfo::precision_cosine.
  Precision precision = Precision::kFloat32;
  double precision_min_cosine = 0.999;
  // Whether runners on CUDA devices replay passes as CUDA graphs: batches of uint8 images of one
  // size, of which only last_hidden_state is asked. Not of programs, nor where `deterministic`.
  bool cuda_graphs = true;
  // Whether CUDA devices compute bfloat16 by kernels of ours and products chosen by time
  // (device_kernels.h). Not programs, nor where `deterministic`.
  bool fused_kernels = true;
  // Takes a line for the log, about what a runner does without. Thread-safe; called on the runners'
  // threads; may be empty.
  std::function<void(const std::string&)> warn = nullptr;
};

// Reads the directory and builds its network. Everything that can be wrong with a directory is
// found here: missing, extra-dimensional or mis-shaped tensors (the text names the key and both
// shapes), a processor whose output size the model refuses, an unknown family. A program
// (ModelFormat) may be of any family; it is run a few times to see what it gives.
// Errors: those of OpenCheckpoint; TENSOR_MISSING, TENSOR_SHAPE, UNSUPPORTED_MODEL,
// UNSUPPORTED_PROCESSOR; UNTRUSTED_CODE (a program without trust_model_code), INCOMPATIBLE_PROGRAM
// (a compiled one for another instruction set, device or version of torch); UNSUPPORTED_PRECISION
// (a device does not multiply it, or the model is a program), PRECISION_LOSS; DEVICE_FAILURE,
// OUT_OF_MEMORY. As with OpenCheckpoint, the text leaves it to the caller to name the directory.
absl::StatusOr<std::shared_ptr<const Model>> LoadModel(const std::filesystem::path& directory,
                                                       const ModelOptions& options);

// Whether LibTorch, as this process has it loaded, is of the version that this was built with. It
// is not where a program that loads us as a library brought another one before. Errors:
// UNUSABLE_PROCESS names both versions.
absl::Status CheckRuntime();

// Prepares the process for inference: thread pools of LibTorch, allocator settings. Call in
// main, before any other call of this header but CheckRuntime. Idempotent.
void InitializeRuntime();

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_MODEL_H_
