#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
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
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/activation_cache.h"
#include "src/model/architecture.h"
#include "src/model/attention.h"
#include "src/model/batch_size.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/device_kernels.h"
#include "src/model/families.h"
#include "src/model/fingerprint.h"
#include "src/model/float_kernel.h"
#include "src/model/freed_memory.h"
#include "src/model/guard.h"
#include "src/model/integer_kernel.h"
#include "src/model/kernel_check.h"
#include "src/model/linear.h"
#include "src/model/mixed_precision.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
#include "src/model/precision.h"
#include "src/model/precision_plan.h"
#include "src/model/program.h"
#include "src/model/runner.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

c10::Device ToTorch(const Device& device) {
  if (device.kind == Device::Kind::kCpu) return c10::kCPU;
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(device.index)};
}

// The network, once per device.
struct Replica {
  Device device;
  std::shared_ptr<const Network> network;
};

absl::StatusOr<std::unique_ptr<Runner>> NewRunnerOn(const Device& device, RunnerParts parts,
                                                    const GraphOptions& graphs = {}) {
  if (device.kind == Device::Kind::kCpu) return NewCpuRunner(std::move(parts));
  const absl::StatusOr<const CudaModule*> module = LoadCudaModule();
  if (!module.ok()) return module.status();
  return NewCudaRunner(**module, std::move(parts), device.index, graphs);
}

class TorchModel final : public Model {
 public:
  TorchModel(ModelInfo info, FingerprintParts fingerprint, std::vector<Replica> replicas,
             GraphOptions graphs)
      : info_(std::move(info)),
        fingerprint_(std::move(fingerprint)),
        replicas_(std::move(replicas)),
        graphs_(std::move(graphs)),
        pixels_(std::make_shared<const PixelTable>(info_.preprocess)) {
    for (const Replica& replica : replicas_) devices_.push_back(replica.device);
  }
  TorchModel(const TorchModel&) = delete;
  TorchModel& operator=(const TorchModel&) = delete;
  // Weights, and what runners kept for activations, go back to the kernel: freed memory stays in
  // the process otherwise (InitializeRuntime).
  ~TorchModel() override {
    replicas_.clear();
    GiveFreedMemoryBack();
  }

  const ModelInfo& info() const override { return info_; }

  std::string Fingerprint(const VectorSpace& space) const override {
    FingerprintParts parts = fingerprint_;
    parts.space = space;
    return pixembed::Fingerprint(parts);
  }

  absl::Status CheckOutput(const OutputSpec& spec) const override {
    if (absl::Status status = CheckPooling(spec.pooling); !status.ok()) return status;
    if (absl::Status status = CheckLayers(spec.layers); !status.ok()) return status;
    if (spec.dimensions < 0 || spec.dimensions > info_.dimension) {
      return MakeError(
          Reason::kInvalidOption,
          absl::StrCat("dimensions is ", spec.dimensions, ", the model gives ", info_.dimension,
                       "; 0 (all) to ", info_.dimension, " are possible"));
    }
    return absl::OkStatus();
  }

  std::span<const Device> devices() const override { return devices_; }

  absl::StatusOr<std::unique_ptr<Runner>> NewRunner(const Device& device) const override {
    const auto replica =
        std::find_if(replicas_.begin(), replicas_.end(),
                     [&](const Replica& candidate) { return candidate.device == device; });
    if (replica == replicas_.end()) {
      return MakeError(Reason::kDeviceFailure,
                       absl::StrCat("the model was not loaded on ", DeviceName(device)));
    }
    absl::StatusOr<std::unique_ptr<Runner>> runner =
        NewRunnerOn(device, {replica->network, pixels_}, graphs_);
    if (!runner.ok() || !info_.one_by_one) return runner;
    return NewDeterministicRunner(*std::move(runner));
  }

