#include "src/model/pooling.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/mean.h>

#include <array>
#include <cstddef>

#include "src/model/model.h"

namespace pixembed {
namespace {

struct PoolingRow {
  Pooling pooling;
  at::Tensor (*pool)(const at::Tensor& hidden);
};

constexpr std::array kPoolings = {
    PoolingRow{Pooling::kMean, [](const at::Tensor& hidden) { return at::mean(hidden, 1); }},
    PoolingRow{Pooling::kCls, [](const at::Tensor& hidden) { return hidden.select(1, 0); }},
    PoolingRow{Pooling::kMax, [](const at::Tensor& hidden) { return at::amax(hidden, 1); }},
};

constexpr bool InEnumOrder() {
  for (std::size_t i = 0; i < kPoolings.size(); ++i) {
    if (static_cast<std::size_t>(kPoolings[i].pooling) != i) return false;
  }
  return true;
}
static_assert(InEnumOrder(), "kPoolings is indexed by the enum");

}  // namespace

at::Tensor Pool(Pooling pooling, const at::Tensor& hidden) {
  return kPoolings.at(static_cast<std::size_t>(pooling)).pool(hidden);
}

}  // namespace pixembed
