#include "src/model/cuda/kernel_compiler.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/cuda/fused_kernels_source.h"
#include "src/model/cuda/shared_library.h"

namespace pixembed {
namespace {

// What torch 2.11.0 is linked to. The compiler asks for the other one by name, and finds it where
// it is loaded already: unlike us it does not look beside itself.
constexpr char kName[] = "libnvrtc.so.13";
constexpr char kBuiltinsName[] = "libnvrtc-builtins.so.13.0";
constexpr char kSourceName[] = "fused_kernels.cu";

struct Program;
using Status = int;  // 0: success

// Source: nvidia-cuda-nvrtc 13.0.88 include/nvrtc.h.
struct Compiler {
  Status (*create)(Program**, const char* source, const char* name, int headers,
                   const char* const* header_texts, const char* const* header_names);
  Status (*destroy)(Program**);
  Status (*compile)(Program*, int options, const char* const* option_texts);
  Status (*log_size)(Program*, std::size_t*);
  Status (*log)(Program*, char*);
  Status (*code_size)(Program*, std::size_t*);
  Status (*code)(Program*, char*);
  const char* (*error_text)(Status);
};

absl::StatusOr<Compiler> Open() {
  // Where it is missing, compiling says so.
  (void)SharedLibrary::Open(kBuiltinsName);
  absl::StatusOr<SharedLibrary> file = SharedLibrary::Open(kName);
  if (!file.ok()) return file.status();
  Compiler compiler{};
  file->Find("nvrtcCreateProgram", compiler.create);
  file->Find("nvrtcDestroyProgram", compiler.destroy);
  file->Find("nvrtcCompileProgram", compiler.compile);
  file->Find("nvrtcGetProgramLogSize", compiler.log_size);
  file->Find("nvrtcGetProgramLog", compiler.log);
  file->Find("nvrtcGetCUBINSize", compiler.code_size);
  file->Find("nvrtcGetCUBIN", compiler.code);
  file->Find("nvrtcGetErrorString", compiler.error_text);
  if (!file->status().ok()) return file->status();
  return compiler;
}

// What `size` and `get` give of a program; empty where they fail.
std::string TextOf(Program* program, Status (*size)(Program*, std::size_t*),
                   Status (*get)(Program*, char*)) {
  std::size_t bytes = 0;
  if (size(program, &bytes) != 0) return "";
  std::string text(bytes, '\0');
  if (get(program, text.data()) != 0) return "";
  return text;
}

}  // namespace

absl::StatusOr<std::string> CompileFusedKernels(const std::string& architecture,
                                                std::span<const std::string> definitions) {
  static const absl::StatusOr<Compiler> compiler = Open();
  if (!compiler.ok()) return compiler.status();

  std::vector<std::string> texts = {absl::StrCat("--gpu-architecture=", architecture),
                                    "--std=c++17"};
  for (const std::string& definition : definitions) {
    texts.push_back(absl::StrCat("--define-macro=", definition));
  }
  std::vector<const char*> options;
  options.reserve(texts.size());
  for (const std::string& text : texts) options.push_back(text.c_str());

  Program* created = nullptr;
  Status status = compiler->create(&created, kFusedKernelsSource, kSourceName, 0, nullptr, nullptr);
  const auto destroy = [](Program* program) { (void)compiler->destroy(&program); };
  const std::unique_ptr<Program, decltype(destroy)> program(created, destroy);
  if (status == 0) {
    status = compiler->compile(program.get(), static_cast<int>(options.size()), options.data());
  }
  std::string code;
  if (status == 0) code = TextOf(program.get(), compiler->code_size, compiler->code);
  if (!code.empty()) return code;
  return MakeError(
      Reason::kDeviceFailure,
      absl::StrCat(kSourceName, " does not compile for ", architecture, ": ",
                   compiler->error_text(status), ": ",
                   created == nullptr
                       ? ""
                       : TextOf(program.get(), compiler->log_size, compiler->log).c_str()));
}

}  // namespace pixembed
