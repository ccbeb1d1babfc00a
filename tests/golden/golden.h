// The files that tests/golden/make.sh makes with the reference libraries. A missing one fails the
// test that asks for it.
#ifndef PIXEMBED_TESTS_GOLDEN_GOLDEN_H_
#define PIXEMBED_TESTS_GOLDEN_GOLDEN_H_

#include <filesystem>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"

namespace pixembed {

// Where a file or folder of that name lies.
std::filesystem::path GoldenPath(std::string_view name);

// The tensors of a safetensors file. Where it cannot be read, the test fails and there are none.
Weights GoldenTensors(std::string_view name);

// The bytes of any file. Where it cannot be read, the test fails and there are none.
std::string GoldenBytes(std::string_view name);

// The spec that the service would follow for a preprocessor_config.json and a backend's name.
// Errors: those of ParseProcessor and ValidateSpec.
absl::StatusOr<PreprocessSpec> SpecOf(std::string_view configuration, std::string_view backend);

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_GOLDEN_GOLDEN_H_
