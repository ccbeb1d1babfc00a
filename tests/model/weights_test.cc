#include "src/model/weights.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "tests/checkpoint/safetensors_bytes.h"

namespace pixembed {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::array<std::string_view, 2> kPrefixes = {"vit.", ""};

// A file in memory whose data begin `shift` bytes after a multiple of 8.
Weights Parse(std::string header, std::string_view data, std::size_t shift = 0) {
  header.append((8 - header.size() % 8) % 8 + shift, ' ');
  auto bytes = std::make_shared<const std::string>(SafetensorsBytes(header, data));
  auto weights =
      Weights::Parse(std::as_bytes(std::span(bytes->data(), bytes->size())), bytes, "test");
  EXPECT_TRUE(weights.ok()) << weights.status();
  return weights.ok() ? *std::move(weights) : Weights();
}

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

Weights TwoFloats(std::string_view name, std::size_t shift = 0) {
  return Parse(
      "{\"" + std::string(name) + R"(": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})",
      Bytes<float>({1.5F, -2.0F}), shift);
}

std::vector<float> Values(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel()};
}

TEST(WeightScope, FindsTensorsByPathWithAndWithoutAPrefix) {
  for (const std::string_view name : {"vit.layer.3.norm.bias", "layer.3.norm.bias"}) {
    WeightReader reader(TwoFloats(name), c10::kCPU);
    const WeightScope root = reader.Root(kPrefixes, "layer.3.norm.bias");
    EXPECT_THAT(Values(root.At("layer", 3).At("norm").Get("bias", {2})), ElementsAre(1.5F, -2.0F));
    EXPECT_TRUE(reader.ok()) << reader.status();
    ASSERT_EQ(reader.used().size(), 1U);
    EXPECT_EQ(reader.used().begin()->first, "layer.3.norm.bias");
  }
}

// A model whose pages were the file's would need them as long as it lives.
TEST(WeightScope, AlignedFloatsAreReadWhereTheyLieAndKeptAsACopy) {
  const Weights weights = TwoFloats("bias");
  WeightReader reader(weights, c10::kCPU);
  const WeightScope root = reader.Root(kPrefixes, "bias");
  EXPECT_EQ(root.GetOnCpu("bias", {2}).const_data_ptr(), weights.Find("bias")->bytes.data());
  EXPECT_NE(root.Get("bias", {2}).const_data_ptr(), weights.Find("bias")->bytes.data());
}

TEST(WeightScope, TensorsOutliveTheWeights) {
  at::Tensor tensor;
  {
    WeightReader reader(TwoFloats("bias"), c10::kCPU);
    tensor = reader.Root(kPrefixes, "bias").GetOnCpu("bias", {2});
  }
  EXPECT_THAT(Values(tensor), ElementsAre(1.5F, -2.0F));
}

TEST(WeightScope, UnalignedFloatsAreRead) {
  WeightReader reader(TwoFloats("bias", /*shift=*/3), c10::kCPU);
  EXPECT_THAT(Values(reader.Root(kPrefixes, "bias").Get("bias", {2})), ElementsAre(1.5F, -2.0F));
}

TEST(WeightScope, HalvesBecomeFloats) {
  const Weights weights = Parse(
      R"({"f": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
          "b": {"dtype": "BF16", "shape": [2], "data_offsets": [4, 8]}})",
      Bytes<std::uint16_t>({0x3C00, 0xC100, 0x3F80, 0xC020}));
  WeightReader reader(weights, c10::kCPU);
  const WeightScope root = reader.Root(kPrefixes, "f");
  EXPECT_THAT(Values(root.Get("f", {2})), ElementsAre(1.0F, -2.5F));
  EXPECT_THAT(Values(root.Get("b", {2})), ElementsAre(1.0F, -2.5F));
}

TEST(WeightScope, AMissingTensorIsNamedWithItsFullKeyAndShape) {
  WeightReader reader(TwoFloats("vit.probe"), c10::kCPU);
  const WeightScope scope = reader.Root(kPrefixes, "probe").At("layer", 0);
  EXPECT_FALSE(scope.Get("weight", {4, 2}).defined());
  EXPECT_EQ(ReasonOf(reader.status()), Reason::kTensorMissing);
  EXPECT_THAT(std::string(reader.status().message()),
              AllOf(HasSubstr("vit.layer.0.weight"), HasSubstr("[4, 2]")));
}

TEST(WeightScope, AnotherShapeIsNamedWithBoth) {
  WeightReader reader(TwoFloats("bias"), c10::kCPU);
  EXPECT_FALSE(reader.Root(kPrefixes, "bias").Get("bias", {1, 2}).defined());
  EXPECT_EQ(ReasonOf(reader.status()), Reason::kTensorShape);
  EXPECT_THAT(std::string(reader.status().message()),
              AllOf(HasSubstr("bias"), HasSubstr("[2]"), HasSubstr("[1, 2]")));
}

TEST(WeightScope, OtherTypesAreRefusedByName) {
  WeightReader reader(Parse(R"({"n": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}})",
                            std::string(8, '\0')),
                      c10::kCPU);
  EXPECT_FALSE(reader.Root(kPrefixes, "n").Get("n", {1}).defined());
  EXPECT_EQ(ReasonOf(reader.status()), Reason::kUnsupportedModel);
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("I64"));
}

TEST(WeightReader, RemembersTheFirstErrorAndGivesNothingAfterIt) {
  WeightReader reader(TwoFloats("bias"), c10::kCPU);
  const WeightScope root = reader.Root(kPrefixes, "bias");
  EXPECT_FALSE(root.Get("first", {1}).defined());
  EXPECT_FALSE(root.Get("bias", {2}).defined());
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("first"));
}

}  // namespace
}  // namespace pixembed
