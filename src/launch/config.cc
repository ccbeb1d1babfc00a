#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "src/command_line/command_line.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/launch/launch.h"
#include "src/model/model.h"

using pixembed::ByteSize;
using pixembed::FlagList;

ABSL_FLAG(FlagList, model, {},
          "Model directory in Hugging Face's layout, as NAME=DIRECTORY or DIRECTORY (the name is "
          "then its last component). May repeat; the first is the default model. Required, unless "
          "--model_repository is given");
ABSL_FLAG(std::string, device, "auto",
          "Where to compute: auto (every CUDA device, else the CPU), cpu, cuda, cuda:N, or a "
          "comma-separated list");
ABSL_FLAG(std::string, backend, "torchvision",
          "Which of Hugging Face's image processors to follow, bit for bit: torchvision or pil");
ABSL_FLAG(std::string, verify, "enforce",
          "What to do with pixembed_golden.safetensors, where a model directory holds one: enforce "
          "(refuse to serve a model that disagrees), warn, off, or only (check and exit)");
ABSL_FLAG(
    bool, deterministic, false,
    "The same bits for an image whatever the batch, the worker or the number of cores. float32, "
    "int16 and int8 on a CPU give them anyway; of others, images run one at a time, each on one "
    "core");
ABSL_FLAG(std::string, format, "auto",
          "What to load of a model directory: safetensors, torchscript (model.pt), aotinductor "
          "(model.pt2), or auto: the first of safetensors, model.pt2 and model.pt that is there");
ABSL_FLAG(bool, trust_model_code, false,
          "Lets a model be a program (model.pt, model.pt2). It runs with all rights of the server: "
          "only for files whose author you trust");
ABSL_FLAG(
    std::string, precision, "float32",
    "What the model's matrix products are computed in: float32, bfloat16 (refused where the "
    "device does not multiply it), int16 and int8 (CPUs with AVX2, not those with AVX-512 and "
    "without VNNI; products that lose too much in int8 stay in bfloat16 or int16), or auto: "
    "bfloat16 or else int16 where that is faster and close enough");
ABSL_FLAG(double, precision_min_cosine, 0.999,
          "The smallest cosine with float32 that vectors in another --precision may have; measured "
          "at start on built-in pictures, and against the golden file where there is one");
ABSL_FLAG(bool, cuda_graphs, true,
          "Replays passes on a GPU as CUDA graphs; where recording one fails, "
          "a worker goes on without. Not for programs, nor with --deterministic");
ABSL_FLAG(
    bool, fused_kernels, true,
    "On a GPU in bfloat16: kernels of our own between the products, and of cuBLASLt's kernels "
    "the fastest, timed at start; where they are not there or not right, LibTorch's serve. "
    "Not for programs, nor with --deterministic");
ABSL_FLAG(int, cores, 0,
          "Cores that the engine may use. 0: what the cgroup's quota and the affinity allow");
ABSL_FLAG(int, decode_threads, 0, "Threads that decode and resize. 0: as many as cores");
ABSL_FLAG(int, workers_per_device, 0,
          "Inference workers of each device. 0: as many as cores on a CPU, 2 on a GPU");
ABSL_FLAG(int, max_batch_size, 0,
          "Images that run through a model at once. 0: 32 on a GPU; on a CPU what takes the least "
          "time an image of each model, 1, 2 or 4 by what multiplies and by the image's tokens");
ABSL_FLAG(absl::Duration, max_queue_delay, absl::Milliseconds(2),
          "On a GPU: how long an idle worker waits for images that are being decoded. A lone image "
          "never waits");
ABSL_FLAG(std::int64_t, max_queued_images, 1024,
          "Images that may be inside the engine at once; more are refused with OVERLOADED");
ABSL_FLAG(ByteSize, max_queued_bytes, ByteSize{std::size_t{1} << 30},
          "Encoded bytes that may be inside the engine at once; more are refused with OVERLOADED");
ABSL_FLAG(ByteSize, max_decoded_bytes, ByteSize{std::size_t{1} << 30},
          "Decoded pixels, in bytes, that may exist at once; decoding waits for room");
ABSL_FLAG(ByteSize, max_image_bytes, ByteSize{std::size_t{32} << 20}, "Encoded size of one image");
ABSL_FLAG(std::int64_t, max_image_pixels, 89'478'485,
          "Width times height of one image; the default is where Pillow warns of a bomb");
