#include "src/model/float_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numbers>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/model/activation.h"
#include "tests/model/kernel_operands.h"
#include "tests/model/plain_tiles.h"

#define PIXEMBED_VECTOR_CODE

#include "src/model/layer_norm_body.h"
#include "src/model/tile_kernel_body.h"

namespace pixembed {
namespace {

// Of a sum of `depth` products of numbers up to 2, against the same in float64.
double Tolerance(std::size_t depth) { return 1e-5 + 1e-6 * static_cast<double>(depth); }

struct Case {
  std::size_t rows;
  std::size_t depth;
  std::size_t columns;
  bool bias = true;
  Activation activation = Activation::kNone;
  bool add = false;
  bool scale = false;
};

struct Kernel {
  std::string_view name;
  const FloatKernel* (*get)();
  bool rounds = false;  // x and the weight, to bfloat16
};

void PrintTo(const Kernel& kernel, std::ostream* out) { *out << kernel.name; }

// The same kernels on any CPU.
template <int parts>
const FloatKernel* PlainTileKernel() {
  using Body = TileBody<PlainTiles, parts>;
  static constexpr FloatKernel kKernel = {
      .instructions = "none",
      .rows = Body::kRows,
      .columns = Body::kColumns,
      .packed_floats = Body::PackedFloats,
      .pack = Body::Pack,
      .scratch_floats = Body::ScratchFloats,
      .run = Body::Run,
      .normalize = LayerNormBody<PlainTiles>::Run,
  };
  return &kKernel;
}

struct Operands {
  explicit Operands(const Case& shape)
      : x(Noise(shape.rows * shape.depth, 1)),
        weight(Noise(shape.columns * shape.depth, 2)),
        bias(Noise(shape.columns, 3)),
        scale(Noise(shape.columns, 4)),
        out(Noise(shape.rows * shape.columns, 5)) {}
  std::vector<float> x;
  std::vector<float> weight;
  std::vector<float> bias;
  std::vector<float> scale;
  std::vector<float> out;  // before
};

std::size_t Panels(const FloatKernel& kernel, std::size_t columns) {
  return (columns + kernel.columns - 1) / kernel.columns;
}

// The panels [first, last) of the product; the rest as it was. `scratch`: as much as it needs, by
// default.
std::vector<float> MultiplyPanels(const FloatKernel& kernel, const Case& shape,
                                  const Operands& operands, std::size_t first, std::size_t last,
                                  float* scratch = nullptr) {
  const Bytes packed = Aligned(kernel.packed_floats(shape.depth, shape.columns) * sizeof(float));
  auto* const floats = reinterpret_cast<float*>(packed.get());
  kernel.pack(operands.weight.data(), shape.bias ? operands.bias.data() : nullptr, shape.depth,
              shape.columns, floats);
  std::vector<float> out = operands.out;
  const FloatProduct product = {
      .x = operands.x.data(),
      .x_stride = static_cast<std::ptrdiff_t>(shape.depth),
      .rows = shape.rows,
      .depth = shape.depth,
      .columns = shape.columns,
      .packed = floats,
      .first_panel = first,
      .last_panel = last,
      .activation = shape.activation,
      .add = shape.add,
      .scale = shape.scale ? operands.scale.data() : nullptr,
      .out = out.data(),
      .out_stride = static_cast<std::ptrdiff_t>(shape.columns),
  };
  const Bytes own = Aligned(kernel.scratch_floats(product) * sizeof(float));
  kernel.run(product, scratch != nullptr ? scratch : reinterpret_cast<float*>(own.get()));
  return out;
}

std::vector<float> Multiply(const FloatKernel& kernel, const Case& shape,
                            const Operands& operands) {
  return MultiplyPanels(kernel, shape, operands, 0, Panels(kernel, shape.columns));
}

double Activated(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
    case Activation::kGeluTanh:
      return 0.5 * x *
             (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Activation::kQuickGelu:
      return x / (1.0 + std::exp(-1.702 * x));
    default:
      return x;
  }
}

// `rounds`: what is multiplied; of that, the product is as exact as any.
void ExpectTheDefinition(const FloatKernel& kernel, bool rounds, const Case& shape) {
  Operands operands(shape);
  const std::vector<float> out = Multiply(kernel, shape, operands);
  if (rounds) {
    for (std::vector<float>* const numbers : {&operands.x, &operands.weight}) {
      std::ranges::transform(*numbers, numbers->begin(), RoundedToBFloat16);
    }
  }
  for (std::size_t r = 0; r < shape.rows; ++r) {
    for (std::size_t c = 0; c < shape.columns; ++c) {
      double y = shape.bias ? operands.bias[c] : 0.0;
      for (std::size_t k = 0; k < shape.depth; ++k) {
        y += double{operands.x[r * shape.depth + k]} * operands.weight[c * shape.depth + k];
      }
      y = Activated(shape.activation, y);
      const std::size_t i = r * shape.columns + c;
      if (shape.add) y = operands.out[i] + (shape.scale ? operands.scale[c] : 1.0) * y;
      ASSERT_NEAR(out[i], y, Tolerance(shape.depth))
          << shape.rows << " x " << shape.depth << " x " << shape.columns << ", number " << i;
    }
  }
}

class FloatKernelTest : public testing::TestWithParam<Kernel> {
 protected:
  void SetUp() override {
    if (GetParam().get() == nullptr) GTEST_SKIP() << "this CPU cannot run it";
  }
  static const FloatKernel& kernel() { return *GetParam().get(); }
  static void ExpectTheDefinition(const Case& shape) {
    pixembed::ExpectTheDefinition(kernel(), GetParam().rounds, shape);
  }
};

// Whole and broken registers, panels, blocks of rows and of the depth, in every direction.
TEST_P(FloatKernelTest, MultipliesAnyNumberOfRowsDepthsAndColumns) {
  for (const std::size_t rows : {1, 2, 5, 6, 7, 13, 14, 15, 16, 17, 29, 33}) {
    for (const std::size_t depth : {1, 3, 4, 5, 31, 64, 255, 256, 257, 600}) {
      for (const std::size_t columns : {1, 15, 16, 17, 31, 32, 33, 70}) {
        ExpectTheDefinition({rows, depth, columns, /*bias=*/columns % 2 == 0});
      }
    }
  }
}

// And of several blocks of the depth in each kernel.
TEST_P(FloatKernelTest, TakesMoreRowsThanStayInACache) {
  for (const std::size_t depth : {300, 1600}) {
    ExpectTheDefinition({801, depth, 33});
    Case added{801, depth, 33};
    added.add = true;
    ExpectTheDefinition(added);
  }
}

TEST_P(FloatKernelTest, AddsToWhatIsThereByAScale) {
  for (const std::size_t depth : {100, 256, 700}) {
    for (const std::size_t columns : {32, 45}) {
      Case shape{9, depth, columns};
      shape.add = true;
      ExpectTheDefinition(shape);
      shape.scale = true;
      ExpectTheDefinition(shape);
    }
  }
}

TEST_P(FloatKernelTest, AppliesTheActivationToTheSumOfAllBlocksAndTheBias) {
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu}) {
    ASSERT_TRUE(FusesActivation(activation));
    for (const std::size_t depth : {7, 300}) {
      for (const std::size_t columns : {32, 45}) {
        ExpectTheDefinition({9, depth, columns, true, activation});
      }
    }
    Case added{9, 300, 45, true, activation};
    added.add = true;
    ExpectTheDefinition(added);
  }
  EXPECT_FALSE(FusesActivation(Activation::kSilu));
}

