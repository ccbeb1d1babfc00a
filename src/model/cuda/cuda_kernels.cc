#include "src/model/cuda/cuda_kernels.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/Device.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/image/image.h"
#include "src/model/cuda/kernel_compiler.h"
#include "src/model/cuda/products.h"
#include "src/model/device_kernels.h"

namespace pixembed {
namespace {

// A row is held in the registers of a warp: beyond, they do not suffice.
constexpr std::int64_t kMostWidth = 2048;
constexpr unsigned kWarp = 32;
constexpr unsigned kRowsOfBlock = 4;
constexpr unsigned kSplitThreads = 128;

// Kernels of fused_kernels.cu by name, compiled for some definitions. Loaded for good.
using KernelSet = std::map<std::string, cudaKernel_t, std::less<>>;

constexpr std::array kNormalizeKernels = {"Normalize",          "NormalizeToFloat",
                                          "AddNormalize",       "AddNormalizeToFloat",
                                          "AddScaledNormalize", "AddScaledNormalizeToFloat"};
constexpr std::array kSplitKernels = {"SplitPatches"};

template <std::size_t count>
KernelSet LoadKernels(const std::string& architecture, const std::vector<std::string>& definitions,
                      const std::array<const char*, count>& names) {
  const absl::StatusOr<std::string> code = CompileFusedKernels(architecture, definitions);
  TORCH_CHECK(code.ok(), code.status().message());
  cudaLibrary_t library = nullptr;
  C10_CUDA_CHECK(cudaLibraryLoadData(&library, code->data(), nullptr, nullptr, 0, nullptr, nullptr,
                                     /*numLibraryOptions=*/0));
  KernelSet kernels;
  for (const char* const name : names) {
    cudaKernel_t kernel = nullptr;
    C10_CUDA_CHECK(cudaLibraryGetKernel(&kernel, library, name));
    kernels.emplace(name, kernel);
  }
  return kernels;
}

template <typename... Arguments>
void Launch(cudaKernel_t kernel, dim3 grid, dim3 block, const at::Tensor& on,
            Arguments... arguments) {
  const c10::cuda::CUDAGuard guard(on.device());
  std::array<void*, sizeof...(arguments)> addresses = {static_cast<void*>(&arguments)...};
  C10_CUDA_CHECK(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block,
                                  addresses.data(), 0, c10::cuda::getCurrentCUDAStream()));
}

const void* AddressOf(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}

class CudaKernels final : public DeviceKernels {
 public:
  CudaKernels(int ordinal, std::string architecture, std::unique_ptr<Products> products)
      : device_(c10::kCUDA, static_cast<c10::DeviceIndex>(ordinal)),
        architecture_(std::move(architecture)),
        products_(std::move(products)) {}

  bool Normalizes(std::int64_t width) const override {
    if (width % 4 != 0 || width > kMostWidth) return false;
    OfWidth(width);
    return true;
  }

  at::Tensor AddAndNormalize(const NormalizeOperands& operands) const override {
    const at::Tensor& x = operands.x;
    const std::int64_t width = x.size(-1);
    at::Tensor out = at::empty(x.sizes(), x.options().dtype(operands.out));
    const auto rows = static_cast<int>(x.numel() / width);
    if (rows == 0) return out;
    TORCH_CHECK(x.is_contiguous() &&
                (!operands.branch.defined() || operands.branch.is_contiguous()));
    const std::string name = absl::StrCat(
        operands.branch.defined() ? (operands.scale.defined() ? "AddScaled" : "Add") : "",
        "Normalize", operands.out == at::kFloat ? "ToFloat" : "");
    Launch(OfWidth(width).at(name),
           dim3((static_cast<unsigned>(rows) + kRowsOfBlock - 1) / kRowsOfBlock),
           dim3(kWarp, kRowsOfBlock), x, x.mutable_data_ptr(), AddressOf(operands.branch),
           AddressOf(operands.scale), AddressOf(operands.weight), AddressOf(operands.bias),
           static_cast<float>(operands.epsilon), out.mutable_data_ptr(), rows);
    return out;
  }

  at::Tensor Multiply(const ProductOperands& operands) const override {
    return products_->Multiply(operands);
  }

  bool Splits(Size patch) const override {
    if (patch.width % 2 != 0) return false;
    OfPatch(patch);
    return true;
  }

  at::Tensor SplitPatches(const at::Tensor& images, const at::Tensor& table,
                          Size patch) const override {
    TORCH_CHECK(images.is_contiguous());
    const std::int64_t batch = images.size(0);
    const auto height = static_cast<int>(images.size(1));
    const auto width = static_cast<int>(images.size(2));
    const std::int64_t patches =
        std::int64_t{height / patch.height} * std::int64_t{width / patch.width};
    const std::int64_t values = std::int64_t{3} * patch.height * patch.width;
    at::Tensor out =
        at::empty({batch, patches, SplitWidth(values)}, images.options().dtype(at::kBFloat16));
    if (out.numel() == 0) return out;
    Launch(OfPatch(patch).at("SplitPatches"), dim3(static_cast<unsigned>(batch * patches)),
           dim3(kSplitThreads), images, images.const_data_ptr(), table.const_data_ptr(),
           out.mutable_data_ptr(), height, width);
    return out;
  }

 private:
  const KernelSet& OfWidth(std::int64_t width) const {
    return Get(of_width_, width, [&] {
      return LoadKernels(architecture_, {absl::StrCat("WIDTH=", width)}, kNormalizeKernels);
    });
  }

  const KernelSet& OfPatch(Size patch) const {
    return Get(of_patch_, std::pair(patch.height, patch.width), [&] {
      return LoadKernels(
          architecture_,
          {absl::StrCat("PATCH_HEIGHT=", patch.height), absl::StrCat("PATCH_WIDTH=", patch.width)},
          kSplitKernels);
    });
  }

  // What is in `sets`, or else made and put there.
  template <typename Key, typename Make>
  const KernelSet& Get(std::map<Key, KernelSet>& sets, const Key& key, const Make& make) const {
    {
      const std::shared_lock lock(mutex_);
      if (const auto known = sets.find(key); known != sets.end()) return known->second;
    }
    const std::lock_guard lock(mutex_);
    if (const auto known = sets.find(key); known != sets.end()) return known->second;
    const c10::cuda::CUDAGuard guard(device_);
    return sets.emplace(key, make()).first->second;
  }

  const c10::Device device_;
  const std::string architecture_;  // "sm_90"
  const std::unique_ptr<Products> products_;
  mutable std::shared_mutex mutex_;
  mutable std::map<std::int64_t, KernelSet> of_width_;
  mutable std::map<std::pair<int, int>, KernelSet> of_patch_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceKernels>> NewCudaKernels(int ordinal,
                                                              std::string architecture) {
  // Without a definition there are no kernels in it: this asks for the compiler, and whether it
  // knows the device.
  const absl::StatusOr<std::string> code = CompileFusedKernels(architecture, {});
  if (!code.ok()) return code.status();
  absl::StatusOr<std::unique_ptr<Products>> products = Products::New(ordinal);
  if (!products.ok()) return products.status();
  return std::make_unique<CudaKernels>(ordinal, std::move(architecture), *std::move(products));
}

}  // namespace pixembed