ABSL_FLAG(int, max_image_side, 65'535, "Longest side of one image, in pixels");

namespace pixembed {
namespace {

// In the order of the documentation.
constexpr std::array<std::string_view, 22> kFlags = {
    "model",
    "device",
    "backend",
    "verify",
    "deterministic",
    "format",
    "trust_model_code",
    "precision",
    "precision_min_cosine",
    "cuda_graphs",
    "fused_kernels",
    "cores",
    "decode_threads",
    "workers_per_device",
    "max_batch_size",
    "max_queue_delay",
    "max_queued_images",
    "max_queued_bytes",
    "max_decoded_bytes",
    "max_image_bytes",
    "max_image_pixels",
    "max_image_side",
};

absl::Status Invalid(std::string_view text) { return MakeError(Reason::kInvalidOption, text); }

absl::Status CheckValues() {
  constexpr std::int64_t kMaxThreads = 1024;
  constexpr std::int64_t kMaxBytes = std::int64_t{1} << 50;
  constexpr std::int64_t kMaxImage = std::numeric_limits<int>::max();  // a message carries it
  const std::array ranges = {
      FlagRange{"cores", absl::GetFlag(FLAGS_cores), 0, kMaxThreads},
      FlagRange{"decode_threads", absl::GetFlag(FLAGS_decode_threads), 0, kMaxThreads},
      FlagRange{"workers_per_device", absl::GetFlag(FLAGS_workers_per_device), 0, kMaxThreads},
      FlagRange{"max_batch_size", absl::GetFlag(FLAGS_max_batch_size), 0, 65'536},
      FlagRange{"max_queue_delay", Milliseconds(absl::GetFlag(FLAGS_max_queue_delay)), 0, 60'000},
      FlagRange{"max_queued_images", absl::GetFlag(FLAGS_max_queued_images), 1, 100'000'000},
      FlagRange{"max_queued_bytes", Bytes(absl::GetFlag(FLAGS_max_queued_bytes)), 1, kMaxBytes},
      FlagRange{"max_decoded_bytes", Bytes(absl::GetFlag(FLAGS_max_decoded_bytes)), 1, kMaxBytes},
      FlagRange{"max_image_bytes", Bytes(absl::GetFlag(FLAGS_max_image_bytes)), 1, kMaxImage},
      FlagRange{"max_image_pixels", absl::GetFlag(FLAGS_max_image_pixels), 1,
                std::int64_t{1} << 40},
      FlagRange{"max_image_side", absl::GetFlag(FLAGS_max_image_side), 1, std::int64_t{1} << 30},
  };
  return CheckRanges(ranges);
}

absl::StatusOr<ModelSource> ReadModel(const std::string& text) {
  ModelSource source{.name = "", .directory = text};
  const std::size_t equals = text.find('=');
  const std::size_t slash = text.find('/');
  if (equals != std::string::npos && (slash == std::string::npos || equals < slash)) {
    source.name = text.substr(0, equals);
    source.directory = text.substr(equals + 1);
  } else {
    const std::filesystem::path clean = (source.directory / "").parent_path();
    source.name = clean.filename().string();
  }
  const auto allowed = [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  if (source.directory.empty() || source.name.empty() ||
      !std::all_of(source.name.begin(), source.name.end(), allowed)) {
    return Invalid(absl::StrCat("--model has \"", text,
                                "\"; wanted is NAME=DIRECTORY with a NAME of letters, digits, "
                                "'.', '_' and '-'"));
  }
  return source;
}

absl::StatusOr<std::vector<ModelSource>> ReadModels() {
  std::vector<ModelSource> models;
  std::set<std::string> names;
  for (const std::string& text : absl::GetFlag(FLAGS_model)) {
    absl::StatusOr<ModelSource> model = ReadModel(text);
    if (!model.ok()) return model.status();
    if (!names.insert(model->name).second) {
      return Invalid(absl::StrCat("--model names \"", model->name, "\" twice"));
    }
    models.push_back(*std::move(model));
  }
  return models;
}

absl::StatusOr<Backend> ReadBackend() {
  return ReadChoice("backend", absl::GetFlag(FLAGS_backend),
                    std::array{Backend::kTorchvision, Backend::kPil}, BackendName);
}

std::string_view VerifyModeName(VerifyMode mode) {
  switch (mode) {
    case VerifyMode::kEnforce:
      return "enforce";
    case VerifyMode::kWarn:
      return "warn";
    case VerifyMode::kOff:
      return "off";
    case VerifyMode::kOnly:
      break;
  }
  return "only";
}

absl::StatusOr<VerifyMode> ReadVerifyMode() {
  return ReadChoice(
      "verify", absl::GetFlag(FLAGS_verify),
      std::array{VerifyMode::kEnforce, VerifyMode::kWarn, VerifyMode::kOff, VerifyMode::kOnly},
      VerifyModeName);
}

absl::StatusOr<ModelFormat> ReadFormat() {
  return ReadChoice("format", absl::GetFlag(FLAGS_format),
                    std::array{ModelFormat::kAuto, ModelFormat::kSafetensors,
                               ModelFormat::kTorchScript, ModelFormat::kAotInductor},
                    ModelFormatName);
}

absl::StatusOr<Precision> ReadPrecision() {
  const double cosine = absl::GetFlag(FLAGS_precision_min_cosine);
  if (std::isnan(cosine) || cosine < 0.0 || cosine > 1.0) {
    return Invalid(absl::StrCat("--precision_min_cosine is ", cosine, "; possible are 0.0 to 1.0"));
  }
  return ReadChoice("precision", absl::GetFlag(FLAGS_precision),
                    std::array{Precision::kFloat32, Precision::kBFloat16, Precision::kInt16,
                               Precision::kInt8, Precision::kAuto},
                    PrecisionName);
}

EngineOptions ReadEngineOptions() {
  return {
      .limits = {.max_encoded_bytes = absl::GetFlag(FLAGS_max_image_bytes).bytes,
                 .max_pixels = absl::GetFlag(FLAGS_max_image_pixels),
                 .max_side = absl::GetFlag(FLAGS_max_image_side)},
      .cores = absl::GetFlag(FLAGS_cores),
      .decode_threads = absl::GetFlag(FLAGS_decode_threads),
      .workers_per_device = absl::GetFlag(FLAGS_workers_per_device),
      .max_batch_size = absl::GetFlag(FLAGS_max_batch_size),
      .max_queue_delay = absl::ToChronoNanoseconds(absl::GetFlag(FLAGS_max_queue_delay)),
      .max_queued_images = static_cast<std::size_t>(absl::GetFlag(FLAGS_max_queued_images)),
      .max_queued_bytes = absl::GetFlag(FLAGS_max_queued_bytes).bytes,
      .max_decoded_bytes = absl::GetFlag(FLAGS_max_decoded_bytes).bytes,
      .warm_up_batch_sizes = {},
      .devices = {},
  };
}

}  // namespace

std::span<const std::string_view> LaunchFlags() { return kFlags; }

absl::StatusOr<LaunchConfig> ReadLaunchFlags() {
  if (absl::Status status = CheckValues(); !status.ok()) return status;
  absl::StatusOr<std::vector<ModelSource>> models = ReadModels();
  if (!models.ok()) return models.status();
  const std::string device = absl::GetFlag(FLAGS_device);
  if (absl::Status status = CheckDeviceText(device); !status.ok()) return status;
  const absl::StatusOr<Backend> backend = ReadBackend();
  if (!backend.ok()) return backend.status();
  const absl::StatusOr<VerifyMode> verify = ReadVerifyMode();
  if (!verify.ok()) return verify.status();
  const absl::StatusOr<ModelFormat> format = ReadFormat();
  if (!format.ok()) return format.status();
  const absl::StatusOr<Precision> precision = ReadPrecision();
  if (!precision.ok()) return precision.status();
  return LaunchConfig{
      .models = *std::move(models),
      .device = device,
      .backend = *backend,
      .verify = *verify,
      .deterministic = absl::GetFlag(FLAGS_deterministic),
      .format = *format,
      .trust_model_code = absl::GetFlag(FLAGS_trust_model_code),
      .precision = *precision,
      .precision_min_cosine = absl::GetFlag(FLAGS_precision_min_cosine),
      .cuda_graphs = absl::GetFlag(FLAGS_cuda_graphs),
      .fused_kernels = absl::GetFlag(FLAGS_fused_kernels),
      .engine = ReadEngineOptions(),
  };
}

}  // namespace pixembed
