// A library that is found by name when it is needed. Internal to the CUDA half.
#ifndef PIXEMBED_SRC_MODEL_CUDA_SHARED_LIBRARY_H_
#define PIXEMBED_SRC_MODEL_CUDA_SHARED_LIBRARY_H_

#include <dlfcn.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"

namespace pixembed {

// Why dlopen or dlsym failed last, on this thread.
inline std::string LoaderError() {
  const char* const text = dlerror();
  return text == nullptr ? "unknown error" : text;
}

// Stays loaded for good. Not thread-safe.
class SharedLibrary {
 public:
  // Errors: DEVICE_FAILURE.
  static absl::StatusOr<SharedLibrary> Open(std::string name) {
    void* const handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (handle == nullptr) return Failure(absl::StrCat("cannot load ", LoaderError()));
    return SharedLibrary(std::move(name), handle);
  }

  // Sets `function` to the one called `symbol`. The first that is missing is remembered.
  template <typename Function>
  void Find(const char* symbol, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(handle_, symbol));
    if (function == nullptr && status_.ok()) {
      status_ = Failure(absl::StrCat(name_, " lacks ", symbol));
    }
  }

  // DEVICE_FAILURE where something was missing.
  const absl::Status& status() const { return status_; }

 private:
  SharedLibrary(std::string name, void* handle) : name_(std::move(name)), handle_(handle) {}

  static absl::Status Failure(const std::string& text) {
    return MakeError(Reason::kDeviceFailure, text);
  }

  std::string name_;
  void* handle_;
  absl::Status status_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_CUDA_SHARED_LIBRARY_H_
