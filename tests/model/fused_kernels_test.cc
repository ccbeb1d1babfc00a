// The kernels of a GPU, run on the CPU: the lanes of a warp are threads, which wait for each other
// where they look at each other's numbers. What only a GPU can tell, device_kernels_test does.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kWarpSize = 32;

struct Index {
  unsigned x = 0;
  unsigned y = 0;
};

// What a lane knows of its warp.
struct Warp {
  std::barrier<> barrier{kWarpSize};
  std::array<float, kWarpSize> values{};
};

// As far as fused_kernels.cu needs it, CUDA.
struct float4 {  // NOLINT(readability-identifier-naming): CUDA's
  float x;
  float y;
  float z;
  float w;
};

thread_local Index threadIdx;  // NOLINT(readability-identifier-naming): CUDA's
thread_local Index blockIdx;   // NOLINT(readability-identifier-naming): CUDA's
thread_local Index blockDim;   // NOLINT(readability-identifier-naming): CUDA's
thread_local Warp* own_warp = nullptr;

float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }  // NOLINT: CUDA's

float __shfl_xor_sync(unsigned /*mask*/, float value, int distance) {  // NOLINT: CUDA's
  own_warp->values.at(threadIdx.x) = value;
  own_warp->barrier.arrive_and_wait();
  const float other = own_warp->values.at(threadIdx.x ^ static_cast<unsigned>(distance));
  own_warp->barrier.arrive_and_wait();
  return other;
}

// The upper half of a float32, rounded to nearest even. Not of what is no number.
unsigned BFloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return (bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U;
}

unsigned BFloat16Pair(float first, float second) {
  return BFloat16(first) | (BFloat16(second) << 16U);
}

float FromBFloat16(unsigned bits) { return std::bit_cast<float>(bits << 16U); }

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): CUDA's
#define __device__
#define __global__
#define __forceinline__ inline
// NOLINTEND(bugprone-reserved-identifier)
#define asm(...) pair = BFloat16Pair(first, second)  // the one instruction: two numbers, rounded
#include "src/model/cuda/fused_kernels.cu"
#undef asm

namespace {

constexpr int kWidth = WIDTH;
constexpr float kEpsilon = 1e-6F;
constexpr int kRowsOfBlock = 4;
// Of float32 sums of some thousand numbers about 1 in size.
constexpr double kTolerance = 2e-5;
constexpr double kHalfBFloat16Unit = 1.0 / 256;

// Runs `kernel` in every thread of blocks of (32, kRowsOfBlock) threads that are enough for `rows`.
template <typename Kernel>
void RunWarps(int rows, const Kernel& kernel) {
  for (int block = 0; block < (rows + kRowsOfBlock - 1) / kRowsOfBlock; ++block) {
    for (unsigned y = 0; y < kRowsOfBlock; ++y) {
      Warp warp;
      std::vector<std::jthread> lanes;
      lanes.reserve(kWarpSize);
      for (unsigned lane = 0; lane < kWarpSize; ++lane) {
        lanes.emplace_back([&, lane] {
          own_warp = &warp;
          threadIdx = {lane, y};
          blockIdx = {static_cast<unsigned>(block), 0};
          blockDim = {kWarpSize, kRowsOfBlock};
          kernel();
        });
      }
    }
  }
}

class Noise {
 public:
  std::vector<float> Floats(int count, float scale = 1.0F, float mean = 0.0F) {
    std::normal_distribution<float> normal(mean, scale);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(engine_);
    return values;
  }
  std::vector<std::uint16_t> BFloat16s(int count) {
    std::vector<std::uint16_t> values;
    for (const float value : Floats(count)) {
      values.push_back(static_cast<std::uint16_t>(BFloat16(value)));
    }
    return values;
  }

