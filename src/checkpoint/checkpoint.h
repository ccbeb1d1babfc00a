// What a Hugging Face model directory says, as plain data. Hostile files end here.
//
// Reads config.json, preprocessor_config.json and model.safetensors (or the shards named by
// model.safetensors.index.json). Never reads pickle, never runs anything, never opens a file
// outside the directory. Knows no torch: a tensor is a name, a type, a shape and mapped bytes.
#ifndef PIXEMBED_SRC_CHECKPOINT_CHECKPOINT_H_
#define PIXEMBED_SRC_CHECKPOINT_CHECKPOINT_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/image/image.h"

namespace pixembed {

// The element types of the safetensors format. Source: safetensors 0.8.0 src/tensor.rs Dtype.
enum class TensorType {
  kBool,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64,
};

// "F32", as the file spells it.
std::string_view TensorTypeName(TensorType type);
// Bytes of one element.
std::size_t TensorTypeSize(TensorType type);

// One tensor of a mapped file. The bytes live as long as the Weights that gave it.
struct Tensor {
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  // Row-major, little-endian, exactly product(shape) * TensorTypeSize(type) bytes. Not aligned to
  // more than 1 byte by the format.
  std::span<const std::byte> bytes;
};

// The tensors of one or several safetensors files, memory-mapped read-only. Immutable,
// thread-safe, cheap to copy (copies share the mapping).
class Weights {
 public:
  // No tensors.
  Weights() = default;
  // Maps the file `name` of a directory, which nobody may shorten while a copy of the Weights
  // lives. Errors: CHECKPOINT_MISSING, CHECKPOINT_CORRUPT; the text names the file by `name`, the
  // tensor and the offending numbers.
  static absl::StatusOr<Weights> Open(const std::filesystem::path& directory,
                                      std::string_view name);
  // Maps every shard that the index `name` of a directory names. Errors: as Open, and a shard that
  // lies outside the directory, or lacks a tensor that the index promises.
  static absl::StatusOr<Weights> OpenSharded(const std::filesystem::path& directory,
                                             std::string_view name);
  // Parses bytes in memory; what Open does after mapping. `owner` keeps `bytes` alive, `origin`
  // names them in errors, where it is Printable. For tests and fuzzers.
  static absl::StatusOr<Weights> Parse(std::span<const std::byte> bytes,
                                       std::shared_ptr<const void> owner, std::string_view origin);

  // nullptr where there is no such tensor.
  const Tensor* Find(std::string_view name) const;
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return *tensors_; }
  // The file's "__metadata__"; of shards, none.
  const std::map<std::string, std::string, std::less<>>& metadata() const { return *metadata_; }
  // How errors name where the tensors come from: "model.safetensors".
  const std::string& origin() const { return origin_; }

 private:
  std::shared_ptr<const std::map<std::string, Tensor, std::less<>>> tensors_ =
      std::make_shared<const std::map<std::string, Tensor, std::less<>>>();
  std::shared_ptr<const std::map<std::string, std::string, std::less<>>> metadata_ =
      std::make_shared<const std::map<std::string, std::string, std::less<>>>();
  std::vector<std::shared_ptr<const void>> owners_;
  std::string origin_;
};

// config.json, read by key. Immutable, thread-safe, cheap to copy.
//
// Every getter takes the value of an absent or null key (`fallback`, the default of the
// transformers configuration class), and checks what it reads: a wrong type, NaN or an
// out-of-range number is CHECKPOINT_CORRUPT with file, key, value and range in the text.
class Config {
 public:
  // Errors: CHECKPOINT_CORRUPT where `text` is not a JSON object. `origin` names it in errors,
  // where it is Printable.
  static absl::StatusOr<Config> Parse(std::string_view text, std::string_view origin);

  // What the value of a key is in JSON.
  enum class Kind { kAbsent, kNull, kBool, kInt, kFloat, kString, kList, kObject };
  Kind KindOf(std::string_view key) const;
  bool Has(std::string_view key) const;  // present and not null
  // How an error names a key and its value: `config.json: vision_config.hidden_act = "swish"`.
  std::string Describe(std::string_view key) const;
  // The keys that are present and not null, sorted.
  std::vector<std::string> Keys() const;

