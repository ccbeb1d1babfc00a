#include "tests/golden/golden.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <ios>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

constexpr char kWayOut[] = ": run tests/golden/make.sh";

}  // namespace

std::filesystem::path GoldenPath(std::string_view name) {
  // Elsewhere where the tests run on another machine: tests/gpu/run.sh.
  const char* moved = std::getenv("PIXEMBED_GOLDEN_DIRECTORY");
  return std::filesystem::path(moved == nullptr ? PIXEMBED_GOLDEN_DIRECTORY : moved) / name;
}

Weights GoldenTensors(std::string_view name) {
  absl::StatusOr<Weights> weights = Weights::Open(GoldenPath(""), name);
  if (weights.ok()) return *std::move(weights);
  ADD_FAILURE() << weights.status() << kWayOut;
  return Weights();
}

std::string GoldenBytes(std::string_view name) {
  std::ifstream file(GoldenPath(name), std::ios::binary);
  if (!file) ADD_FAILURE() << GoldenPath(name) << " cannot be read" << kWayOut;
  return {std::istreambuf_iterator<char>(file), {}};
}

absl::StatusOr<PreprocessSpec> SpecOf(std::string_view configuration, std::string_view backend) {
  const absl::StatusOr<Config> config = Config::Parse(configuration, "preprocessor_config.json");
  if (!config.ok()) return config.status();
  // A configuration of timm's is a config.json.
  const std::string_view model_type = config->Has("pretrained_cfg") ? "timm_wrapper" : "";
  absl::StatusOr<Processor> processor =
      ParseProcessor(*config, model_type, backend == "pil" ? Backend::kPil : Backend::kTorchvision);
  if (!processor.ok()) return processor.status();
  if (absl::Status status = ValidateSpec(processor->spec); !status.ok()) return status;
  return processor->spec;
}

}  // namespace pixembed
