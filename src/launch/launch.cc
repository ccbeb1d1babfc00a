#include "src/launch/launch.h"

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "src/verify/verify.h"

namespace pixembed {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// That "auto" means the CPU here surprises on a machine that has a GPU.
void LogChoice(const LaunchConfig& config, const std::vector<Device>& devices, const Log& log) {
  if (config.device != "auto" || devices.front().kind != Device::Kind::kCpu) return;
  const auto cuda = CudaDevices();
  if (cuda.ok()) return;
  log(LogLevel::kInfo, absl::StrCat("--device=auto is the CPU: ", cuda.status().message()));
}

// How errors name it: the only place that says where it lies (OpenCheckpoint).
std::string NameOf(const ModelSource& source) {
  return absl::StrCat(source.name, " from ", source.directory.string());
}

void LogModel(const ModelSource& source, const Model& model, double seconds, const Log& log) {
  const ModelInfo& info = model.info();
  const auto append_device = [](std::string* out, const Device& device) {
    *out += DeviceName(device);
  };
  log(LogLevel::kInfo,
      absl::StrFormat("model %s: %s from %s, %d parameters, %d tokens of %d dimensions, "
                      "%dx%d pixels%s, %s",
                      source.name, info.model_type, source.directory.string(), info.parameters,
                      info.tokens, info.dimension, info.input.height, info.input.width,
                      info.max_patches > 0 ? " or another shape of as many patches" : "",
                      BackendName(info.preprocess.backend)));
  log(LogLevel::kInfo,
      absl::StrFormat("model %s: %s%s on %s, kernels: %s; loaded in %.2f s", source.name,
                      PrecisionName(info.precision), info.deterministic ? ", deterministic" : "",
                      absl::StrJoin(model.devices(), ", ", append_device), info.kernels, seconds));
  if (info.precision != Precision::kFloat32) {
    log(LogLevel::kInfo,
        absl::StrFormat("model %s: smallest cosine with float32 %.7f (at least %.7f)", source.name,
                        info.precision_cosine, info.precision_min_cosine));
  }
  log(LogLevel::kInfo, absl::StrCat("model ", source.name, ": fingerprint of mean pooling ",
                                    model.Fingerprint({.pooling = Pooling::kMean})));
}

void LogEngine(const EngineOptions& options, double seconds, const Log& log) {
  log(LogLevel::kInfo,
      absl::StrFormat("engine: %d cores, %d decode threads, %d workers per device, batches "
                      "of at most %d; warmed up in %.2f s",
                      options.cores, options.decode_threads, options.workers_per_device,
                      options.max_batch_size, seconds));
}

void LogVerification(const ModelSource& source, const GoldenFile& golden,
                     const Verification& verification, const Log& log) {
  for (const Agreement& image : verification.images) {
    if (!image.decoded.ok()) {
      log(LogLevel::kWarning, absl::StrCat("model ", source.name, ": golden image ", image.name,
                                           ": refused: ", image.decoded.message()));
      continue;
    }
    log(image.ok() ? LogLevel::kInfo : LogLevel::kWarning,
        absl::StrFormat("model %s: golden image %s: pixels %s, max-abs %.3g, cosine %.7f",
                        source.name, image.name, image.same_pixels ? "equal" : "DIFFER",
                        image.max_abs, image.cosine));
  }
  log(LogLevel::kInfo,
      absl::StrFormat("model %s: on %s against %d golden images of %s: max-abs %.3g, cosine %.7f",
                      source.name, DeviceName(verification.device), verification.images.size(),
                      golden.made_with, verification.max_abs(), verification.cosine()));
}

// Compares a model with the golden file beside it.
absl::Status CompareWithGolden(const ModelSource& source, const Model& model,
                               const DecodeLimits& limits, int threads, const Log& log) {
  const absl::StatusOr<GoldenFile> golden = OpenGoldenFile(source.directory);
  if (!golden.ok()) return golden.status();
  const auto verifications = Verify(model, *golden, limits, threads);
  if (!verifications.ok()) return verifications.status();
  for (const Verification& verification : *verifications) {
    LogVerification(source, *golden, verification, log);
  }
  for (const Verification& verification : *verifications) {
    if (absl::Status verdict = verification.Verdict(); !verdict.ok()) return verdict;
  }
  log(LogLevel::kInfo, absl::StrCat("model ", source.name, ": verified"));
  return absl::OkStatus();
}

// Whether a model that is loaded later may take images one by one, where those that are there do
// not: it is loaded as they were, so that only a program differs from them.
bool MayComeOneByOne(const ModelOptions& options, bool nothing_is_there) {
  const bool by_precision =
      options.precision == Precision::kBFloat16 || options.precision == Precision::kAuto;
  return options.deterministic && (options.trust_model_code || (nothing_is_there && by_precision));
}

}  // namespace

