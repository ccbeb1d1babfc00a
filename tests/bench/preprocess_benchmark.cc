// Milliseconds an image: decode, resize and normalise separately and together, for each backend and
// each picture of make_pictures.py, beside libjpeg-turbo alone. reference_preprocess.py times the
// reference on the same.
//
// usage: PIXEMBED_BENCH_PICTURES=DIR preprocess_benchmark [--benchmark_filter=...]
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// After <cstdio>, which it needs.
#include <jpeglib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/image/image.h"

namespace pixembed {
namespace {

// DINOv2's processor, as reference_preprocess.py has it.
PreprocessSpec Dinov2(Backend backend, Filter filter) {
  PreprocessSpec spec;
  spec.backend = backend;
  spec.resize = ResizeTarget{.exact = std::nullopt, .shortest_edge = 256, .longest_edge = 0};
  spec.filter = filter;
  spec.crop = Size{224, 224};
  spec.mean = {0.485, 0.456, 0.406};
  spec.std = {0.229, 0.224, 0.225};
  return spec;
}

using Encoded = std::vector<char>;

std::span<const std::byte> BytesOf(const Encoded& encoded) {
  return std::as_bytes(std::span(encoded));
}

// The floor: libjpeg-turbo alone, as set for the reference's pixels, into one row that stays in
// cache. What decodes with it takes no less.
void LibjpegOnly(benchmark::State& state, const Encoded& encoded) {
  jpeg_error_mgr errors;
  jpeg_decompress_struct decoder;
  decoder.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&decoder);
  std::vector<std::uint8_t> row;
  for (auto _ : state) {
    jpeg_mem_src(&decoder, reinterpret_cast<const unsigned char*>(encoded.data()), encoded.size());
    jpeg_read_header(&decoder, TRUE);
    decoder.out_color_space = JCS_RGB;
    jpeg_start_decompress(&decoder);
    row.resize(std::size_t{decoder.output_width} * 3);
    JSAMPROW rows = row.data();
    while (decoder.output_scanline < decoder.output_height) jpeg_read_scanlines(&decoder, &rows, 1);
    jpeg_finish_decompress(&decoder);
    benchmark::ClobberMemory();
  }
  jpeg_destroy_decompress(&decoder);
}

void DecodeOnly(benchmark::State& state, const Encoded& encoded) {
  for (auto _ : state) benchmark::DoNotOptimize(Decode(BytesOf(encoded), DecodeLimits{}));
}

void ResizeOnly(benchmark::State& state, const Encoded& encoded, const PreprocessSpec& spec) {
  const absl::StatusOr<Image> image = Decode(BytesOf(encoded), DecodeLimits{});
  for (auto _ : state) benchmark::DoNotOptimize(Resize(*image, spec));
}

void NormalizeOnly(benchmark::State& state, const PreprocessSpec& spec) {
  Image image(spec.crop->width, spec.crop->height);
  for (std::size_t i = 0; i < image.size_bytes(); ++i) {
    image.pixels()[i] = static_cast<std::uint8_t>(i * 7);
  }
  std::vector<float> values(image.size_bytes());
  for (auto _ : state) {
    Normalize(image, spec, values);
    benchmark::ClobberMemory();
  }
}

void Everything(benchmark::State& state, const Encoded& encoded, const PreprocessSpec& spec) {
  std::vector<float> values;
  for (auto _ : state) {
    const absl::StatusOr<Image> image = DecodeAndResize(BytesOf(encoded), DecodeLimits{}, spec);
    values.resize(image->size_bytes());
    Normalize(*image, spec, values);
    benchmark::ClobberMemory();
  }
}

template <typename Function>
void Register(const std::string& name, const Function& function) {
  benchmark::RegisterBenchmark(name.c_str(), function)->Unit(benchmark::kMillisecond);
}

void RegisterPicture(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const Encoded encoded{std::istreambuf_iterator<char>(file), {}};
  const std::string picture = path.stem().string();
  Register("libjpeg/" + picture, [=](benchmark::State& state) { LibjpegOnly(state, encoded); });
  Register("decode/" + picture, [=](benchmark::State& state) { DecodeOnly(state, encoded); });
  for (const Backend backend : {Backend::kTorchvision, Backend::kPil}) {
    const std::string name = picture + "/" + std::string(BackendName(backend));
    for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
      Register(
          "resize/" + name + "/" + std::string(FilterName(filter)),
          [=](benchmark::State& state) { ResizeOnly(state, encoded, Dinov2(backend, filter)); });
    }
    Register("decode+preprocess/" + name, [=](benchmark::State& state) {
      Everything(state, encoded, Dinov2(backend, Filter::kBicubic));
    });
  }
}

}  // namespace
}  // namespace pixembed

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const char* const pictures = std::getenv("PIXEMBED_BENCH_PICTURES");
  if (pictures == nullptr || benchmark::ReportUnrecognizedArguments(argc, argv)) {
    std::fprintf(stderr,
                 "usage: PIXEMBED_BENCH_PICTURES=DIR %s [benchmark flags]; tests/bench/"
                 "make_pictures.py makes the folder\n",
                 argv[0]);
    return 2;
  }
  for (const auto& entry : std::filesystem::directory_iterator(pictures)) {
    if (entry.path().extension() == ".jpg") pixembed::RegisterPicture(entry.path());
  }
  for (const pixembed::Backend backend :
       {pixembed::Backend::kTorchvision, pixembed::Backend::kPil}) {
    const pixembed::PreprocessSpec spec = pixembed::Dinov2(backend, pixembed::Filter::kBicubic);
    pixembed::Register("normalize/224x224/" + std::string(pixembed::BackendName(backend)),
                       [=](benchmark::State& state) { pixembed::NormalizeOnly(state, spec); });
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
