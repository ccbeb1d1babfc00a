#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/util/Exception.h>
#include <torch/headeronly/version.h>

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/activation_cache.h"
#include "src/model/freed_memory.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

// The version in LibTorch's description of how it was built.
std::string LoadedVersion() {
  constexpr std::string_view kKey = "TORCH_VERSION=";
  const std::string config = at::show_config();
  const std::size_t begin = config.find(kKey);
  if (begin == std::string::npos) return "unknown";
  const std::size_t value = begin + kKey.size();
  return config.substr(value, config.find_first_of(", \n", value) - value);
}

// A program that loaded us may have begun to use the pool: it then stays as it is.
void UseOneInteropThread() {
  try {
    at::set_num_interop_threads(1);
  } catch (const c10::Error&) {  // NOLINT(bugprone-empty-catch)
  }
}

}  // namespace

absl::Status CheckRuntime() {
  const std::string loaded = LoadedVersion();
  if (loaded == TORCH_VERSION) return absl::OkStatus();
  return MakeError(
      Reason::kUnusableProcess,
      absl::StrCat("this process has LibTorch ", loaded, " loaded, and the engine was built with ",
                   TORCH_VERSION, ": torch of that version, or a process of its own, is needed"));
}

// Denormal numbers are computed, not flushed: the reference does so, and a softmax in float32
// leaves so few of them that no difference in speed was seen.
void InitializeRuntime() {
  static std::once_flag once;
  std::call_once(once, [] {
    KeepFreedMemory();
    ActivationCache::Install();
    // Each call of Runner::Embed says how many threads it may use; all other work takes one. The
    // process has no operators that run beside each other.
    at::set_num_threads(1);
    UseOneInteropThread();
  });
}

}  // namespace pixembed
