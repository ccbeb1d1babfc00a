#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "src/error/error.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

absl::Status Refuse(absl::string_view text, absl::string_view why) {
  return MakeError(Reason::kInvalidOption, absl::StrCat("--device \"", text, "\": ", why));
}

// One element of the list, appended to `devices`.
absl::Status AddDevices(absl::string_view element, std::vector<Device>& devices) {
  if (element == "cpu") {
    devices.push_back({Device::Kind::kCpu, 0});
    return absl::OkStatus();
  }
  absl::string_view rest = element;
  int ordinal = -1;
  const bool is_cuda = absl::ConsumePrefix(&rest, "cuda");
  const bool has_ordinal = absl::ConsumePrefix(&rest, ":");
  const bool is_ordinal = absl::SimpleAtoi(rest, &ordinal) && ordinal >= 0;
  if (!is_cuda || (has_ordinal ? !is_ordinal : !rest.empty())) {
    return Refuse(element, "is not auto, cpu, cuda, cuda:N or a list of these");
  }
  const absl::StatusOr<std::vector<std::string>> found = CudaDevices();
  if (!found.ok()) return Refuse(element, found.status().message());
  const int count = static_cast<int>(found->size());
  if (has_ordinal && ordinal >= count) {
    return Refuse(element, absl::StrCat("this host has ", count,
                                        " CUDA devices, cuda:0 to cuda:", count - 1));
  }
  for (int i = has_ordinal ? ordinal : 0; i < (has_ordinal ? ordinal + 1 : count); ++i) {
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
  const absl::string_view list(text.data(), text.size());
  if (list == "auto") {
    std::vector<Device> devices;
    if (AddDevices("cuda", devices).ok()) return devices;
    return std::vector<Device>{Device{}};
  }
  std::vector<Device> devices;
  for (const absl::string_view element : absl::StrSplit(list, ',')) {
    absl::Status added = AddDevices(absl::StripAsciiWhitespace(element), devices);
    if (!added.ok()) return added;
  }
  for (auto device = devices.begin(); device != devices.end(); ++device) {
    if (std::find(devices.begin(), device, *device) != device) {
      return Refuse(list, absl::StrCat("names ", DeviceName(*device), " twice"));
    }
  }
  return devices;
}

}  // namespace pixembed
