#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/Device.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/fingerprint.h"
#include "src/model/guard.h"
#include "src/model/model.h"
#include "src/model/network.h"
#include "src/model/pixels.h"
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

class TorchModel final : public Model {
 public:
  TorchModel(ModelInfo info, FingerprintParts fingerprint, std::vector<Replica> replicas)
      : info_(std::move(info)),
        fingerprint_(std::move(fingerprint)),
        replicas_(std::move(replicas)),
        pixels_(std::make_shared<const PixelTable>(info_.preprocess)) {
    for (const Replica& replica : replicas_) devices_.push_back(replica.device);
  }

  const ModelInfo& info() const override { return info_; }

  std::string Fingerprint(const VectorSpace& space) const override {
    FingerprintParts parts = fingerprint_;
    parts.space = space;
    return pixembed::Fingerprint(parts);
  }

  absl::Status CheckOutput(const OutputSpec& spec) const override {
    if (spec.pooling == Pooling::kCls && !info_.has_cls) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat("pooling is cls, but a ", info_.model_type,
                                    " model has no class token; mean and max are possible"));
    }
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
    RunnerParts parts{replica->network, pixels_, info_.input};
    absl::StatusOr<std::unique_ptr<Runner>> runner;
    if (device.kind == Device::Kind::kCpu) {
      runner = NewCpuRunner(std::move(parts));
    } else {
      runner = NewCudaRunner(std::move(parts), device.index);
    }
    if (!runner.ok() || !info_.deterministic) return runner;
    return NewDeterministicRunner(*std::move(runner));
  }

 private:
  absl::Status CheckLayers(std::span<const int> layers) const {
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
  std::vector<Device> devices_;
  std::shared_ptr<const PixelTable> pixels_;
};

// Every image must have one size, known now.
absl::StatusOr<Size> InputSize(const Processor& processor) {
  const std::optional<Size> size = FixedOutputSize(processor.spec);
  if (size.has_value()) return *size;
  return MakeError(
      Reason::kUnsupportedProcessor,
      absl::StrCat(processor.type,
                   " gives images whose size depends on the image (no center crop and no exact "
                   "size); batches need one size"));
}

absl::StatusOr<std::string> KernelsOf(const Device& device) {
  if (device.kind == Device::Kind::kCpu) {
    return absl::StrCat("cpu: ATen ", at::get_cpu_capability(),
                        at::hasMKL() ? ", MKL matrix products" : "");
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

std::int64_t CountParameters(const std::map<std::string, const Tensor*, std::less<>>& tensors) {
  std::size_t count = 0;
  for (const auto& [name, tensor] : tensors) {
    count += tensor->bytes.size() / TensorTypeSize(tensor->type);
  }
  return static_cast<std::int64_t>(count);
}

absl::StatusOr<std::shared_ptr<const Model>> Build(const Checkpoint& checkpoint,
                                                   const ModelOptions& options) {
  const c10::InferenceMode inference;
  // First: of what is wrong with a directory, an unknown family says most.
  if (absl::Status status = CheckFamily(checkpoint); !status.ok()) return status;
  const absl::StatusOr<Size> input = InputSize(checkpoint.processor);
  if (!input.ok()) return input.status();

  std::vector<Replica> replicas;
  std::vector<std::string> kernels;
  FingerprintParts fingerprint;
  std::int64_t parameters = 0;
  for (const Device& device : options.devices) {
    absl::StatusOr<std::string> kernel = KernelsOf(device);
    if (!kernel.ok()) return kernel.status();
    kernels.push_back(*std::move(kernel));
    WeightReader weights(checkpoint.weights, ToTorch(device));
    absl::StatusOr<std::unique_ptr<const Network>> network =
        BuildNetwork(checkpoint, *input, weights);
    if (!network.ok()) return network.status();
    if (replicas.empty()) {
      fingerprint.weights_digest = DigestWeights(weights.used());
      parameters = CountParameters(weights.used());
    }
    replicas.push_back({device, *std::move(network)});
  }

  const NetworkInfo& network = replicas.front().network->info();
  ModelInfo info;
  info.model_type = checkpoint.model_type;
  info.processor_type = checkpoint.processor.type;
  info.preprocess = checkpoint.processor.spec;
  info.input = *input;
  info.tokens = network.tokens;
  info.dimension = network.dimension;
  info.has_cls = network.has_cls;
  info.hidden_states = network.hidden_states;
  info.parameters = parameters;
  info.precision = "float32";
  info.kernels = absl::StrJoin(kernels, "; ");
  info.deterministic = options.deterministic;
  fingerprint.architecture = network.architecture;
  fingerprint.preprocess = info.preprocess;
  fingerprint.precision = info.precision;
  return std::make_shared<const TorchModel>(std::move(info), std::move(fingerprint),
                                            std::move(replicas));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Model>> LoadModel(const std::filesystem::path& directory,
                                                       const ModelOptions& options) {
  const absl::StatusOr<Checkpoint> checkpoint =
      OpenCheckpoint(directory, {.backend = options.backend});
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<std::shared_ptr<const Model>> model =
      Guarded([&] { return Build(*checkpoint, options); });
  if (!model.ok()) return Annotate(model.status(), directory.string());
  return model;
}

}  // namespace pixembed