 private:
  absl::Status CheckPooling(Pooling pooling) const {
    const bool pads = info_.max_patches > 0;
    std::string_view why;
    if (pooling == Pooling::kCls && !info_.has_cls) why = "has no class token";
    if (pooling == Pooling::kMaskedMean && !pads) why = "gets no padding, which it would leave out";
    if (why.empty()) return absl::OkStatus();
    return MakeError(
        Reason::kInvalidOption,
        absl::StrCat("pooling is ", std::string(PoolingName(pooling)), ", but a ", info_.model_type,
                     " model ", std::string(why), "; mean", pads ? ", masked_mean" : "",
                     info_.has_cls ? ", cls" : "", " and max are possible"));
  }

  absl::Status CheckLayers(std::span<const int> layers) const {
    if (!layers.empty() && info_.hidden_states == 0) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat("layers has ", layers.front(),
                                    "; this model gives its last_hidden_state only"));
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (layers[i] < 0 || layers[i] >= info_.hidden_states) {
        return MakeError(
            Reason::kInvalidOption,
            absl::StrCat("layers has ", layers[i], "; the model has ", info_.hidden_states,
                         " hidden states, 0 to ", info_.hidden_states - 1, " are possible"));
      }
      if (i > 0 && layers[i] <= layers[i - 1]) {
        return MakeError(Reason::kInvalidOption,
                         absl::StrCat("layers has ", layers[i], " after ", layers[i - 1],
                                      "; each may come once, in ascending order"));
      }
    }
    return absl::OkStatus();
  }

  ModelInfo info_;
  FingerprintParts fingerprint_;
  std::vector<Replica> replicas_;
  GraphOptions graphs_;
  std::vector<Device> devices_;
  std::shared_ptr<const PixelTable> pixels_;
};

// Every image must have one size, known now, or a bounded number of patches: see ModelInfo::input.
absl::StatusOr<Size> InputSize(const Processor& processor) {
  const std::optional<Size> size = FixedOutputSize(processor.spec);
  if (size.has_value()) return *size;
  const std::optional<ResizeTarget>& resize = processor.spec.resize;
  if (resize.has_value() && resize->patches.has_value()) return LargestSquare(*resize->patches);
  return MakeError(
      Reason::kUnsupportedProcessor,
      absl::StrCat(processor.type,
                   " gives images whose size depends on the image (no center crop and no exact "
                   "size); batches need one size"));
}

// Where the model is read from.
struct Source {
  ModelFormat format = ModelFormat::kSafetensors;  // never kAuto
  const char* program = "";                        // the name of its file; "" for safetensors
};

// What computes, for the log. A program brings its own products.
absl::StatusOr<std::string> KernelsOf(const Device& device, const Source& source) {
  if (device.kind == Device::Kind::kCpu) {
    const bool ours = source.format == ModelFormat::kSafetensors;
    return absl::StrCat("cpu: ATen ", at::get_cpu_capability(),
                        ours ? absl::StrCat(", float32 products by ", FloatProducts()) : "");
  }
  const absl::StatusOr<std::vector<std::string>> names = CudaDevices();
  if (!names.ok()) return names.status();
  const auto ordinal = static_cast<std::size_t>(device.index);
  if (ordinal >= names->size()) {
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat(DeviceName(device), " does not exist: this host has ",
                                  names->size(), " CUDA devices"));
  }
  return absl::StrCat(DeviceName(device), ": ", (*names)[ordinal], ", cuBLAS without TF32");
}

struct ProgramRow {
  ModelFormat format;
  const char* file;
  std::string_view name;
};
// In the order in which kAuto looks for them.
constexpr std::array kPrograms = {
    ProgramRow{ModelFormat::kAotInductor, "model.pt2", "AOTInductor package"},
    ProgramRow{ModelFormat::kTorchScript, "model.pt", "TorchScript"},
};