absl::StatusOr<ModelOptions> ReadModelOptions(const LaunchConfig& config, const Log& log) {
  absl::StatusOr<std::vector<Device>> devices = ResolveDevices(config.device);
  if (!devices.ok()) return devices.status();
  LogChoice(config, *devices, log);
  return ModelOptions{.backend = config.backend,
                      .format = config.format,
                      .trust_model_code = config.trust_model_code,
                      .devices = *std::move(devices),
                      .deterministic = config.deterministic,
                      .precision = config.precision,
                      .precision_min_cosine = config.precision_min_cosine,
                      .cuda_graphs = config.cuda_graphs,
                      .fused_kernels = config.fused_kernels};
}

absl::StatusOr<std::shared_ptr<const Model>> LoadSource(const ModelSource& source,
                                                        const ModelOptions& options,
                                                        const Log& log) {
  const Clock::time_point start = Clock::now();
  ModelOptions own = options;
  own.warn = [log, name = source.name](const std::string& line) {
    log(LogLevel::kWarning, absl::StrCat("model ", name, ": ", line));
  };
  auto model = LoadModel(source.directory, own);
  if (!model.ok()) {
    return Annotate(model.status(), absl::StrCat("cannot load model ", NameOf(source)));
  }
  LogModel(source, **model, SecondsSince(start), log);
  return model;
}

absl::Status VerifySource(const LaunchConfig& config, const ModelSource& source, const Model& model,
                          int threads, const Log& log) {
  if (config.verify == VerifyMode::kOff) return absl::OkStatus();
  if (config.verify != VerifyMode::kOnly && !HasGoldenFile(source.directory)) {
    log(LogLevel::kInfo,
        absl::StrFormat("model %s: not verified: no %s beside it", source.name, kGoldenFileName));
    return absl::OkStatus();
  }
  absl::Status status = CompareWithGolden(source, model, config.engine.limits, threads, log);
  if (status.ok()) return status;
  if (config.verify != VerifyMode::kWarn) {
    return Annotate(status, absl::StrCat("model ", NameOf(source), " is not verified"));
  }
  log(LogLevel::kWarning,
      absl::StrCat("model ", source.name,
                   ": not verified, but served (--verify=warn): ", status.message()));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Engine>> LaunchEngine(const LaunchConfig& config,
                                                     const std::vector<ModelSource>& sources,
                                                     const ModelOptions& options, const Log& log) {
  std::vector<std::shared_ptr<const Model>> models;
  for (const ModelSource& source : sources) {
    absl::StatusOr<std::shared_ptr<const Model>> model = LoadSource(source, options, log);
    if (!model.ok()) return model.status();
    models.push_back(*std::move(model));
  }
  const Clock::time_point start = Clock::now();
  EngineOptions engine_options = config.engine;
  engine_options.warn = [log](const std::string& line) { log(LogLevel::kWarning, line); };
  engine_options.devices = options.devices;
  engine_options.one_by_one = MayComeOneByOne(options, models.empty());
  auto engine = Engine::Start(models, engine_options);
  if (!engine.ok()) return Annotate(engine.status(), "cannot start the engine");
  LogEngine((*engine)->options(), SecondsSince(start), log);
  for (std::size_t i = 0; i < models.size(); ++i) {
    const int threads = (*engine)->options().cores;
    absl::Status status = VerifySource(config, sources[i], *models[i], threads, log);
    if (!status.ok()) return status;
  }
  return engine;
}

}  // namespace pixembed
