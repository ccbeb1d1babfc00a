// How far the vectors are from the reference's: a Markdown table for docs/numerics.md, measured on
// the golden files (tests/golden/make.sh) of every family and of the real DINOv2-S/14.
//
// usage: numerics GOLDEN_DIRECTORY [--device cpu]          tests/bench/numerics.sh writes the page
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "tests/golden/golden_images.h"

ABSL_FLAG(std::string, device, "cpu", "As the server's --device; the first one is measured");

namespace pixembed {
namespace {

[[noreturn]] void Exit(const std::string& text) {
  std::fprintf(stderr, "numerics: %s\n", text.c_str());
  std::exit(1);
}

template <typename T>
T OrExit(absl::StatusOr<T> value) {
  if (!value.ok()) Exit(value.status().ToString());
  return *std::move(value);
}

// A way of computing, or of writing, that a vector may take.
struct Column {
  const char* name;
  Precision precision = Precision::kFloat32;
  DataType data_type = DataType::kFloat32;
  bool deterministic = false;
};
constexpr std::array kColumns = {
    Column{.name = "float32"},
    Column{.name = "--deterministic", .deterministic = true},
    Column{.name = "--precision=bfloat16", .precision = Precision::kBFloat16},
    Column{.name = "--precision=int16", .precision = Precision::kInt16},
    Column{.name = "--precision=int8", .precision = Precision::kInt8},
    Column{.name = "answered as float16", .data_type = DataType::kFloat16},
    Column{.name = "answered as bfloat16", .data_type = DataType::kBFloat16},
    Column{.name = "answered as int8", .data_type = DataType::kInt8},
};

float FromHalf(std::uint16_t half) {
  const int exponent = (half >> 10) & 0x1F;
  const auto fraction = static_cast<float>(half & 0x3FF);
  const float magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024.0F + fraction, exponent - 25);
  return (half & 0x8000) != 0 ? -magnitude : magnitude;
}

template <typename T>
T ReadAt(const std::string& bytes, std::size_t index) {
  T value{};
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

float ValueAt(const Embedding& embedding, std::size_t index) {
  switch (embedding.data_type) {
    case DataType::kFloat16:
      return FromHalf(ReadAt<std::uint16_t>(embedding.values, index));
    case DataType::kBFloat16:
      return std::bit_cast<float>(std::uint32_t{ReadAt<std::uint16_t>(embedding.values, index)}
                                  << 16);
    case DataType::kInt8:
      return static_cast<float>(ReadAt<std::int8_t>(embedding.values, index)) * embedding.scale;
    default:
      return ReadAt<float>(embedding.values, index);
  }
}

// The worst over all images so far.
struct Distance {
  double max_abs = 0.0;
  double magnitude = 0.0;  // largest absolute number of the reference
  double cosine = 1.0;

  void Add(const Embedding& actual, std::span<const float> expected) {
    double ab = 0.0;
    double aa = 0.0;
    double bb = 0.0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double a = ValueAt(actual, i);
      const double b = expected[i];
      max_abs = std::max(max_abs, std::abs(a - b));
      magnitude = std::max(magnitude, std::abs(b));
      ab += a * b;
      aa += a * a;
      bb += b * b;
    }
    cosine = std::min(cosine, ab / std::sqrt(aa * bb));
  }
};

const Tensor& Need(const Weights& file, const char* name) {
  const Tensor* const tensor = file.Find(name);
  if (tensor == nullptr) Exit(absl::StrCat("no tensor ", name, ": run tests/golden/make.sh"));
  return *tensor;
}

std::vector<float> MeansOf(const Weights& file) {
  const Tensor& tensor = Need(file, "mean");
  std::vector<float> means(tensor.bytes.size() / sizeof(float));
  std::memcpy(means.data(), tensor.bytes.data(), tensor.bytes.size());
  return means;
}

// Nothing where neither the device nor a program computes so.
std::optional<Distance> Measure(const std::filesystem::path& directory, const Weights& file,
                                const Column& column, const Device& device) {
  const auto loaded = LoadModel(directory, {.trust_model_code = true,
                                            .devices = {device},
                                            .deterministic = column.deterministic,
                                            .precision = column.precision,
                                            .precision_min_cosine = -1.0});
  if (ReasonOf(loaded.status()) == Reason::kUnsupportedPrecision) return std::nullopt;
  if (!loaded.ok()) Exit(absl::StrCat(directory.string(), ": ", loaded.status().ToString()));
  const auto& model = *loaded;
  const std::unique_ptr<Runner> runner = OrExit(model->NewRunner(device));
  const std::vector<Image> images = GoldenImages(file, model->info().preprocess);
  std::vector<const Image*> batch;
  batch.reserve(images.size());
  for (const Image& image : images) batch.push_back(&image);
  const std::vector<OutputSpec> specs(batch.size(), OutputSpec{.data_type = column.data_type});
  const std::vector<Embedding> embeddings = OrExit(runner->Embed(batch, specs, 1));
  const std::vector<float> means = MeansOf(file);
  const std::size_t width = means.size() / images.size();
  Distance distance;
  for (std::size_t i = 0; i < images.size(); ++i) {
    distance.Add(embeddings[i], std::span(means).subspan(i * width, width));
  }
  return distance;
}

void PrintRow(const std::string& name, const std::filesystem::path& directory, const Weights& file,
              const Device& device) {
  std::string cells;
  double magnitude = 0.0;
  for (const Column& column : kColumns) {
    const std::optional<Distance> distance = Measure(directory, file, column, device);
    if (!distance.has_value()) {
      cells += " - |";
      continue;
    }
    magnitude = distance->magnitude;
    absl::StrAppendFormat(&cells, " %.1e, %.9f |", distance->max_abs, distance->cosine);
  }
  std::printf("| %s | %.1f |%s\n", name.c_str(), magnitude, cells.c_str());
}

std::string ReadText(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void PrintTable(const std::filesystem::path& golden) {
  InitializeRuntime();
  const Device device = OrExit(ResolveDevices(absl::GetFlag(FLAGS_device))).front();
  std::vector<std::filesystem::path> cases;
  for (const auto& entry : std::filesystem::directory_iterator(golden / "embeddings")) {
    const bool has_model = std::filesystem::exists(entry.path() / "config.json") ||
                           std::filesystem::exists(entry.path() / "directory");
    if (has_model) cases.push_back(entry.path());  // else it is about the model of another folder
  }
  std::sort(cases.begin(), cases.end());
  std::string names;
  std::string line;
  for (const Column& column : kColumns) {
    absl::StrAppend(&names, " ", column.name, " |");
    absl::StrAppend(&line, " --- |");
  }
  std::printf("| model | largest number |%s\n| --- | --- |%s\n", names.c_str(), line.c_str());
  for (const std::filesystem::path& path : cases) {
    const auto opened = Weights::Open(path, "expected.safetensors");
    if (!opened.ok()) Exit(absl::StrCat(path.string(), ": ", opened.status().ToString()));
    const Weights& file = *opened;
    const bool tiny = std::filesystem::exists(path / "config.json");
    const std::filesystem::path directory =
        tiny ? path : std::filesystem::path(ReadText(path / "directory"));
    PrintRow(path.filename().string(), directory, file, device);
  }
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  if (arguments.size() != 2) pixembed::Exit("usage: numerics GOLDEN_DIRECTORY [--device cpu]");
  pixembed::PrintTable(arguments[1]);
  return 0;
}
