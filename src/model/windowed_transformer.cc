#include "src/model/windowed_transformer.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/attention.h"
#include "src/model/layers.h"
#include "src/model/network.h"

namespace pixembed {
namespace {

int RoundUp(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

TokenOrder MakeOrder(const std::vector<std::int64_t>& index, std::int64_t tokens) {
  TokenOrder order;
  order.index = at::empty({static_cast<std::int64_t>(index.size())}, at::kLong);
  std::copy(index.begin(), index.end(), order.index.mutable_data_ptr<std::int64_t>());
  order.has_zeros = std::find(index.begin(), index.end(), tokens) != index.end();
  return order;
}

// Calls visit(place, y, x) for every place of every window, in their order: at (y, x) of the padded
// and shifted grid.
template <typename Visit>
void ForEachPlace(const Windows& windows, const Visit& visit) {
  const Size padded = windows.padded();
  std::size_t place = 0;
  for (int top = 0; top < padded.height; top += windows.window) {
    for (int left = 0; left < padded.width; left += windows.window) {
      for (int y = top; y < top + windows.window; ++y) {
        for (int x = left; x < left + windows.window; ++x) visit(place++, y, x);
      }
    }
  }
}

// The token that place (y, x) of the shifted grid holds, where it is no padding.
std::optional<std::int64_t> TokenAt(const Windows& windows, int y, int x) {
  const Size padded = windows.padded();
  const int from_y = (y + windows.shift) % padded.height;
  const int from_x = (x + windows.shift) % padded.width;
  if (from_y >= windows.grid.height || from_x >= windows.grid.width) return std::nullopt;
  return std::int64_t{from_y} * windows.grid.width + from_x;
}

// Source: torch 2.11.0 nn/functional.py normalize.
at::Tensor Normalized(const at::Tensor& x) {
  constexpr double kEpsilon = 1e-12;
  return at::div(
      x, at::linalg_vector_norm(x, 2, at::OptionalIntArrayRef({-1}), true).clamp_min_(kEpsilon));
}

}  // namespace

Size Windows::padded() const {
  return {.height = RoundUp(grid.height, window), .width = RoundUp(grid.width, window)};
}

std::int64_t Windows::count() const { return Count(padded()) / window_tokens(); }

at::Tensor TokenOrder::Forward(const at::Tensor& x) const {
  return (has_zeros ? at::constant_pad_nd(x, {0, 0, 0, 1}) : x).index_select(1, index);
}

TokenOrder PartitionOrder(const Windows& windows) {
  const std::int64_t tokens = Count(windows.grid);
  std::vector<std::int64_t> index(static_cast<std::size_t>(Count(windows.padded())));
  ForEachPlace(windows, [&](std::size_t place, int y, int x) {
    index[place] = TokenAt(windows, y, x).value_or(tokens);
  });
  return MakeOrder(index, tokens);
}

TokenOrder ReverseOrder(const Windows& windows) {
  std::vector<std::int64_t> index(static_cast<std::size_t>(Count(windows.grid)));
  ForEachPlace(windows, [&](std::size_t place, int y, int x) {
    const std::optional<std::int64_t> token = TokenAt(windows, y, x);
    if (token.has_value())
      index[static_cast<std::size_t>(*token)] = static_cast<std::int64_t>(place);
  });
  return MakeOrder(index, Count(windows.padded()));
}

Size MergedGrid(Size grid) {
  return {.height = (grid.height + 1) / 2, .width = (grid.width + 1) / 2};
}

TokenOrder MergeOrder(Size grid) {
  std::vector<std::int64_t> index;
  for (int y = 0; y < grid.height; y += 2) {
    for (int x = 0; x < grid.width; x += 2) {
      for (const auto& [row, column] : {Size{0, 0}, Size{1, 0}, Size{0, 1}, Size{1, 1}}) {
        const bool inside = y + row < grid.height && x + column < grid.width;
        index.push_back(inside ? std::int64_t{y + row} * grid.width + x + column : Count(grid));
      }
    }
  }
  return MakeOrder(index, Count(grid));
}

at::Tensor ShiftMask(const Windows& windows, double blocked) {
  if (windows.shift == 0) return {};
  // Along each axis the shifted grid has three regions: what no wrapping window holds, and the two
  // sides of the seam.
  const auto region = [&](int position, int side) {
    return (position >= side - windows.window ? 1 : 0) + (position >= side - windows.shift ? 1 : 0);
  };
  const Size padded = windows.padded();
  std::vector<int> regions(static_cast<std::size_t>(Count(padded)));
  ForEachPlace(windows, [&](std::size_t place, int y, int x) {
    regions[place] = region(y, padded.height) * 3 + region(x, padded.width);
  });
  const std::int64_t tokens = windows.window_tokens();
  at::Tensor mask = at::empty({windows.count(), tokens, tokens}, at::kFloat);
  auto* out = mask.mutable_data_ptr<float>();
  const auto size = static_cast<std::size_t>(tokens);
  for (std::size_t first = 0; first < regions.size(); first += size) {
    for (std::size_t i = first; i < first + size; ++i) {
      for (std::size_t j = first; j < first + size; ++j) {
        *out++ = regions[i] == regions[j] ? 0.0F : static_cast<float>(blocked);
      }
    }
  }
  return mask;
}

at::Tensor RelativePositionIndex(int window) {
  const std::int64_t tokens = std::int64_t{window} * window;
  at::Tensor index = at::empty({tokens * tokens}, at::kLong);
  auto* out = index.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < tokens; ++i) {
    for (std::int64_t j = 0; j < tokens; ++j) {
      const std::int64_t dy = i / window - j / window + window - 1;
      const std::int64_t dx = i % window - j % window + window - 1;
      *out++ = dy * (2 * window - 1) + dx;
    }
  }
  return index;
}

at::Tensor WindowAttention::Forward(const at::Tensor& x) const {
  const std::int64_t batch = x.size(0);
  const std::int64_t windows = x.size(1) / window_tokens;
  // [3, N * windows, heads, window_tokens, head_dim], a view.
  const at::Tensor parts = qkv.Forward(x)
                               .view({batch * windows, window_tokens, 3, heads, head_dim})
                               .permute({2, 0, 3, 1, 4});
  at::Tensor query = parts[0];
  at::Tensor key = parts[1];
  double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  if (cosine_scale.defined()) {
    query = Normalized(query).mul_(cosine_scale);
    key = Normalized(key);
    scale = 1.0;
  }
  // The windows of an image may differ in their bias; its images do not.
  return output.Forward(
      ScaledDotProductAttention(query, key, parts[2], bias, scale, qkv.rounds_to_bfloat16())
          .view({batch, windows * window_tokens, heads * head_dim}));
}

void WindowBlock::Forward(at::Tensor& x) const {
  const auto attend = [&](const at::Tensor& tokens) {
    return reverse.Forward(attention.Forward(partition.Forward(tokens)));
  };
  if (post_norm) {
    x.add_(norm1.Forward(attend(x)));
    x.add_(norm2.Forward(mlp.Forward(x)));
  } else {
    x.add_(attend(norm1.Forward(x)));
    x.add_(mlp.Forward(norm2.Forward(x)));
  }
}

at::Tensor PatchMerging::Forward(const at::Tensor& x) const {
  const at::Tensor groups = order.Forward(x).view({x.size(0), -1, 4 * x.size(2)});
  return post_norm ? norm.Forward(reduction.Forward(groups))
                   : reduction.Forward(norm.Forward(groups));
}

WindowedTransformer::WindowedTransformer(NetworkInfo info, WindowedTransformerParts parts)
    : info_(std::move(info)), parts_(std::move(parts)) {}

// [N, 1, 3 * H * W] -> [N, P, 3 * patch.height * patch.width].
at::Tensor WindowedTransformer::CutPadded(const at::Tensor& images) const {
  const Size patch = *parts_.pads_to_patch;
  const Size input = info_.patch;
  const int height = RoundUp(input.height, patch.height);
  const int width = RoundUp(input.width, patch.width);
  const at::Tensor padded =
      at::constant_pad_nd(images.view({images.size(0), 3, input.height, input.width}),
                          {0, width - input.width, 0, height - input.height});
  return padded
      .view({images.size(0), 3, height / patch.height, patch.height, width / patch.width,
             patch.width})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({images.size(0), -1, std::int64_t{3} * patch.height * patch.width});
}

HiddenStates WindowedTransformer::Forward(const PatchBatch& batch,
                                          std::span<const int> /*layers*/) const {
  at::Tensor x = parts_.norm_before.Forward(parts_.projection.Forward(
      parts_.pads_to_patch.has_value() ? CutPadded(batch.patches) : batch.patches));
  if (parts_.positions.defined()) x.add_(parts_.positions);
  for (const WindowStage& stage : parts_.stages) {
    for (const WindowBlock& block : stage.blocks) block.Forward(x);
    if (stage.merging.has_value()) x = stage.merging->Forward(x);
  }
  return {.last = parts_.norm_after.Forward(x), .layers = {}, .own_tokens = {}};
}

}  // namespace pixembed
