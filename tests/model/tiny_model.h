// A tiny ViT directory made by hand, for tests of what loads it.
#ifndef PIXEMBED_TESTS_MODEL_TINY_MODEL_H_
#define PIXEMBED_TESTS_MODEL_TINY_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/image/image.h"
#include "tests/checkpoint/safetensors_bytes.h"

namespace pixembed {

// name -> shape. Values are drawn when the file is written.
using TensorShapes = std::map<std::string, std::vector<std::int64_t>>;

// A ViT: 8 wide, one block of two heads, 16 x 16 pixels in patches of 8.
struct TinyModel {
  std::string config =
      R"({"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
          "intermediate_size": 16, "image_size": 16, "patch_size": 8})";
  std::string processor =
      R"({"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}})";
  TensorShapes tensors = {
      {"embeddings.cls_token", {1, 1, 8}},
      {"embeddings.position_embeddings", {1, 5, 8}},
      {"embeddings.patch_embeddings.projection.weight", {8, 3, 8, 8}},
      {"embeddings.patch_embeddings.projection.bias", {8}},
      {"encoder.layer.0.layernorm_before.weight", {8}},
      {"encoder.layer.0.layernorm_before.bias", {8}},
      {"encoder.layer.0.attention.attention.query.weight", {8, 8}},
      {"encoder.layer.0.attention.attention.query.bias", {8}},
      {"encoder.layer.0.attention.attention.key.weight", {8, 8}},
      {"encoder.layer.0.attention.attention.key.bias", {8}},
      {"encoder.layer.0.attention.attention.value.weight", {8, 8}},
      {"encoder.layer.0.attention.attention.value.bias", {8}},
      {"encoder.layer.0.attention.output.dense.weight", {8, 8}},
      {"encoder.layer.0.attention.output.dense.bias", {8}},
      {"encoder.layer.0.layernorm_after.weight", {8}},
      {"encoder.layer.0.layernorm_after.bias", {8}},
      {"encoder.layer.0.intermediate.dense.weight", {16, 8}},
      {"encoder.layer.0.intermediate.dense.bias", {16}},
      {"encoder.layer.0.output.dense.weight", {8, 16}},
      {"encoder.layer.0.output.dense.bias", {8}},
      {"layernorm.weight", {8}},
      {"layernorm.bias", {8}},
  };
  // The first number of the weights' sequence.
  std::uint32_t seed = 1;

  void Write(const std::filesystem::path& directory) const;
};

// Numbers between -0.5 and 0.5, the same everywhere.
class Noise {
 public:
  explicit Noise(std::uint32_t seed) : state_(seed) {}
  float Next() { return static_cast<float>(NextBits() & 0xFFFFU) / 65536.0F - 0.5F; }
  std::uint32_t NextBits() {
    state_ = state_ * 1'664'525U + 1'013'904'223U;
    return state_ >> 8;
  }

 private:
  std::uint32_t state_;
};

inline void TinyModel::Write(const std::filesystem::path& directory) const {
  std::vector<std::string> entries;
  std::string data;
  Noise noise(seed);
  for (const auto& [name, shape] : tensors) {
    const std::size_t begin = data.size();
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = noise.Next();
      data.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    entries.push_back(absl::StrCat("\"", name, R"(": {"dtype": "F32", "shape": [)",
                                   absl::StrJoin(shape, ", "), R"(], "data_offsets": [)", begin,
                                   ", ", data.size(), "]}"));
  }
  std::string header = absl::StrCat("{", absl::StrJoin(entries, ", "), "}");
  header.append((8 - header.size() % 8) % 8, ' ');
  WriteFile(directory / "config.json", config);
  WriteFile(directory / "preprocessor_config.json", processor);
  WriteFile(directory / "model.safetensors", SafetensorsBytes(header, data));
}

// An image of noise.
inline Image NoiseImage(Size size, std::uint32_t seed) {
  Image image(size.width, size.height);
  Noise noise(seed);
  for (std::uint8_t& pixel : image.pixels()) pixel = static_cast<std::uint8_t>(noise.NextBits());
  return image;
}

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_TINY_MODEL_H_