 private:
  std::mt19937 engine_{7};  // NOLINT(bugprone-random-generator-seed): the same numbers each time
};

struct NormalizeCase {
  decltype(&Normalize) kernel;
  bool adds;
  bool scales;
  bool gives_float;
};

TEST(FusedKernels, AddAndNormalizeRows) {
  constexpr int kRows = 6;  // the last block is not full
  Noise noise;
  for (const NormalizeCase& one : {NormalizeCase{&Normalize, false, false, false},
                                   NormalizeCase{&NormalizeToFloat, false, false, true},
                                   NormalizeCase{&AddNormalize, true, false, false},
                                   NormalizeCase{&AddNormalizeToFloat, true, false, true},
                                   NormalizeCase{&AddScaledNormalize, true, true, false},
                                   NormalizeCase{&AddScaledNormalizeToFloat, true, true, true}}) {
    SCOPED_TRACE(testing::Message() << "adds " << one.adds << ", scales " << one.scales
                                    << ", float " << one.gives_float);
    // A row beyond the last, which nobody may touch.
    std::vector<float> x = noise.Floats((kRows + 1) * kWidth, 3.0F, 1.0F);
    const std::vector<float> before = x;
    const std::vector<std::uint16_t> branch = noise.BFloat16s((kRows + 1) * kWidth);
    const std::vector<float> scale = noise.Floats(kWidth);
    const std::vector<float> weight = noise.Floats(kWidth);
    const std::vector<float> bias = noise.Floats(kWidth);
    std::vector<float> wide(x.size(), -1.0F);
    std::vector<std::uint16_t> narrow(x.size(), 0xbf80);  // -1
    void* const out =
        one.gives_float ? static_cast<void*>(wide.data()) : static_cast<void*>(narrow.data());
    RunWarps(kRows, [&] {
      one.kernel(x.data(), one.adds ? branch.data() : nullptr, one.scales ? scale.data() : nullptr,
                 weight.data(), bias.data(), kEpsilon, out, kRows);
    });
    for (int row = 0; row < kRows; ++row) {
      const auto start = static_cast<std::size_t>(row) * kWidth;
      std::vector<double> sum(kWidth);
      double mean = 0.0;
      for (std::size_t i = 0; i < kWidth; ++i) {
        const double added = one.adds ? FromBFloat16(branch[start + i]) : 0.0;
        sum[i] = before[start + i] + added * (one.scales ? scale[i] : 1.0F);
        EXPECT_NEAR(x[start + i], sum[i], kTolerance);
        mean += sum[i] / kWidth;
      }
      double variance = 0.0;
      for (const double value : sum) variance += (value - mean) * (value - mean) / kWidth;
      for (std::size_t i = 0; i < kWidth; ++i) {
        const double expected =
            (sum[i] - mean) / std::sqrt(variance + kEpsilon) * weight[i] + bias[i];
        if (one.gives_float) {
          EXPECT_NEAR(wide[start + i], expected, kTolerance);
        } else {
          EXPECT_NEAR(FromBFloat16(narrow[start + i]), expected,
                      kTolerance + std::abs(expected) * kHalfBFloat16Unit);
        }
      }
    }
    for (auto i = static_cast<std::size_t>(kRows) * kWidth; i < x.size(); ++i) {
      EXPECT_EQ(x[i], before[i]);
      EXPECT_EQ(wide[i], -1.0F);
      EXPECT_EQ(narrow[i], 0xbf80);
    }
  }
}

TEST(FusedKernels, SplitPatchesOfEveryImage) {
  constexpr int kImages = 2;
  constexpr int kRows = 2;
  constexpr int kColumns = 3;
  // With pixels left over beyond the last whole patches.
  constexpr int kHeight = kRows * PATCH_HEIGHT + 1;
  constexpr int kPixels = kColumns * PATCH_WIDTH + 1;
  constexpr int kValues = 3 * PATCH_HEIGHT * PATCH_WIDTH;
  constexpr unsigned kThreads = 128;
  Noise noise;
  std::vector<std::uint8_t> images;
  for (const float value : noise.Floats(kImages * kHeight * kPixels * 3, 60.0F, 128.0F)) {
    images.push_back(static_cast<std::uint8_t>(std::lround(std::min(std::abs(value), 255.0F))));
  }
  const std::vector<float> table = noise.Floats(3 * 256, 2.0F);
  constexpr int kPatches = kImages * kRows * kColumns;
  constexpr int kRow = (3 * kValues + 7) / 8 * 8;
  std::vector<std::uint32_t> out(static_cast<std::size_t>(kPatches) * kRow / 2, 0xffffffffU);
  for (unsigned patch = 0; patch < kPatches; ++patch) {
    for (unsigned thread = 0; thread < kThreads; ++thread) {
      threadIdx = {thread, 0};
      blockIdx = {patch, 0};
      blockDim = {kThreads, 1};
      SplitPatches(images.data(), table.data(), out.data(), kHeight, kPixels);
    }
  }
  const auto* const numbers = reinterpret_cast<const std::uint16_t*>(out.data());
  std::size_t next = 0;
  for (int image = 0; image < kImages; ++image) {
    for (int row = 0; row < kRows; ++row) {
      for (int column = 0; column < kColumns; ++column, next += kRow) {
        std::size_t place = next;
        for (int channel = 0; channel < 3; ++channel) {
          for (int y = 0; y < PATCH_HEIGHT; ++y) {
            for (int x = 0; x < PATCH_WIDTH; ++x, ++place) {
              const std::size_t line =
                  std::size_t{kHeight} * image + std::size_t{PATCH_HEIGHT} * row + y;
              const std::size_t pixel = line * kPixels + std::size_t{PATCH_WIDTH} * column + x;
              const std::uint8_t sample = images[pixel * 3 + channel];
              const float value = table[std::size_t{256} * channel + sample];
              const unsigned rounded = BFloat16(value);
              ASSERT_EQ(numbers[place], rounded);
              ASSERT_EQ(numbers[place + kValues], BFloat16(value - FromBFloat16(rounded)));
              ASSERT_EQ(numbers[place + std::size_t{2} * kValues], rounded);
            }
          }
        }
        for (int i = 3 * kValues; i < kRow; ++i) ASSERT_EQ(numbers[next + i], 0);
      }
    }
  }
}

}  // namespace
