#include "src/model/architecture.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/activation.h"

namespace pixembed {
namespace {

constexpr std::int64_t kMaxWidth = 65'536;
constexpr std::int64_t kMaxLayers = 1'024;
constexpr std::int64_t kMaxHeads = 4'096;
constexpr std::int64_t kMaxIntermediate = 1 << 20;
constexpr int kMaxImageSide = 16'384;
constexpr int kMaxPatchSide = 1'024;

}  // namespace

std::int64_t ConfigReader::Int(std::string_view key, std::int64_t fallback, std::int64_t min,
                               std::int64_t max) {
  const absl::StatusOr<std::int64_t> value = config_.Int(key, fallback, min, max);
  if (!value.ok()) Fail(value.status());
  return value.value_or(fallback);
}

double ConfigReader::Double(std::string_view key, double fallback, double min, double max) {
  const absl::StatusOr<double> value = config_.Double(key, fallback, min, max);
  if (!value.ok()) Fail(value.status());
  return value.value_or(fallback);
}

bool ConfigReader::Bool(std::string_view key, bool fallback) {
  const absl::StatusOr<bool> value = config_.Bool(key, fallback);
  if (!value.ok()) Fail(value.status());
  return value.value_or(fallback);
}

std::vector<std::int64_t> ConfigReader::Ints(std::string_view key,
                                             const std::vector<std::int64_t>& fallback,
                                             std::int64_t min, std::int64_t max) {
  if (!config_.Has(key)) return fallback;
  const absl::StatusOr<std::vector<double>> values =
      config_.Numbers(key, {}, static_cast<double>(min), static_cast<double>(max));
  if (!values.ok()) {
    Fail(values.status());
    return fallback;
  }
  std::vector<std::int64_t> ints;
  for (const double value : *values) {
    ints.push_back(static_cast<std::int64_t>(value));
    if (static_cast<double>(ints.back()) == value) continue;
    Fail(MakeError(Reason::kCheckpointCorrupt,
                   absl::StrCat(config_.Describe(key), " holds ", value, ", which is no integer")));
  }
  return ints;
}

std::vector<bool> ConfigReader::Bools(std::string_view key, const std::vector<bool>& fallback) {
  const absl::StatusOr<std::vector<bool>> value = config_.Bools(key, fallback);
  if (!value.ok()) Fail(value.status());
  return value.value_or(fallback);
}

Size ConfigReader::SquareOrPair(std::string_view key, int fallback, int max) {
  const Size square{.height = fallback, .width = fallback};
  const absl::StatusOr<Size> value = config_.SquareOrPair(key, square, 1, max);
  if (!value.ok()) Fail(value.status());
  return value.value_or(square);
}

Activation ConfigReader::HiddenAct(std::string_view fallback) {
  const absl::StatusOr<std::string> name = config_.String("hidden_act", fallback);
  if (!name.ok()) {
    Fail(name.status());
    return Activation::kGelu;
  }
  const std::optional<Activation> activation = ActivationByName(*name);
  if (!activation.has_value()) {
    Refuse(Reason::kUnsupportedModel,
           absl::StrCat("hidden_act ", Quoted(*name),
                        " is not implemented; gelu, gelu_pytorch_tanh, quick_gelu, relu "
                        "and silu are"));
  }
  return activation.value_or(Activation::kGelu);
}

void ConfigReader::RequireThreeChannels() {
  const std::int64_t channels = Int("num_channels", 3, 1, 1'024);
  if (channels != 3) {
    Refuse(Reason::kUnsupportedModel,
           absl::StrCat("num_channels is ", channels, "; images have 3"));
  }
}

void ConfigReader::Refuse(Reason reason, std::string_view what) {
  Fail(MakeError(reason, absl::StrCat(config_.origin(), ": ", std::string(what))));
}

Architecture ReadArchitecture(ConfigReader& config, const ArchitectureDefaults& defaults) {
  config.RequireThreeChannels();
  Architecture architecture;
  architecture.width = config.Int("hidden_size", defaults.width, 1, kMaxWidth);
  architecture.layers = config.Int("num_hidden_layers", defaults.layers, 1, kMaxLayers);
  architecture.heads = config.Int("num_attention_heads", defaults.heads, 1, kMaxHeads);
  architecture.head_dim = architecture.width / architecture.heads;
  if (architecture.head_dim * architecture.heads != architecture.width) {
    config.Refuse(Reason::kUnsupportedModel,
                  absl::StrCat("hidden_size ", architecture.width,
                               " is not a multiple of num_attention_heads ", architecture.heads));
  }
  architecture.image = config.SquareOrPair("image_size", defaults.image, kMaxImageSide);
  architecture.patch = config.SquareOrPair("patch_size", defaults.patch, kMaxPatchSide);
  architecture.epsilon = config.Double("layer_norm_eps", defaults.epsilon, 0.0, 1.0);
  architecture.activation = config.HiddenAct(defaults.activation);
  if (Count(Grid(architecture.image, architecture.patch)) == 0) {
    config.Refuse(Reason::kUnsupportedModel,
                  absl::StrCat("image_size ", SizeText(architecture.image),
                               " is smaller than patch_size ", SizeText(architecture.patch)));
  }
  return architecture;
}

std::int64_t ReadIntermediate(ConfigReader& config, const ArchitectureDefaults& defaults) {
  return config.Int("intermediate_size", defaults.intermediate, 1, kMaxIntermediate);
}

Size Grid(Size image, Size patch) {
  return {.height = image.height / patch.height, .width = image.width / patch.width};
}

std::int64_t Count(Size grid) { return std::int64_t{grid.height} * grid.width; }

std::string SizeText(Size size) { return absl::StrCat(size.height, "x", size.width); }

std::string ArchitectureText(const Architecture& architecture) {
  const std::string_view activation = ActivationName(architecture.activation);
  return absl::StrCat("width=", architecture.width, " layers=", architecture.layers,
                      " heads=", architecture.heads, " head_dim=", architecture.head_dim,
                      " intermediate=", architecture.intermediate,
                      " image=", SizeText(architecture.image),
                      " patch=", SizeText(architecture.patch), " epsilon=", architecture.epsilon,
                      " activation=", absl::string_view(activation.data(), activation.size()),
                      " qkv_bias=", architecture.qkv_bias);
}

}  // namespace pixembed
