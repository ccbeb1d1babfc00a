#include "src/model/pooling.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/stack.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/model/model.h"

namespace pixembed {
namespace {

using OwnTokens = std::span<const std::int64_t>;

at::Tensor Mean(const at::Tensor& hidden, OwnTokens /*own*/) { return at::mean(hidden, 1); }

at::Tensor Cls(const at::Tensor& hidden, OwnTokens /*own*/) { return hidden.select(1, 0); }

at::Tensor Max(const at::Tensor& hidden, OwnTokens /*own*/) { return at::amax(hidden, 1); }

at::Tensor MaskedMean(const at::Tensor& hidden, OwnTokens own) {
  if (own.empty()) return at::mean(hidden, 1);
  std::vector<at::Tensor> rows;
  rows.reserve(own.size());
  for (std::size_t i = 0; i < own.size(); ++i) {
    rows.push_back(at::mean(hidden[static_cast<std::int64_t>(i)].narrow(0, 0, own[i]), 0));
  }
  return at::stack(rows);
}

struct PoolingRow {
  Pooling pooling;
  at::Tensor (*pool)(const at::Tensor& hidden, OwnTokens own);
};

constexpr std::array kPoolings = {
    PoolingRow{Pooling::kMean, &Mean},
    PoolingRow{Pooling::kCls, &Cls},
    PoolingRow{Pooling::kMax, &Max},
    PoolingRow{Pooling::kMaskedMean, &MaskedMean},
};

constexpr bool InEnumOrder() {
  for (std::size_t i = 0; i < kPoolings.size(); ++i) {
    if (static_cast<std::size_t>(kPoolings[i].pooling) != i) return false;
  }
  return true;
}
static_assert(InEnumOrder(), "kPoolings is indexed by the enum");

}  // namespace

at::Tensor Pool(Pooling pooling, const at::Tensor& hidden, OwnTokens own_tokens) {
  return kPoolings.at(static_cast<std::size_t>(pooling)).pool(hidden, own_tokens);
}

}  // namespace pixembed
