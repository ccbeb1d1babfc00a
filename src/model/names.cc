#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "src/model/model.h"

namespace pixembed {

std::string_view PoolingName(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return "mean";
    case Pooling::kCls:
      return "cls";
    case Pooling::kMax:
      return "max";
    case Pooling::kMaskedMean:
      return "masked_mean";
  }
  return "unknown";
}

std::string_view ModelFormatName(ModelFormat format) {
  switch (format) {
    case ModelFormat::kAuto:
      return "auto";
    case ModelFormat::kSafetensors:
      return "safetensors";
    case ModelFormat::kTorchScript:
      return "torchscript";
    case ModelFormat::kAotInductor:
      return "aotinductor";
  }
  return "unknown";
}

std::string_view PrecisionName(Precision precision) {
  switch (precision) {
    case Precision::kFloat32:
      return "float32";
    case Precision::kBFloat16:
      return "bfloat16";
    case Precision::kInt16:
      return "int16";
    case Precision::kInt8:
      return "int8";
    case Precision::kAuto:
      return "auto";
  }
  return "unknown";
}

std::string DeviceName(const Device& device) {
  return device.kind == Device::Kind::kCpu ? "cpu" : absl::StrCat("cuda:", device.index);
}

}  // namespace pixembed