// Of one input channel: x * 1, over the whole range. LibTorch's own is within 1.2e-6.
TEST_P(FloatKernelTest, ActivationsAreWithinTwoMillionthsOfTheDefinition) {
  constexpr double kStep = 0.01;
  std::vector<float> numbers;
  for (int i = -1200; i <= 1200; ++i) numbers.push_back(static_cast<float>(i * kStep));
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu}) {
    const Case shape{numbers.size(), 1, 1, false, activation};
    Operands operands(shape);
    operands.x = numbers;
    operands.weight = {1.0F};
    const std::vector<float> out = Multiply(kernel(), shape, operands);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float x = GetParam().rounds ? RoundedToBFloat16(numbers[i]) : numbers[i];
      ASSERT_NEAR(out[i], Activated(activation, x), 2e-6) << x;
    }
  }
}

// Of one input channel, numbers of any size: no product is less exact than float32's by more than
// its last two bits.
TEST_P(FloatKernelTest, MultipliesNumbersToTheLastBits) {
  if (GetParam().rounds) GTEST_SKIP() << "it rounds them";
  constexpr float kLastTwoBits = 0x1p-22F;
  const Case shape{200, 1, 70, false};
  Operands operands(shape);
  for (std::size_t i = 0; i < operands.x.size(); ++i) {
    operands.x[i] = std::ldexp(operands.x[i], static_cast<int>(i % 60) - 30);
  }
  const std::vector<float> out = Multiply(kernel(), shape, operands);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double product =
        double{operands.x[i / shape.columns]} * operands.weight[i % shape.columns];
    ASSERT_NEAR(out[i], product, kLastTwoBits * std::abs(product)) << i;
  }
}

