// What main.cc wants of the model room, without LibTorch: every directory is a fake, but "missing",
// and "endless", which takes for ever to load.
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/error/error.h"
#include "src/model/model.h"
#include "tests/model/fake_model.h"

namespace pixembed {

absl::Status CheckRuntime() { return absl::OkStatus(); }

void InitializeRuntime() {}

absl::StatusOr<std::vector<Device>> ResolveDevices(std::string_view text) {
  if (text == "auto" || text == "cpu") return std::vector<Device>{Device{}};
  return MakeError(Reason::kInvalidOption, "--device: no such device");
}

absl::StatusOr<std::vector<std::string>> CudaDevices() {
  return MakeError(Reason::kDeviceFailure, "no driver");
}

absl::StatusOr<std::shared_ptr<const Model>> LoadModel(const std::filesystem::path& directory,
                                                       const ModelOptions& options) {
  if (directory.filename() == "missing") {
    return MakeError(Reason::kCheckpointMissing, "config.json does not exist");
  }
  while (directory.filename() == "endless") pause();
  return std::make_shared<const FakeModel>(
      FakeModelOptions{.fingerprint_seed = directory,
                       .deterministic = options.deterministic,
                       .one_by_one = options.deterministic && directory.filename() != "apart",
                       .precision = options.precision,
                       .precision_min_cosine = options.precision_min_cosine});
}

}  // namespace pixembed
