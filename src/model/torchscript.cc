#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <c10/core/Device.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/model/guard.h"
#include "src/model/program.h"
#include "src/model/program_archive.h"

namespace pixembed {
namespace {

constexpr char kHiddenState[] = "last_hidden_state";
// Of deploy/export_torchscript.py: "1" where the first token is a class token.
constexpr char kClassTokenFile[] = "pixembed_class_token";

// The element of a named tuple, or the first of one without names, as transformers returns it with
// return_dict=False.
c10::IValue FromTuple(const c10::IValue& value) {
  const auto tuple = value.toTuple();
  TORCH_CHECK(!tuple->elements().empty(), "forward returns an empty tuple");
  std::size_t index = 0;
  const auto& schema = tuple->type()->schema();
  if (schema) {
    const std::optional<int> named = schema->argumentIndexWithName(kHiddenState);
    TORCH_CHECK(named.has_value(), "forward returns a named tuple without ", kHiddenState);
    index = static_cast<std::size_t>(*named);
  }
  return tuple->elements()[index];
}

at::Tensor HiddenState(c10::IValue value) {
  if (value.isGenericDict()) {
    const auto dict = value.toGenericDict();
    const auto found = dict.find(kHiddenState);
    TORCH_CHECK(found != dict.end(), "forward returns a dict without ", kHiddenState);
    value = found->value();
  } else if (value.isTuple()) {
    value = FromTuple(value);
  } else if (value.isObject()) {
    const auto object = value.toObject();
    TORCH_CHECK(object->type()->hasAttribute(kHiddenState), "forward returns a ", object->name(),
                " without ", kHiddenState);
    value = object->getAttr(kHiddenState);
  }
  TORCH_CHECK(value.isTensor(), "forward returns ", value.tagKind(), " where a Tensor is needed");
  return value.toTensor();
}

class TorchScriptProgram final : public Program {
 public:
  explicit TorchScriptProgram(const torch::jit::Module& module)
      : forward_(module.get_method("forward")) {}

  at::Tensor Run(const at::Tensor& images) const override {
    // The optimizer watches the first runs and rewrites the graph in later ones: other sums, and
    // slow requests long after the start.
    const torch::jit::GraphOptimizerEnabledGuard plain(/*state=*/false);
    return HiddenState(forward_({images}));
  }

 private:
  torch::jit::Method forward_;  // keeps the module alive
};

std::int64_t CountParameters(const torch::jit::Module& module) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

absl::StatusOr<LoadedProgram> Load(const MappedFile& file, c10::Device device) {
  torch::jit::setTensorExprFuserEnabled(false);  // it compiles kernels at run time
  torch::jit::ExtraFilesMap extra = {{kClassTokenFile, ""}};
  torch::jit::Module module =
      torch::jit::load(std::make_shared<MappedFileReader>(file), device, extra,
                       /*load_debug_files=*/false);
  module.eval();
  if (!module.find_method("forward").has_value()) {
    return MakeError(Reason::kUnsupportedModel, "the module has no forward");
  }
  return LoadedProgram{.program = std::make_unique<const TorchScriptProgram>(module),
                       .class_token = extra[kClassTokenFile] == "1",
                       .parameters = CountParameters(module),
                       .kind = "TorchScript"};
}

}  // namespace

absl::StatusOr<LoadedProgram> LoadTorchScript(const MappedFile& file, c10::Device device) {
  absl::StatusOr<ProgramArchive> archive = ProgramArchive::Open(file);
  if (!archive.ok()) return archive.status();
  if (!archive->Has("constants.pkl")) {
    return MakeError(Reason::kCheckpointCorrupt,
                     "it holds no TorchScript; what torch.save writes is pickle, which is never "
                     "read: export with torch.jit.save, as deploy/export_torchscript.py does");
  }
  return Guarded([&] { return Load(file, device); }, Reason::kUnsupportedModel);
}

}  // namespace pixembed