TEST_P(FloatKernelTest, OfOneRowGivesTheBitsOfMany) {
  Case shape{43, 600, 70, true, Activation::kGelu};
  shape.add = true;
  const Operands operands(shape);
  const std::vector<float> all = Multiply(kernel(), shape, operands);
  for (const std::size_t row : {0, 13, 42}) {
    Operands one = operands;
    const auto own = [row](const std::vector<float>& rows, std::size_t width) {
      return std::vector<float>(rows.begin() + static_cast<std::ptrdiff_t>(row * width),
                                rows.begin() + static_cast<std::ptrdiff_t>((row + 1) * width));
    };
    one.x = own(operands.x, 600);
    one.out = own(operands.out, 70);
    shape.rows = 1;
    EXPECT_EQ(Multiply(kernel(), shape, one), own(all, 70)) << row;
  }
}

TEST_P(FloatKernelTest, APartGivesTheBitsOfTheWholeAndLeavesTheRest) {
  for (const bool add : {false, true}) {
    Case shape{20, 600, 3 * 32 + 5};
    shape.add = add;
    const Operands operands(shape);
    const std::vector<float> all = Multiply(kernel(), shape, operands);
    const std::size_t last = Panels(kernel(), shape.columns);
    for (std::size_t panel = 0; panel < last; ++panel) {
      const std::vector<float> part = MultiplyPanels(kernel(), shape, operands, panel, panel + 1);
      for (std::size_t i = 0; i < all.size(); ++i) {
        const bool inside = i % shape.columns / kernel().columns == panel;
        ASSERT_EQ(part[i], inside ? all[i] : operands.out[i]) << panel << ": " << i;
      }
    }
  }
}

// Rows are shared out to threads, and the last one may have fewer: in the same scratch.
TEST_P(FloatKernelTest, ScratchForManyRowsIsEnoughForFewer) {
  constexpr float kUntouched = 17.0F;
  constexpr std::size_t kBehind = 100'000;
  constexpr std::size_t kDepth = 300;  // two blocks
  constexpr std::size_t kColumns = 70;
  for (const bool add : {false, true}) {
    for (const auto& [rows, fewer] :
         {std::pair(336, 308), std::pair(350, 320), std::pair(641, 640), std::pair(1000, 960)}) {
      Case shape{static_cast<std::size_t>(fewer), kDepth, kColumns};
      shape.add = add;
      const Operands operands(shape);
      FloatProduct many = {.rows = static_cast<std::size_t>(rows),
                           .depth = kDepth,
                           .columns = kColumns,
                           .last_panel = Panels(kernel(), kColumns),
                           .add = add};
      const std::size_t floats = kernel().scratch_floats(many);
      const Bytes memory = Aligned((floats + kBehind) * sizeof(float));
      auto* const scratch = reinterpret_cast<float*>(memory.get());
      std::fill(scratch, scratch + floats + kBehind, kUntouched);
      EXPECT_EQ(MultiplyPanels(kernel(), shape, operands, 0, many.last_panel, scratch),
                Multiply(kernel(), shape, operands));
      EXPECT_TRUE(std::all_of(scratch + floats, scratch + floats + kBehind,
                              [](float number) { return number == kUntouched; }))
          << fewer << " rows in the scratch for " << rows;
    }
  }
}

