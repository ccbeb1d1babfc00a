// Any bytes as a safetensors file: either tensors that lie inside it, or CHECKPOINT_CORRUPT.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckTensor(const pixembed::Tensor& tensor, std::span<const std::byte> file) {
  std::uint64_t elements = 1;
  for (const std::int64_t dimension : tensor.shape) {
    Require(dimension >= 0);
    elements *= static_cast<std::uint64_t>(dimension);
  }
  Require(elements * pixembed::TensorTypeSize(tensor.type) == tensor.bytes.size());
  Require(tensor.bytes.data() >= file.data());
  Require(tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto owner = std::make_shared<std::vector<std::uint8_t>>(data, data + size);
  const auto file = std::as_bytes(std::span(*owner));
  const auto weights = pixembed::Weights::Parse(file, owner, "fuzz.safetensors");
  if (!weights.ok()) {
    Require(pixembed::ReasonOf(weights.status()) == pixembed::Reason::kCheckpointCorrupt);
    return 0;
  }
  std::size_t covered = 0;
  for (const auto& [name, tensor] : weights->tensors()) {
    CheckTensor(tensor, file);
    covered += tensor.bytes.size();
    Require(weights->Find(name) == &tensor);
  }
  Require(covered <= size);
  return 0;
}
