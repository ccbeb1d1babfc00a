#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/verify/verify.h"

namespace pixembed {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are read as they lie");

constexpr std::string_view kEncoded = ".encoded";
constexpr std::string_view kPixelValues = ".pixel_values_sha256";
constexpr std::string_view kVector = ".vector";
// What made the file, in the order of the log.
constexpr std::array kMakers = {"transformers", "torch", "torchvision", "pillow"};

std::string_view MetadataOf(const Weights& file, std::string_view key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? std::string_view() : std::string_view(found->second);
}

absl::Status Corrupt(std::string_view what) { return MakeError(Reason::kCheckpointCorrupt, what); }

// What this reader understands; everything else would be guessed at.
absl::Status CheckMetadata(const Weights& file) {
  struct Wanted {
    std::string_view key;
    std::string_view value;
  };
  constexpr std::array kWanted = {Wanted{"format", "pixembed_golden"}, Wanted{"version", "1"},
                                  Wanted{"dtype", "float32"}, Wanted{"pooling", "mean"}};
  for (const Wanted& wanted : kWanted) {
    const std::string_view value = MetadataOf(file, wanted.key);
    if (value == wanted.value) continue;
    return Corrupt(absl::StrCat("its metadata says \"", std::string(wanted.key), "\" = \"",
                                Printable(value), "\"; only \"", std::string(wanted.value),
                                "\" is read"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Backend> BackendOf(const Weights& file) {
  const std::string_view name = MetadataOf(file, "backend");
  for (const Backend backend : {Backend::kTorchvision, Backend::kPil}) {
    if (name == BackendName(backend)) return backend;
  }
  return Corrupt(absl::StrCat(R"(its metadata says "backend" = ")", Printable(name),
                              "\"; there is torchvision and pil"));
}

std::string MadeWith(const Weights& file) {
  std::vector<std::string> makers;
  for (const char* const maker : kMakers) {
    const std::string_view version = MetadataOf(file, maker);
    if (!version.empty()) makers.push_back(absl::StrCat(maker, " ", Printable(version)));
  }
  return makers.empty() ? "unknown versions" : absl::StrJoin(makers, ", ");
}

// The tensor NAME + suffix, of one dimension.
absl::StatusOr<const Tensor*> FindVector(const Weights& file, std::string_view name,
                                         std::string_view suffix, TensorType type,
                                         std::optional<std::int64_t> size) {
  const std::string key = absl::StrCat(std::string(name), std::string(suffix));
  const Tensor* const tensor = file.Find(key);
  if (tensor == nullptr) return Corrupt(absl::StrCat("tensor \"", Printable(key), "\" is missing"));
  const bool fits = tensor->type == type && tensor->shape.size() == 1 &&
                    tensor->shape.front() > 0 &&
                    size.value_or(tensor->shape.front()) == tensor->shape.front();
  if (fits) return tensor;
  return Corrupt(absl::StrCat(
      "tensor \"", Printable(key), "\" is ", std::string(TensorTypeName(tensor->type)), " [",
      absl::StrJoin(tensor->shape, ", "), "]; wanted is ", std::string(TensorTypeName(type)), " [",
      size.has_value() ? absl::StrCat(*size) : "any size", "]"));
}

absl::StatusOr<GoldenImage> ReadImage(const Weights& file, std::string_view name) {
  GoldenImage image;
  image.name = Printable(name);
  const auto encoded = FindVector(file, name, kEncoded, TensorType::kU8, std::nullopt);
  if (!encoded.ok()) return encoded.status();
  image.encoded = (*encoded)->bytes;
  const auto digest =
      FindVector(file, name, kPixelValues, TensorType::kU8, image.pixel_values.size());
  if (!digest.ok()) return digest.status();
  std::ranges::copy((*digest)->bytes, image.pixel_values.begin());
  const auto vector = FindVector(file, name, kVector, TensorType::kF32, std::nullopt);
  if (!vector.ok()) return vector.status();
  image.vector.resize(static_cast<std::size_t>((*vector)->shape.front()));
  std::memcpy(image.vector.data(), (*vector)->bytes.data(), (*vector)->bytes.size());
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::ranges::all_of(image.vector, finite)) {
    return Corrupt(absl::StrCat("tensor \"", image.name, std::string(kVector),
                                "\" holds infinity or what is no number"));
  }
  return image;
}

absl::StatusOr<std::vector<GoldenImage>> ReadImages(const Weights& file) {
  std::vector<GoldenImage> images;
  for (const auto& [key, tensor] : file.tensors()) {
    if (!key.ends_with(kEncoded)) continue;
    absl::StatusOr<GoldenImage> image =
        ReadImage(file, std::string_view(key).substr(0, key.size() - kEncoded.size()));
    if (!image.ok()) return image.status();
    images.push_back(*std::move(image));
  }
  constexpr std::size_t kTensorsOfAnImage = 3;
  if (images.empty()) return Corrupt("it holds no image (no tensor \"NAME.encoded\")");
  if (images.size() * kTensorsOfAnImage != file.tensors().size()) {
    return Corrupt(absl::StrCat("it holds ", file.tensors().size(), " tensors, but ", images.size(),
                                " images have ", images.size() * kTensorsOfAnImage));
  }
  return images;
}

absl::StatusOr<GoldenFile> Read(const Weights& file) {
  if (absl::Status status = CheckMetadata(file); !status.ok()) return status;
  const absl::StatusOr<Backend> backend = BackendOf(file);
  if (!backend.ok()) return backend.status();
  absl::StatusOr<std::vector<GoldenImage>> images = ReadImages(file);
  if (!images.ok()) return images.status();
  return GoldenFile{.backend = *backend,
                    .made_with = MadeWith(file),
                    .images = *std::move(images),
                    .owner = std::make_shared<const Weights>(file)};
}

}  // namespace

bool HasGoldenFile(const std::filesystem::path& directory) {
  std::error_code error;
  // Where it cannot be told, opening it says why.
  return std::filesystem::exists(directory / kGoldenFileName, error) || error;
}

absl::StatusOr<GoldenFile> OpenGoldenFile(const std::filesystem::path& directory) {
  if (!HasGoldenFile(directory)) {
    return MakeError(Reason::kCheckpointMissing,
                     absl::StrCat(std::string(kGoldenFileName),
                                  " does not exist: deploy/make_golden.py writes it, where the "
                                  "reference runs"));
  }
  const absl::StatusOr<Weights> file = Weights::Open(directory, kGoldenFileName);
  if (!file.ok()) return file.status();
  absl::StatusOr<GoldenFile> golden = Read(*file);
  if (!golden.ok()) return Annotate(golden.status(), kGoldenFileName);
  return golden;
}

}  // namespace pixembed