TEST_P(FloatKernelTest, NoNumberGivesNone) {
  for (const Activation activation :
       {Activation::kNone, Activation::kGelu, Activation::kGeluTanh, Activation::kQuickGelu}) {
    const Case shape{3, 70, 20, true, activation};
    Operands operands(shape);
    operands.x[70 + 3] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> out = Multiply(kernel(), shape, operands);
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i / 20 == 1) << i;
  }
}

// Rows far from 0 and of little variance too: what float32 loses there, it loses in the difference.
TEST_P(FloatKernelTest, NormalizesEachRowByItsOwnMeanAndVariance) {
  constexpr float kEpsilon = 1e-6F;
  constexpr double kTolerance = 4e-6;
  constexpr std::size_t kRows = 3;
  for (const std::size_t width : {1, 3, 15, 16, 17, 64, 65, 96, 192, 768}) {
    for (const float shift : {0.0F, 10.0F}) {
      SCOPED_TRACE(std::to_string(width) + " numbers around " + std::to_string(shift));
      std::vector<float> x = Noise(kRows * width, 1);
      for (float& number : x) number += shift;
      const std::vector<float> weight = Noise(width, 2);
      const std::vector<float> bias = Noise(width, 3);
      std::vector<float> out(x.size());
      FloatNorm norm = {.x = x.data(),
                        .rows = kRows,
                        .width = width,
                        .weight = weight.data(),
                        .bias = bias.data(),
                        .epsilon = kEpsilon,
                        .out = out.data()};
      kernel().normalize(norm);
      for (std::size_t row = 0; row < kRows; ++row) {
        const float* const own = x.data() + row * width;
        double mean = 0.0;
        for (std::size_t i = 0; i < width; ++i) mean += own[i] / static_cast<double>(width);
        double variance = 0.0;
        for (std::size_t i = 0; i < width; ++i) {
          variance += (own[i] - mean) * (own[i] - mean) / static_cast<double>(width);
        }
        for (std::size_t i = 0; i < width; ++i) {
          const double expected =
              (own[i] - mean) / std::sqrt(variance + kEpsilon) * weight[i] + bias[i];
          ASSERT_NEAR(out[row * width + i], expected, kTolerance * (1.0 + shift)) << "number " << i;
        }
      }

      // One row in place gives the same bits.
      std::vector<float> last(x.end() - static_cast<std::ptrdiff_t>(width), x.end());
      norm.x = last.data();
      norm.rows = 1;
      norm.out = last.data();
      kernel().normalize(norm);
      EXPECT_TRUE(
          std::equal(last.begin(), last.end(), out.end() - static_cast<std::ptrdiff_t>(width)));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, FloatKernelTest,
                         testing::Values(Kernel{"Avx2", Avx2FloatKernel},
                                         Kernel{"Avx512", Avx512FloatKernel},
                                         Kernel{"Amx", AmxFloatKernel},
                                         Kernel{"AmxBFloat16", AmxBFloat16Kernel, true},
                                         Kernel{"PlainTiles", PlainTileKernel<3>},
                                         Kernel{"PlainTilesBFloat16", PlainTileKernel<1>, true}),
                         [](const auto& set) { return std::string(set.param.name); });

}  // namespace
}  // namespace pixembed
