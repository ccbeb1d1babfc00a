// What tests of tensors compare.
#ifndef PIXEMBED_TESTS_MODEL_TENSOR_VALUES_H_
#define PIXEMBED_TESTS_MODEL_TENSOR_VALUES_H_

#include <ATen/core/Tensor.h>

#include <vector>

namespace pixembed {

// The numbers of a float32 tensor on the CPU, row-major.
inline std::vector<float> Values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_TENSOR_VALUES_H_