bool Exists(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// Weights win: they run nothing. No row: safetensors, there or not.
const ProgramRow* ChooseProgram(const std::filesystem::path& directory, ModelFormat format) {
  if (format == ModelFormat::kAuto && HoldsWeights(directory)) return nullptr;
  for (const ProgramRow& row : kPrograms) {
    const bool chosen =
        format == ModelFormat::kAuto ? Exists(directory / row.file) : row.format == format;
    if (chosen) return &row;
  }
  return nullptr;
}

absl::StatusOr<Source> ChooseSource(const std::filesystem::path& directory,
                                    const ModelOptions& options) {
  const ProgramRow* const program = ChooseProgram(directory, options.format);
  if (program == nullptr) return Source{};
  const Source source{.format = program->format, .program = program->file};
  if (options.trust_model_code) return source;
  return MakeError(
      Reason::kUntrustedCode,
      absl::StrCat(source.program, " is a program (", std::string(program->name),
                   "): loading it runs what its author wrote, with all rights of this process. "
                   "Give --trust_model_code if you trust the author, or serve safetensors"));
}

std::int64_t CountParameters(const std::map<std::string, const Tensor*, std::less<>>& tensors) {
  std::size_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    count += tensor->bytes.size() / TensorTypeSize(tensor->type);
  }
  return static_cast<std::int64_t>(count);
}

// A network and what its source tells of it.
struct BuiltNetwork {
  std::shared_ptr<const Network> network;
  std::string weights_digest;  // made for the first device only
  std::int64_t parameters = 0;
  std::string program;  // ", TorchScript"; "" for weights
  PrecisionPlan plan = {};
  std::string products = {};          // what the log says of the plan; "" where it is simple
  std::optional<double> cosine = {};  // with float32, where building it told
};

absl::StatusOr<BuiltNetwork> BuildFromWeights(const Checkpoint& checkpoint, Size input,
                                              const Device& device, const PrecisionPlan& plan,
                                              bool first, SwitchedProducts* switches = nullptr,
                                              const DeviceKernels* kernels = nullptr) {
  WeightReader weights(checkpoint.weights, ToTorch(device), plan, switches, kernels);
  absl::StatusOr<std::unique_ptr<const Network>> network = BuildNetwork(checkpoint, input, weights);
  if (!network.ok()) return network.status();
  return BuiltNetwork{.network = *std::move(network),
                      .weights_digest = first ? DigestWeights(weights.used()) : "",
                      .parameters = CountParameters(weights.used()),
                      .program = "",
                      .plan = plan};
}

// int8, with what has to be kept from it.
absl::StatusOr<BuiltNetwork> BuildInt8(const Checkpoint& checkpoint, Size input,
                                       const Device& device, double min_cosine, bool first) {
  BuiltNetwork described;
  const NetworkBuilder build =
      [&](const PrecisionPlan& plan,
          SwitchedProducts* switches) -> absl::StatusOr<std::shared_ptr<const Network>> {
    // Of one of them: all have the same weights.
    const bool describes = switches != nullptr;
    absl::StatusOr<BuiltNetwork> built =
        BuildFromWeights(checkpoint, input, device, plan, first && describes, switches);
    if (!built.ok()) return built.status();
    std::shared_ptr<const Network> network = std::move(built->network);
    if (describes) described = *std::move(built);
    return network;
  };
  absl::StatusOr<MixedNetwork> mixed =
      BuildMixedInt8(build, checkpoint.processor.spec, input, min_cosine);
  // What that took goes back to the kernel: it will not be needed again.
  GiveFreedMemoryBack();
  if (!mixed.ok()) return mixed.status();
  described.network = std::move(mixed->network);
  described.plan = std::move(mixed->plan);
  described.cosine = mixed->cosine;
  described.products =
      absl::StrCat(", int8 products by ", std::string(NativeInt8Kernel()->instructions), ", ",
                   described.plan.kept.size(), " of ", mixed->products, " kept in ",
                   std::string(PrecisionName(described.plan.kept_precision)));
  return described;
}

// In bfloat16 on a GPU, by its kernels of ours. Errors: those of BuildFromWeights; DEVICE_FAILURE:
// there are none, or they do not compute what they should.
absl::StatusOr<BuiltNetwork> BuildByDeviceKernels(const Checkpoint& checkpoint, Size input,
                                                  const Device& device, bool first) {
  const absl::StatusOr<const CudaModule*> module = LoadCudaModule();
  if (!module.ok()) return module.status();
  const absl::StatusOr<const DeviceKernels*> kernels = (*module)->Kernels(device.index);
  if (!kernels.ok()) return kernels.status();
  absl::StatusOr<BuiltNetwork> built =
      BuildFromWeights(checkpoint, input, device, {.precision = Precision::kBFloat16}, first,
                       /*switches=*/nullptr, *kernels);
  if (!built.ok()) return built.status();
  const NetworkInfo& info = built->network->info();
  absl::Status status = CheckKernels(**kernels, ToTorch(device), info.dimension, info.patch);
  if (!status.ok()) return status;
  built->products = (*kernels)->Normalizes(info.dimension) ? ", fused bfloat16 kernels"
                                                           : ", bfloat16 products chosen by time";
  return built;
}

