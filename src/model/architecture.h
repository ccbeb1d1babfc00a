// The numbers that config.json gives for a vision transformer. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_ARCHITECTURE_H_
#define PIXEMBED_SRC_MODEL_ARCHITECTURE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/activation.h"
#include "src/model/weights.h"

namespace pixembed {

// A configuration read key by key. What is wrong goes to the build's WeightReader, which remembers
// the first error; the value is then the fallback.
class ConfigReader {
 public:
  // Both outlive it.
  ConfigReader(const Config& config, WeightReader& errors) : config_(config), errors_(errors) {}

  std::int64_t Int(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max);
  double Double(std::string_view key, double fallback, double min, double max);
  bool Bool(std::string_view key, bool fallback);
  // A list of integers; one number alone is a list too.
  std::vector<std::int64_t> Ints(std::string_view key, const std::vector<std::int64_t>& fallback,
                                 std::int64_t min, std::int64_t max);
  std::vector<bool> Bools(std::string_view key, const std::vector<bool>& fallback);
  Size SquareOrPair(std::string_view key, int fallback, int max);
  // "hidden_act"; UNSUPPORTED_MODEL where it is not implemented.
  Activation HiddenAct(std::string_view fallback);
  // UNSUPPORTED_MODEL unless "num_channels" is 3.
  void RequireThreeChannels();

  // `what` is wrong with the file, which the text names.
  void Refuse(Reason reason, std::string_view what);

  void Fail(absl::Status status) { errors_.Fail(std::move(status)); }

 private:
  const Config& config_;
  WeightReader& errors_;
};

// What the families have in common.
struct Architecture {
  std::int64_t width = 0;  // hidden_size
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t intermediate = 0;  // width of the Mlp
  Size image;                     // the size that the position embeddings were trained for
  Size patch;
  double epsilon = 0.0;  // of every LayerNorm
  Activation activation = Activation::kGelu;
  bool qkv_bias = true;
  bool key_bias = true;  // heeded where qkv_bias is true

  std::int64_t attention_width() const { return heads * head_dim; }
};

// The defaults in which the configuration classes differ.
struct ArchitectureDefaults {
  std::int64_t width = 768;
  std::int64_t layers = 12;
  std::int64_t heads = 12;
  std::int64_t intermediate = 3'072;
  int image = 224;
  int patch = 16;
  double epsilon = 0.0;
  std::string_view activation = "gelu";
};

// Reads everything but `intermediate`.
// Source: transformers 5.23.0 models/*/configuration_*.py.
Architecture ReadArchitecture(ConfigReader& config, const ArchitectureDefaults& defaults);

// "intermediate_size", where the family has it.
std::int64_t ReadIntermediate(ConfigReader& config, const ArchitectureDefaults& defaults = {});

// The whole patches of an image: rows and columns.
Size Grid(Size image, Size patch);
std::int64_t Count(Size grid);

// "224x224", height first.
std::string SizeText(Size size);

// Every number, for the fingerprint.
std::string ArchitectureText(const Architecture& architecture);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ARCHITECTURE_H_
