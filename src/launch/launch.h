// From flags to an engine that runs the models they name: read, loaded, verified, warmed up.
//
// What every program that embeds by itself has in common. Knows models through model.h alone: the
// program links LoadModel and its companions.
#ifndef PIXEMBED_SRC_LAUNCH_LAUNCH_H_
#define PIXEMBED_SRC_LAUNCH_LAUNCH_H_

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// A model directory and the name that it is served under.
struct ModelSource {
  std::string name;
  std::filesystem::path directory;
};

// What is done with the golden file of a model directory before the model is served.
enum class VerifyMode {
  kEnforce,  // a model that disagrees with it is not served
  kWarn,     // it is served, with a warning
  kOff,      // it is not looked at
  kOnly,     // every model must have one and agree; nothing is served
};

// Which models run, and how.
struct LaunchConfig {
  std::vector<ModelSource> models;  // names differ
  std::string device;               // for ResolveDevices
  Backend backend = Backend::kTorchvision;
  VerifyMode verify = VerifyMode::kEnforce;
  bool deterministic = false;
  ModelFormat format = ModelFormat::kAuto;
  bool trust_model_code = false;
  Precision precision = Precision::kFloat32;
  double precision_min_cosine = 0.999;
  bool cuda_graphs = true;
  bool fused_kernels = true;
  EngineOptions engine;
};

// The names of the flags (command_line.h) that say so.
std::span<const std::string_view> LaunchFlags();

// What the flags say at this moment. There may be no models.
// Errors: INVALID_OPTION names the flag, its value, and what is possible.
absl::StatusOr<LaunchConfig> ReadLaunchFlags();

enum class LogLevel { kInfo, kWarning };
// Takes a line for the log. Thread-safe.
using Log = std::function<void(LogLevel level, const std::string& line)>;

// How every model is loaded. Says why "auto" means the CPU on a machine that has a GPU.
// Errors: those of ResolveDevices.
absl::StatusOr<ModelOptions> ReadModelOptions(const LaunchConfig& config, const Log& log);

// `log` is kept by the model, for what its runners have to say later, on their threads.
// Errors: those of LoadModel, with the model's name and directory before the text.
absl::StatusOr<std::shared_ptr<const Model>> LoadSource(const ModelSource& source,
                                                        const ModelOptions& options,
                                                        const Log& log);

// What config.verify asks for. `threads`: as Runner::Embed.
// Errors: the model may not be served: those of OpenGoldenFile and Verify, and GOLDEN_MISMATCH,
// with the model's name and directory before the text.
absl::Status VerifySource(const LaunchConfig& config, const ModelSource& source, const Model& model,
                          int threads, const Log& log);

// An engine with the models of `sources`, which are checked; model i of the engine is sources[i].
// Holds none of them for itself. Errors: those of LoadSource, Engine::Start and VerifySource.
absl::StatusOr<std::unique_ptr<Engine>> LaunchEngine(const LaunchConfig& config,
                                                     const std::vector<ModelSource>& sources,
                                                     const ModelOptions& options, const Log& log);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_LAUNCH_LAUNCH_H_