absl::StatusOr<BuiltNetwork> BuildInPrecision(const Checkpoint& checkpoint, Size input,
                                              const Device& device, Precision precision,
                                              const ModelOptions& options, bool first) {
  if (precision == Precision::kInt8) {
    if (first && options.warn && AmxBFloat16Kernel() != nullptr) {
      options.warn(
          "--precision=int8: this CPU multiplies bfloat16 by AMX, which is faster; "
          "--precision=bfloat16 is closer to float32, too");
    }
    return BuildInt8(checkpoint, input, device, options.precision_min_cosine, first);
  }
  // Which product is the fastest differs from one process to the next, and with it the last bits.
  if (precision == Precision::kBFloat16 && device.kind == Device::Kind::kCuda &&
      options.fused_kernels && !options.deterministic) {
    absl::StatusOr<BuiltNetwork> built =
        Guarded([&] { return BuildByDeviceKernels(checkpoint, input, device, first); });
    if (ReasonOf(built.status()) != Reason::kDeviceFailure) return built;
    if (options.warn) {
      options.warn(absl::StrCat(
          DeviceName(device), " computes by LibTorch's kernels alone: ", built.status().message()));
    }
  }
  absl::StatusOr<BuiltNetwork> built =
      BuildFromWeights(checkpoint, input, device, {.precision = precision}, first);
  if (!built.ok() || device.kind != Device::Kind::kCpu) return built;
  if (precision == Precision::kInt16) {
    built->products =
        absl::StrCat(", int16 products by ", std::string(NativeInt16Kernel()->instructions));
  } else if (precision == Precision::kBFloat16) {
    built->products = absl::StrCat(", bfloat16 products by ", BFloat16Products());
  }
  return built;
}

// `file` is the source's: opened once, so that all devices run what was digested.
absl::StatusOr<BuiltNetwork> BuildFromProgram(const Source& source, const MappedFile& file,
                                              Size input, const Device& device, bool first) {
  absl::StatusOr<LoadedProgram> program = source.format == ModelFormat::kTorchScript
                                              ? LoadTorchScript(file, ToTorch(device))
                                              : LoadAotInductor(file, input, ToTorch(device));
  if (!program.ok()) return Annotate(program.status(), source.program);
  BuiltNetwork built{.network = nullptr,
                     .weights_digest = first ? DigestProgram(file.bytes) : "",
                     .parameters = program->parameters,
                     .program = absl::StrCat(", ", program->kind)};
  absl::StatusOr<std::unique_ptr<const Network>> network =
      ProbeProgram(*std::move(program), input, ToTorch(device));
  if (!network.ok()) return Annotate(network.status(), source.program);
  built.network = *std::move(network);
  return built;
}

// A program computes in what it was made for; of weights, in what the devices multiply.
absl::Status CheckPrecision(Precision precision, const Source& source,
                            std::span<const Device> devices) {
  if (precision == Precision::kFloat32 || source.format == ModelFormat::kSafetensors) {
    return CheckNative(precision, devices);
  }
  return MakeError(Reason::kUnsupportedPrecision,
                   absl::StrCat("--precision=", std::string(PrecisionName(precision)),
                                " is for safetensors; a program computes in what it was exported "
                                "in"));
}

