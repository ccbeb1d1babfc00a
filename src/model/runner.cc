#include "src/model/runner.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/model/model.h"
#include "src/model/output.h"
#include "src/model/pooling.h"

namespace pixembed {

std::vector<Embedding> Finish(const at::Tensor& hidden, std::span<const OutputSpec> specs) {
  constexpr std::size_t kPoolings = 3;
  std::array<at::Tensor, kPoolings> pooled;  // made for those that are asked for
  std::vector<Embedding> embeddings;
  embeddings.reserve(specs.size());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    at::Tensor& rows = pooled.at(static_cast<std::size_t>(specs[i].pooling));
    if (!rows.defined()) rows = Pool(specs[i].pooling, hidden).to(c10::kCPU).contiguous();
    const auto width = static_cast<std::size_t>(rows.size(1));
    embeddings.push_back(
        MakeEmbedding({rows.const_data_ptr<float>() + i * width, width}, specs[i]));
  }
  return embeddings;
}

}  // namespace pixembed
