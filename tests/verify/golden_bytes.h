// Golden files made by hand, right and wrong.
#ifndef PIXEMBED_TESTS_VERIFY_GOLDEN_BYTES_H_
#define PIXEMBED_TESTS_VERIFY_GOLDEN_BYTES_H_

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/digest/digest.h"
#include "src/image/image.h"
#include "src/verify/verify.h"
#include "tests/checkpoint/safetensors_bytes.h"
#include "tests/model/fake_model.h"

namespace pixembed {

// The parts of a golden file, to be changed before they are written.
struct GoldenParts {
  struct Entry {
    std::string type;
    std::string shape;  // "3", "2, 3"
    std::string bytes;
  };
  std::map<std::string, std::string> metadata = {
      {"format", "pixembed_golden"}, {"version", "1"},    {"backend", "torchvision"},
      {"dtype", "float32"},          {"pooling", "mean"}, {"transformers", "5.23.0"},
      {"torch", "2.11.0"},           {"pillow", "13.0.0"}};
  std::map<std::string, Entry> tensors;

  void Add(const std::string& name, const std::string& encoded, std::string_view pixel_values,
           std::span<const float> vector) {
    tensors[name + ".encoded"] = {"U8", absl::StrCat(encoded.size()), encoded};
    tensors[name + ".pixel_values_sha256"] = {"U8", absl::StrCat(pixel_values.size()),
                                              std::string(pixel_values)};
    tensors[name + ".vector"] = {
        "F32", absl::StrCat(vector.size()),
        std::string(reinterpret_cast<const char*>(vector.data()), vector.size_bytes())};
  }

  // What `model` makes of an image.
  void AddTrue(const std::string& name, const std::string& encoded, const FakeModel& model) {
    const PreprocessSpec& spec = model.info().preprocess;
    const absl::StatusOr<Image> image =
        DecodeAndResize(std::as_bytes(std::span(encoded)), DecodeLimits(), spec);
    if (!image.ok()) return Add(name, encoded, std::string(32, '\0'), std::vector<float>(3));
    std::vector<float> chw(image->size_bytes());
    Normalize(*image, spec, chw);
    const Sha256Digest digest = Sha256(std::as_bytes(std::span(chw)));
    Add(name, encoded, {reinterpret_cast<const char*>(digest.data()), digest.size()},
        model.VectorOf(*image));
  }

  std::string Bytes() const {
    std::vector<std::string> entries;
    std::vector<std::string> facts;
    std::string data;
    for (const auto& [key, value] : metadata) {
      facts.push_back(absl::StrCat("\"", key, "\":\"", value, "\""));
    }
    entries.push_back(absl::StrCat("\"__metadata__\":{", absl::StrJoin(facts, ","), "}"));
    for (const auto& [name, entry] : tensors) {
      entries.push_back(absl::StrCat("\"", name, "\":{\"dtype\":\"", entry.type, "\",\"shape\":[",
                                     entry.shape, "],\"data_offsets\":[", data.size(), ",",
                                     data.size() + entry.bytes.size(), "]}"));
      data += entry.bytes;
    }
    return SafetensorsBytes(absl::StrCat("{", absl::StrJoin(entries, ","), "}"), data);
  }

  void Write(const std::filesystem::path& directory) const {
    WriteFile(directory / kGoldenFileName, Bytes());
  }
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_VERIFY_GOLDEN_BYTES_H_