// The smallest cosine between the vectors of `replica` and those of float32.
absl::StatusOr<double> CosineToFloat32(const Checkpoint& checkpoint, const ModelInfo& info,
                                       const Replica& replica) {
  absl::StatusOr<BuiltNetwork> exact =
      BuildFromWeights(checkpoint, info.input, replica.device, PrecisionPlan{}, /*first=*/false);
  if (!exact.ok()) return exact.status();
  const auto pixels = std::make_shared<const PixelTable>(info.preprocess);
  const absl::StatusOr<std::unique_ptr<Runner>> reference =
      NewRunnerOn(replica.device, {std::move(exact->network), pixels});
  if (!reference.ok()) return reference.status();
  const absl::StatusOr<std::unique_ptr<Runner>> runner =
      NewRunnerOn(replica.device, {replica.network, pixels});
  if (!runner.ok()) return runner.status();
  return WorstCosine(**runner, **reference, CalibrationImages(info.preprocess, info.input),
                     /*threads=*/1);
}

// Fills in what ModelInfo says of the precision. Errors: PRECISION_LOSS.
absl::Status MeasurePrecision(const Checkpoint& checkpoint, double min_cosine,
                              const Replica& replica, ModelInfo& info) {
  const absl::StatusOr<double> cosine = CosineToFloat32(checkpoint, info, replica);
  // What that took goes back to the kernel: it will not be needed again.
  GiveFreedMemoryBack();
  if (!cosine.ok()) return cosine.status();
  info.precision_cosine = *cosine;
  info.precision_min_cosine = min_cosine;
  if (*cosine >= min_cosine) return absl::OkStatus();
  return MakeError(
      Reason::kPrecisionLoss,
      absl::StrFormat("in %s the smallest cosine of a vector with that of float32 is %.9f, "
                      "below the %.9f of --precision_min_cosine; serve with --precision=float32",
                      std::string(PrecisionName(info.precision)), *cosine, min_cosine));
}

// Whether a network of weights computes each row of a batch as if it were alone, on one thread: all
// products and attention are our own kernels', norms and means go row by row.
// deterministic_golden_test holds every family against it.
bool RowsAreApart(std::span<const Device> devices, Precision precision,
                  const NetworkInfo& network) {
  const int attended = network.attended_tokens > 0 ? network.attended_tokens : network.tokens;
  const FloatKernel* const kernel =
      precision == Precision::kBFloat16 ? AmxBFloat16Kernel() : NativeFloatKernel();
  return kernel != nullptr && AttendsByOwnKernel(attended) &&
         std::ranges::all_of(
             devices, [](const Device& device) { return device.kind == Device::Kind::kCpu; });
}

// What multiplies most of a network in which RowsAreApart.
Multiplier OwnMultiplier(Precision precision) {
  const bool tiles = precision == Precision::kBFloat16 ||
                     (precision == Precision::kFloat32 && AmxFloatKernel() != nullptr);
  return tiles ? Multiplier::kTiles : Multiplier::kVectors;
}

