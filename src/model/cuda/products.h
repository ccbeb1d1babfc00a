// Products by cuBLASLt, by the kernel that was the fastest of those that it proposes. Its first
// proposal, which LibTorch takes, is up to 1.4 times as slow (tests/bench/README.md). Each is held
// against LibTorch before it is used. Internal to the CUDA half.
#ifndef PIXEMBED_SRC_MODEL_CUDA_PRODUCTS_H_
#define PIXEMBED_SRC_MODEL_CUDA_PRODUCTS_H_

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>

#include "absl/status/statusor.h"
#include "src/model/cuda/cublas_lt.h"
#include "src/model/device_kernels.h"
#include "src/model/kernel_search.h"

namespace pixembed {

// Of one device. Thread-safe.
class Products {
 public:
  // Errors: DEVICE_FAILURE.
  static absl::StatusOr<std::unique_ptr<Products>> New(int ordinal);

  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;
  ~Products() = default;

  // DeviceKernels::Multiply.
  at::Tensor Multiply(const ProductOperands& operands) const;

 private:
  class Problem;
  // Rows (Ceiling), columns, depth, whether the weight is transposed, epilogue, type.
  using Kind = std::tuple<std::uint64_t, std::int64_t, std::int64_t, bool, std::int32_t, int>;

  Products(const cublas_lt::Library* library, cublas_lt::Handle* handle)
      : library_(*library), handle_(handle) {}

  // The kernel that multiplies. None: LibTorch has to.
  using Choice = std::optional<cublas_lt::HeuristicResult>;

  // `y`: what the product may be written to while a kernel is looked for.
  Choice Choose(const Problem& problem, at::Tensor& y, cudaStream_t stream) const;
  // The fastest of those that give the product.
  Choice Search(const Problem& problem, at::Tensor& y, cudaStream_t stream) const;

  const cublas_lt::Library& library_;
  cublas_lt::Handle* const handle_;  // lives as long as the process
  mutable KernelChoices<Kind, Choice> choices_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_CUDA_PRODUCTS_H_
