#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/cuda/shared_library.h"

namespace pixembed {
namespace {

constexpr char kModuleFile[] = "libpixembed_cuda.so";

// The file that this code lies in: the program, or a library of it.
std::filesystem::path OwnFile() {
  std::error_code error;
  std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  Dl_info info;
  if (dladdr(kModuleFile, &info) == 0 || info.dli_fname == nullptr) return program;
  // Of a program this is what it was called by, from wherever that was.
  std::filesystem::path file = std::filesystem::canonical(info.dli_fname, error);
  return error ? program : file;
}

// The module lies in lib/ beside the program's folder, or beside the program or the library; else
// the loader's search path decides.
std::string ModulePath() {
  std::error_code error;
  const std::filesystem::path folder = OwnFile().parent_path();
  const std::array candidates = {folder.parent_path() / "lib" / kModuleFile, folder / kModuleFile};
  for (const std::filesystem::path& candidate : candidates) {
    if (std::filesystem::exists(candidate, error)) return candidate.string();
  }
  return kModuleFile;
}

absl::StatusOr<const CudaModule*> Load() {
  // Asked first: without a driver there is no use in loading gigabytes of kernels.
  if (dlopen("libcuda.so.1", RTLD_LAZY | RTLD_GLOBAL) == nullptr) {
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat("no NVIDIA driver on this host (", LoaderError(), ")"));
  }
  void* library = dlopen(ModulePath().c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    return MakeError(
        Reason::kDeviceFailure,
        absl::StrCat("the CUDA half of this program cannot be loaded: ", LoaderError(),
                     "; it needs LibTorch's CUDA libraries (the nvidia-* wheels of torch 2.11.0)"));
  }
  auto* entry = reinterpret_cast<CudaModuleEntry*>(dlsym(library, kCudaModuleEntry));
  if (entry == nullptr) {
    return MakeError(Reason::kDeviceFailure,
                     absl::StrCat(kModuleFile, " is not of this program: ", LoaderError()));
  }
  return entry();
}

}  // namespace

absl::StatusOr<const CudaModule*> LoadCudaModule() {
  static const absl::StatusOr<const CudaModule*> module = Load();
  return module;
}

}  // namespace pixembed
