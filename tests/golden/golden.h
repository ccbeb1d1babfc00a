// The files that tests/golden/make.sh makes with the reference libraries. A missing one fails the
// test that asks for it.
#ifndef PIXEMBED_TESTS_GOLDEN_GOLDEN_H_
#define PIXEMBED_TESTS_GOLDEN_GOLDEN_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"

namespace pixembed {

// Where a file or folder of that name lies.
std::filesystem::path GoldenPath(std::string_view name);

// The tensors of a safetensors file. Where it cannot be read, the test fails and there are none.
Weights GoldenTensors(std::string_view name);

// The rows of a [N, ...] tensor, each flat. Where there is none, the test fails and there are no
// rows.
template <typename T>
std::vector<std::vector<T>> GoldenRows(const Weights& tensors, std::string_view name) {
  const Tensor* tensor = tensors.Find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  const auto count = static_cast<std::size_t>(tensor->shape.front());
  const std::size_t bytes = tensor->bytes.size() / count;
  std::vector<std::vector<T>> rows(count, std::vector<T>(bytes / sizeof(T)));
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(rows[i].data(), tensor->bytes.data() + i * bytes, bytes);
  }
  return rows;
}

// The bytes of any file. Where it cannot be read, the test fails and there are none.
std::string GoldenBytes(std::string_view name);

// The spec that the service would follow for a preprocessor_config.json and a backend's name.
// Errors: those of ParseProcessor and ValidateSpec.
absl::StatusOr<PreprocessSpec> SpecOf(std::string_view configuration, std::string_view backend);

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_GOLDEN_GOLDEN_H_
