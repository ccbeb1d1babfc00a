#include "src/checkpoint/checkpoint.h"

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/file.h"
#include "src/checkpoint/timm_processor.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

// File names are those of transformers 5.23.0 utils/__init__.py.
constexpr char kConfigName[] = "config.json";
constexpr char kPreprocessorName[] = "preprocessor_config.json";
constexpr char kProcessorName[] = "processor_config.json";
constexpr char kWeightsName[] = "model.safetensors";
constexpr char kWeightsIndexName[] = "model.safetensors.index.json";
// Weights that are not read: pickle can run code.
constexpr std::array kPickleNames = {"pytorch_model.bin", "pytorch_model.bin.index.json"};

// Also where that cannot be told: opening it says why.
bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error) || error;
}

// `what` is true of the directory, which is not what it should be.
absl::Status NoModelDirectory(std::string_view what) {
  return MakeError(
      Reason::kCheckpointMissing,
      absl::StrCat(std::string(what), "; wanted is a model directory as Hugging Face's ",
                   "save_pretrained writes it, with ", kConfigName, ", ", kPreprocessorName,
                   " and ", kWeightsName));
}

absl::Status CheckDirectory(const std::filesystem::path& directory) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(directory, error);
  if (std::filesystem::is_directory(status)) return absl::OkStatus();
  if (status.type() == std::filesystem::file_type::not_found) {
    return NoModelDirectory("it does not exist, and nothing is downloaded");
  }
  if (error) return CannotRead("it", error.value());
  return NoModelDirectory("it is a file, not a directory");
}

absl::StatusOr<Config> ReadConfig(const std::filesystem::path& directory, std::string_view name) {
  const absl::StatusOr<MappedFile> mapped = MapFile(directory, name);
  if (!mapped.ok()) return mapped.status();
  return Config::Parse(mapped->text(), name);
}

// timm's own files name no model_type.
// Source: transformers 5.23.0 configuration_utils.py PreTrainedConfig._get_config_dict.
absl::StatusOr<std::string> ModelType(const Config& config) {
  const bool timm = config.KindOf("model_type") == Config::Kind::kAbsent &&
                    config.KindOf(kTimmSection) != Config::Kind::kAbsent;
  absl::StatusOr<std::string> model_type = config.String("model_type", timm ? kTimmWrapper : "");
  if (!model_type.ok()) return model_type.status();
  if (model_type->empty()) {
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat(config.Describe("model_type"), " must name the model's family"));
  }
  if (*model_type != kTimmWrapper && config.KindOf(kTimmSection) != Config::Kind::kAbsent) {
    // The reference takes the directory for timm's, and then again not.
    return MakeError(
        Reason::kUnsupportedProcessor,
        absl::StrCat(config.Describe("model_type"), ": a file with ", std::string(kTimmSection),
                     " must be of model_type ", std::string(kTimmWrapper)));
  }
  return model_type;
}

// The object that configures the image processor. `config` is that of config.json.
absl::StatusOr<Config> ReadProcessorConfig(const std::filesystem::path& directory,
                                           const Config& config, std::string_view model_type) {
  if (Exists(directory / kProcessorName)) {
    const absl::StatusOr<Config> processor = ReadConfig(directory, kProcessorName);
    if (!processor.ok()) return processor.status();
    if (processor->Has("image_processor")) return processor->Section("image_processor");
  }
  if (model_type == kTimmWrapper) return config;
  if (!Exists(directory / kPreprocessorName)) {
    return MakeError(Reason::kCheckpointMissing,
                     absl::StrCat(kPreprocessorName, " does not exist, and no ", kProcessorName,
                                  " with an \"image_processor\" does: how images are prepared is "
                                  "not known; copy the model's own, or write it with "
                                  "AutoImageProcessor and save_pretrained"));
  }
  return ReadConfig(directory, kPreprocessorName);
}

// config.json can name the processor class too. The reference heeds that where the processor's own
// file names none; here it is refused rather than overlooked.
absl::Status CheckClassIsNamedInPlace(const Config& config, const Config& processor_config) {
  if (!config.Has("image_processor_type") || processor_config.Has("image_processor_type") ||
      processor_config.Has("feature_extractor_type")) {
    return absl::OkStatus();
  }
  return MakeError(Reason::kUnsupportedProcessor,
                   absl::StrCat(config.Describe("image_processor_type"), ": move this key to ",
                                processor_config.origin()));
}

absl::StatusOr<Weights> OpenWeights(const std::filesystem::path& directory) {
  if (Exists(directory / kWeightsName)) return Weights::Open(directory, kWeightsName);
  if (Exists(directory / kWeightsIndexName)) {
    return Weights::OpenSharded(directory, kWeightsIndexName);
  }
  const std::string neither =
      absl::StrCat("it holds neither ", kWeightsName, " nor ", kWeightsIndexName);
  for (const char* const pickle : kPickleNames) {
    if (!Exists(directory / pickle)) continue;
    return MakeError(
        Reason::kCheckpointMissing,
        absl::StrCat(neither, ", only ", pickle,
                     ": pickle is never read, because it can run code. Convert it once, where "
                     "torch and transformers are installed and the file is trusted, in this "
                     "directory: python3 -c 'from transformers import AutoModel; "
                     "AutoModel.from_pretrained(\".\").save_pretrained(\".\")'"));
  }
  return MakeError(Reason::kCheckpointMissing,
                   absl::StrCat(neither, ": copy the model's weights there"));
}

}  // namespace

bool HoldsWeights(const std::filesystem::path& directory) {
  return Exists(directory / kWeightsName) || Exists(directory / kWeightsIndexName);
}

absl::StatusOr<Checkpoint> OpenCheckpoint(const std::filesystem::path& directory,
                                          const CheckpointOptions& options) {
  if (absl::Status status = CheckDirectory(directory); !status.ok()) return status;
  if (!Exists(directory / kConfigName)) {
    return NoModelDirectory(absl::StrCat(kConfigName, " does not exist"));
  }
  absl::StatusOr<Config> config = ReadConfig(directory, kConfigName);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::string> model_type = ModelType(*config);
  if (!model_type.ok()) return model_type.status();

  const absl::StatusOr<Config> processor_config =
      ReadProcessorConfig(directory, *config, *model_type);
  if (!processor_config.ok()) return processor_config.status();
  absl::Status status = CheckClassIsNamedInPlace(*config, *processor_config);
  if (!status.ok()) return status;
  absl::StatusOr<Processor> processor =
      ParseProcessor(*processor_config, *model_type, options.backend);
  if (!processor.ok()) return processor.status();

  absl::StatusOr<Weights> weights = Weights();
  if (options.read_weights) weights = OpenWeights(directory);
  if (!weights.ok()) return weights.status();
  return Checkpoint{.directory = directory,
                    .model_type = *std::move(model_type),
                    .config = *std::move(config),
                    .processor = *std::move(processor),
                    .weights = *std::move(weights)};
}

}  // namespace pixembed
