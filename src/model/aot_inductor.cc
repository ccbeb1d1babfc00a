#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_runner/model_container_runner_cpu.h>

#include <algorithm>
#include <cerrno>
#include <cfenv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/aot_package.h"
#include "src/model/guard.h"
#include "src/model/program.h"
#include "src/model/program_archive.h"

namespace pixembed {
namespace {

using Runner = torch::inductor::AOTIModelContainerRunnerCpu;

absl::Status CannotWrite(const std::filesystem::path& path, const std::string& why) {
  return MakeError(Reason::kDeviceFailure,
                   absl::StrCat("the package's library cannot be written to ", path.string(), ": ",
                                why, "; TMPDIR says where temporary files lie"));
}

// A folder of its own, gone with the object.
class ScratchFolder {
 public:
  // Errors: DEVICE_FAILURE.
  static absl::StatusOr<std::unique_ptr<ScratchFolder>> Make() {
    std::error_code error;
    const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
    if (error) return CannotWrite("TMPDIR", error.message());
    std::string path = parent / "pixembed-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      return CannotWrite(parent, std::generic_category().message(errno));
    }
    return std::unique_ptr<ScratchFolder>(new ScratchFolder(path));
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

// Keeps the floating-point environment of this thread: a library that was linked with -ffast-math
// flushes denormal numbers to zero from the moment that it is loaded.
class KeptFloatingPoint {
 public:
  KeptFloatingPoint() { std::fegetenv(&environment_); }
  KeptFloatingPoint(const KeptFloatingPoint&) = delete;
  KeptFloatingPoint& operator=(const KeptFloatingPoint&) = delete;
  ~KeptFloatingPoint() { std::fesetenv(&environment_); }

 private:
  std::fenv_t environment_{};
};

// One entry -> the file of that name in `folder`. Its own name only: no entry leaves the folder.
absl::Status Extract(ProgramArchive& archive, const std::string& entry,
                     const std::filesystem::path& folder) {
  const absl::StatusOr<std::string> bytes = archive.Read(entry);
  if (!bytes.ok()) return bytes.status();
  const std::filesystem::path path = folder / std::filesystem::path(entry).filename();
  std::ofstream file(path, std::ios::binary);
  file.write(bytes->data(), static_cast<std::streamsize>(bytes->size()));
  file.close();
  if (!file) return CannotWrite(path, std::generic_category().message(errno));
  return absl::OkStatus();
}

class AotInductorProgram final : public Program {
 public:
  explicit AotInductorProgram(std::unique_ptr<Runner> runner) : runner_(std::move(runner)) {}

  // The container hands each caller a copy of the model's state of its own; weights are shared.
  at::Tensor Run(const at::Tensor& images) const override {
    std::vector<at::Tensor> results = runner_->run({images});
    TORCH_CHECK(results.size() == 1, "the package gives ", results.size(),
                " tensors; export it so that it gives one");
    return std::move(results.front());
  }

  std::int64_t CountParameters() const {
    std::int64_t count = 0;
    for (const auto& [name, constant] : runner_->extract_constants_map(/*use_inactive=*/false)) {
      count += constant.numel();
    }
    return count;
  }

 private:
  std::unique_ptr<Runner> runner_;
};

// As many states as threads may want at once; more would wait for one another.
std::size_t CountOfStates() { return std::max(1U, std::thread::hardware_concurrency()); }

absl::StatusOr<LoadedProgram> LoadLibrary(const std::filesystem::path& library,
                                          const AotPackage& package) {
  const KeptFloatingPoint kept;
  return Guarded(
      [&]() -> absl::StatusOr<LoadedProgram> {
        auto program = std::make_unique<const AotInductorProgram>(
            std::make_unique<Runner>(library.string(), CountOfStates()));
        const std::int64_t parameters = program->CountParameters();
        return LoadedProgram{.program = std::move(program),
                             .class_token = package.class_token,
                             .parameters = parameters,
                             .kind = absl::StrCat("AOTInductor ", package.march)};
      },
      Reason::kUnsupportedModel);
}

}  // namespace

absl::StatusOr<LoadedProgram> LoadAotInductor(const MappedFile& file, Size input,
                                              c10::Device device) {
  if (!device.is_cpu()) {
    return MakeError(Reason::kIncompatibleProgram,
                     absl::StrCat("AOTInductor packages compute on the CPU, not on ", device.str(),
                                  ": choose --device=cpu or another --format"));
  }
  absl::StatusOr<ProgramArchive> archive = ProgramArchive::Open(file);
  if (!archive.ok()) return archive.status();
  const absl::StatusOr<AotPackage> package = CheckAotPackage(*archive, ThisHost(), input);
  if (!package.ok()) return package.status();

  // Nothing needs the files once the library is loaded.
  const absl::StatusOr<std::unique_ptr<ScratchFolder>> folder = ScratchFolder::Make();
  if (!folder.ok()) return folder.status();
  for (const std::string& entry : {package->library, package->extern_nodes}) {
    if (entry.empty()) continue;
    if (absl::Status status = Extract(*archive, entry, (*folder)->path()); !status.ok()) {
      return status;
    }
  }
  return LoadLibrary((*folder)->path() / std::filesystem::path(package->library).filename(),
                     *package);
}

}  // namespace pixembed
