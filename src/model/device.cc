#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "src/error/error.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/device_text.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

absl::Status Refuse(const DeviceWord& word, absl::string_view why) {
  return MakeError(Reason::kInvalidOption,
                   absl::StrCat("--device names ", Quoted(word.text), ": ", why));
}

// What a word names, appended to `devices`.
absl::Status AddDevices(const DeviceWord& word, std::vector<Device>& devices) {
  if (word.kind == Device::Kind::kCpu) {
    devices.push_back({Device::Kind::kCpu, 0});
    return absl::OkStatus();
  }
  const absl::StatusOr<std::vector<std::string>> found = CudaDevices();
  if (!found.ok()) return Refuse(word, found.status().message());
  const int count = static_cast<int>(found->size());
  if (word.ordinal.has_value() && *word.ordinal >= count) {
    return Refuse(
        word, absl::StrCat("this host has ", count, " CUDA devices, cuda:0 to cuda:", count - 1));
  }
  const int first = word.ordinal.value_or(0);
  for (int i = first; i < (word.ordinal.has_value() ? first + 1 : count); ++i) {
    devices.push_back({Device::Kind::kCuda, i});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> CudaDevices() {
  const absl::StatusOr<const CudaModule*> module = LoadCudaModule();
  if (!module.ok()) return module.status();
  return (*module)->Devices();
}

absl::StatusOr<std::vector<Device>> ResolveDevices(std::string_view text) {
  const absl::StatusOr<std::vector<DeviceWord>> words = ReadDeviceText(text);
  if (!words.ok()) return words.status();
  std::vector<Device> devices;
  if (words->empty()) {
    if (AddDevices({.text = "cuda", .kind = Device::Kind::kCuda}, devices).ok()) return devices;
    return std::vector<Device>{Device{}};
  }
  for (const DeviceWord& word : *words) {
    if (absl::Status added = AddDevices(word, devices); !added.ok()) return added;
  }
  for (auto device = devices.begin(); device != devices.end(); ++device) {
    if (std::find(devices.begin(), device, *device) != device) {
      return MakeError(Reason::kInvalidOption,
                       absl::StrCat("--device names ", DeviceName(*device), " twice"));
    }
  }
  return devices;
}

}  // namespace pixembed