absl::StatusOr<std::shared_ptr<const Model>> Build(const Checkpoint& checkpoint,
                                                   const Source& source,
                                                   const ModelOptions& options,
                                                   Precision precision) {
  const c10::InferenceMode inference;
  // First: of what is wrong with a directory, an unknown family says most. A program brings its
  // own.
  if (source.format == ModelFormat::kSafetensors) {
    if (absl::Status status = CheckFamily(checkpoint); !status.ok()) return status;
  }
  const absl::StatusOr<Size> input = InputSize(checkpoint.processor);
  if (!input.ok()) return input.status();

  MappedFile program;
  if (source.format != ModelFormat::kSafetensors) {
    if (!FixedOutputSize(checkpoint.processor.spec).has_value()) {
      return MakeError(Reason::kUnsupportedProcessor,
                       absl::StrCat("a program takes images [N, 3, H, W] of one size; ",
                                    checkpoint.processor.type, " makes patches of images of many"));
    }
    absl::StatusOr<MappedFile> file = MapFile(checkpoint.directory, source.program);
    if (!file.ok()) return file.status();
    program = *std::move(file);
  }

  // What a program does on a device is its own: it may well decide by what it reads there.
  const bool graphs =
      options.cuda_graphs && !options.deterministic && source.format == ModelFormat::kSafetensors;
  std::vector<Replica> replicas;
  std::vector<std::string> kernels;
  FingerprintParts fingerprint;
  std::int64_t parameters = 0;
  std::optional<double> cosine;
  for (const Device& device : options.devices) {
    const absl::StatusOr<std::string> kernel = KernelsOf(device, source);
    if (!kernel.ok()) return kernel.status();
    const bool first = replicas.empty();
    absl::StatusOr<BuiltNetwork> built =
        source.format == ModelFormat::kSafetensors
            ? BuildInPrecision(checkpoint, *input, device, precision, options, first)
            : BuildFromProgram(source, program, *input, device, first);
    if (!built.ok()) return built.status();
    if (first) {
      fingerprint.weights_digest = built->weights_digest;
      parameters = built->parameters;
      fingerprint.precision = PlanText(built->plan);
      cosine = built->cosine;
    }
    const bool replays = graphs && device.kind == Device::Kind::kCuda;
    kernels.push_back(
        absl::StrCat(*kernel, replays ? ", graphs" : "", built->program, built->products));
    replicas.push_back({device, std::move(built->network)});
  }

  const NetworkInfo& network = replicas.front().network->info();
  ModelInfo info;
  info.model_type = checkpoint.model_type;
  info.processor_type = checkpoint.processor.type;
  info.preprocess = checkpoint.processor.spec;
  info.input = *input;
  info.max_patches = network.max_patches;
  info.tokens = network.tokens;
  info.dimension = network.dimension;
  info.has_cls = network.has_cls;
  info.hidden_states = network.hidden_states;
  info.parameters = parameters;
  info.precision = precision;
  info.kernels = absl::StrJoin(kernels, "; ");
  const bool apart = source.format == ModelFormat::kSafetensors &&
                     RowsAreApart(options.devices, precision, network);
  info.deterministic = apart || options.deterministic;
  info.one_by_one = options.deterministic && !apart;
  if (!info.one_by_one) {
    info.best_batch_size =
        BestBatchSize(apart ? OwnMultiplier(precision) : Multiplier::kOther, network.tokens);
  }
  fingerprint.architecture = network.architecture;
  fingerprint.preprocess = info.preprocess;
  if (cosine.has_value()) {
    info.precision_cosine = *cosine;
    info.precision_min_cosine = options.precision_min_cosine;
  } else if (precision != Precision::kFloat32) {
    absl::Status status =
        MeasurePrecision(checkpoint, options.precision_min_cosine, replicas.front(), info);
    if (!status.ok()) return status;
  }
  return std::make_shared<const TorchModel>(std::move(info), std::move(fingerprint),
                                            std::move(replicas),
                                            GraphOptions{.allowed = graphs, .warn = options.warn});
}

// As Build, in the precision that `options` asks for.
absl::StatusOr<std::shared_ptr<const Model>> BuildAsAsked(const Checkpoint& checkpoint,
                                                          const Source& source,
                                                          const ModelOptions& options) {
  if (options.precision != Precision::kAuto) {
    absl::Status status = CheckPrecision(options.precision, source, options.devices);
    if (!status.ok()) return status;
    return Build(checkpoint, source, options, options.precision);
  }
  for (const Precision precision : {Precision::kBFloat16, Precision::kInt16}) {
    if (!CheckPrecision(precision, source, options.devices).ok()) continue;
    absl::StatusOr<std::shared_ptr<const Model>> model =
        Build(checkpoint, source, options, precision);
    if (ReasonOf(model.status()) != Reason::kPrecisionLoss) return model;
  }
  return Build(checkpoint, source, options, Precision::kFloat32);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Model>> LoadModel(const std::filesystem::path& directory,
                                                       const ModelOptions& options) {
  ActivationCache::Install();
  const absl::StatusOr<Source> source = ChooseSource(directory, options);
  if (!source.ok()) return source.status();
  const absl::StatusOr<Checkpoint> checkpoint = OpenCheckpoint(
      directory,
      {.backend = options.backend, .read_weights = source->format == ModelFormat::kSafetensors});
  if (!checkpoint.ok()) return checkpoint.status();
  return Guarded([&] { return BuildAsAsked(*checkpoint, *source, options); });
}

}  // namespace pixembed