  absl::StatusOr<std::int64_t> Int(std::string_view key, std::int64_t fallback, std::int64_t min,
                                   std::int64_t max) const;
  absl::StatusOr<double> Double(std::string_view key, double fallback, double min,
                                double max) const;
  absl::StatusOr<bool> Bool(std::string_view key, bool fallback) const;
  absl::StatusOr<std::string> String(std::string_view key, std::string_view fallback) const;
  // A list of numbers, or one number alone: "image_mean".
  absl::StatusOr<std::vector<double>> Numbers(std::string_view key,
                                              std::span<const double> fallback, double min,
                                              double max) const;
  // A list of booleans: "masked_unit_attention".
  absl::StatusOr<std::vector<bool>> Bools(std::string_view key,
                                          const std::vector<bool>& fallback) const;
  // An int (both sides) or a list of two ints [height, width]: "image_size", "patch_size".
  absl::StatusOr<Size> SquareOrPair(std::string_view key, Size fallback, int min, int max) const;
  // A nested object, empty where absent: "vision_config". Errors name "vision_config.hidden_size".
  absl::StatusOr<Config> Section(std::string_view key) const;
  // The document that this object is, or is part of: "config.json".
  const std::string& origin() const;

 private:
  struct Rep;
  explicit Config(std::shared_ptr<const Rep> rep) : rep_(std::move(rep)) {}
  std::shared_ptr<const Rep> rep_;
};

// A file's bytes, mapped read-only. They live as long as `owner` or a copy of it.
struct MappedFile {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> bytes;

  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

// Maps the whole file `name` of a directory; an empty file gives no bytes. Never blocks on a pipe
// or a device.
// REQUIRES: nobody shortens the file while it is mapped (the kernel would end the process).
// Errors: CHECKPOINT_MISSING (no such file, or it cannot be read), CHECKPOINT_CORRUPT (not a
// regular file); the text names the file by `name`, Printable.
absl::StatusOr<MappedFile> MapFile(const std::filesystem::path& directory, std::string_view name);

// What the directory says about the image processor.
struct Processor {
  std::string type;  // class name without "Fast"/"Pil": "ViTImageProcessor"
  PreprocessSpec spec;
};

// Reads a processor's configuration in any of its forms (image_processor_type,
// feature_extractor_type, or neither: then by `model_type`; int, list and object sizes). Absent
// keys take the class's defaults; null is what it is in the reference: off for a do_* key, an error
// for a value that a step needs. Source: transformers 5.23.0 models/*/image_processing_*.py,
// image_processing_utils.py, models/auto/image_processing_auto.py
// AutoImageProcessor.from_pretrained. Of a "timm_wrapper" model the configuration is config.json
// itself, or what stands in its place. Errors: CHECKPOINT_CORRUPT (malformed),
// UNSUPPORTED_PROCESSOR (a class or option not implemented).
absl::StatusOr<Processor> ParseProcessor(const Config& preprocessor_config,
                                         std::string_view model_type, Backend backend);

struct CheckpointOptions {
  Backend backend = Backend::kTorchvision;
  // false: Checkpoint::weights stays empty, and no safetensors need to be there.
  bool read_weights = true;
};

// Whether the directory holds safetensors, whatever is in them.
bool HoldsWeights(const std::filesystem::path& directory);

// A directory, read. Copies share the mapping.
struct Checkpoint {
  std::filesystem::path directory;
  std::string model_type;  // config.json "model_type"; "timm_wrapper" where timm wrote the file
  Config config;
  Processor processor;
  Weights weights;
};

// Reads config.json; the processor from processor_config.json where that has an "image_processor"
// (as transformers 5 writes it), else from preprocessor_config.json, or of timm's models from
// config.json; the weights from model.safetensors, else from model.safetensors.index.json.
//
// Errors: CHECKPOINT_MISSING (directory or file), CHECKPOINT_CORRUPT, UNSUPPORTED_PROCESSOR. This
// is the rule for every text about a model directory, here and in the rooms above: it names a file
// as it is called within the directory ("config.json: ..."), calls the directory "it", and never
// says where that lies. Whoever was given the directory puts it in front, once. What a file chose
// (a shard's name, a tensor's, a value) is Printable (error/error.h).
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::filesystem::path& directory,
                                          const CheckpointOptions& options);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_CHECKPOINT_CHECKPOINT_H_
