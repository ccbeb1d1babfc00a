// Tensors of a checkpoint, found by path, checked, as float32 on one device. Internal to the room.
//
// A family's code reads like the paper: Linear(scope.At("mlp.fc1"), ...). The first thing that is
// wrong is remembered by the reader and everything after it gives undefined tensors, so that only
// the end of a build asks for the status. Nothing is computed before that.
#ifndef PIXEMBED_SRC_MODEL_WEIGHTS_H_
#define PIXEMBED_SRC_MODEL_WEIGHTS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "src/checkpoint/checkpoint.h"
#include "src/model/device_kernels.h"
#include "src/model/precision_plan.h"

namespace pixembed {

// "[3, 16, 16]".
std::string ShapeText(std::span<const std::int64_t> shape);

class WeightScope;

// Those of a network. Elements stay where they are.
using SwitchedProducts = std::deque<SwitchedProduct>;

// One build's view of the weights. One thread at a time; outlives the scopes that it gave.
class WeightReader {
 public:
  // Tensors are given on `device`.
  // `switches`: where it is not null, every product that `plan` is about adds itself there, and is
  // computed in int8 while its switch says so; it outlives them.
  // `kernels`: of the device, for what is computed in bfloat16; null: LibTorch computes it.
  WeightReader(Weights weights, c10::Device device, PrecisionPlan plan = {},
               SwitchedProducts* switches = nullptr, const DeviceKernels* kernels = nullptr);

  c10::Device device() const { return device_; }
  const PrecisionPlan& plan() const { return plan_; }
  SwitchedProducts* switches() const { return switches_; }
  const DeviceKernels* kernels() const { return kernels_; }

  // The scope of the first of `prefixes` under which the tensor `probe` exists: files of head
  // models put the backbone under a prefix, others do not. None: the first, so that errors name it.
  WeightScope Root(std::span<const std::string_view> prefixes, std::string_view probe);

  // Remembers the first error: later ones are its consequences.
  void Fail(absl::Status status);
  bool ok() const { return status_.ok(); }
  // TENSOR_MISSING, TENSOR_SHAPE: the text names the file, the key and both shapes.
  // UNSUPPORTED_MODEL: a tensor that is not F32, F16 or BF16.
  const absl::Status& status() const { return status_; }

  // A copy of the tensor on the reader's device, complete when it returns: a model keeps nothing of
  // the mapping, so that its pages go, and the file may, once it is loaded.
  at::Tensor Place(const at::Tensor& tensor) const;

  // What was read, by its path below the root: the same for a file with and without a prefix.
  const std::map<std::string, const Tensor*, std::less<>>& used() const { return used_; }

 private:
  friend class WeightScope;
  const Tensor* Find(std::string_view key, std::string_view path,
                     std::span<const std::int64_t> shape);
  // float32 on the CPU.
  at::Tensor OnCpu(const Tensor& tensor) const;

  Weights weights_;
  c10::Device device_;
  PrecisionPlan plan_;
  SwitchedProducts* switches_;
  const DeviceKernels* kernels_;
  absl::Status status_;
  std::map<std::string, const Tensor*, std::less<>> used_;
};

// A place in the tree of names: "vit.encoder.layer.3". Cheap to copy.
class WeightScope {
 public:
  // The scope `path` below this one.
  WeightScope At(std::string_view path) const;
  WeightScope At(std::string_view path, std::int64_t index) const;  // "layer", 3 -> "layer.3"

  // The tensor `name` of exactly this shape, float32, on the reader's device.
  at::Tensor Get(std::string_view name, std::initializer_list<std::int64_t> shape) const;

  // The same on the CPU, F32 in the mapping itself, which lives as long as the tensor: for what is
  // computed from weights at load, which is then the same for every device.
  at::Tensor GetOnCpu(std::string_view name, std::initializer_list<std::int64_t> shape) const;

  WeightReader& reader() const { return *reader_; }

  // Below the root, "encoder.layer.3"; empty for the root.
  std::string path() const { return path_.empty() ? "" : path_.substr(0, path_.size() - 1); }

 private:
  friend class WeightReader;
  WeightScope(WeightReader* reader, std::string prefix, std::string path)
      : reader_(reader), prefix_(std::move(prefix)), path_(std::move(path)) {}
  WeightReader* reader_;
  std::string prefix_;  // of the root: "vit." or ""
  std::string path_;    // below the root: "encoder.layer.3." or ""
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_WEIGHTS_H_
