#include "src/engine/options.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/batching/batching.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int kMaxBatchSize = 65'536;
constexpr std::chrono::milliseconds kMaxQueueDelay{60'000};

// Per device: enough to keep it busy while the other worker uploads and downloads.
constexpr int kWorkersPerGpu = 2;
constexpr int kGpuBatch = 32;
// Of models of which nothing is known.
constexpr int kCpuBatch = 4;

struct Range {
  std::string_view flag;
  std::int64_t value;
  std::int64_t min;
  std::int64_t max;
};

absl::Status CheckRange(const Range& range) {
  if (range.value >= range.min && range.value <= range.max) return absl::OkStatus();
  return MakeError(
      Reason::kInvalidOption,
      absl::StrCat("--", absl::string_view(range.flag.data(), range.flag.size()), " is ",
                   range.value, "; it must be between ", range.min, " and ", range.max));
}

absl::Status CheckRanges(const EngineOptions& options) {
  // Rounded down, so that -1 us is out of range.
  const std::int64_t delay_ms =
      std::chrono::floor<std::chrono::milliseconds>(options.max_queue_delay).count();
  const auto at_least_one = [](std::size_t value) {
    return static_cast<std::int64_t>(std::min<std::size_t>(value, 1));
  };
  const std::array ranges = {
      Range{"cores", options.cores, 0, kMaxThreads},
      Range{"decode_threads", options.decode_threads, 0, kMaxThreads},
      Range{"workers_per_device", options.workers_per_device, 0, kMaxThreads},
      Range{"max_batch_size", options.max_batch_size, 0, kMaxBatchSize},
      Range{"max_queue_delay (ms)", delay_ms, 0, kMaxQueueDelay.count()},
      Range{"max_queued_images", at_least_one(options.max_queued_images), 1, INT64_MAX},
      Range{"max_queued_bytes", at_least_one(options.max_queued_bytes), 1, INT64_MAX},
      Range{"max_decoded_bytes", at_least_one(options.max_decoded_bytes), 1, INT64_MAX},
  };
  for (const Range& range : ranges) {
    absl::Status status = CheckRange(range);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// `devices`: what the models shall be on.
absl::Status CheckModels(std::span<const std::shared_ptr<const Model>> models,
                         std::span<const Device> devices) {
  if (devices.empty()) {
    return MakeError(Reason::kInvalidOption,
                     models.empty() ? "there is no model to serve" : "the model is on no device");
  }
  for (const std::shared_ptr<const Model>& model : models) {
    if (!std::ranges::equal(model->devices(), devices)) {
      return MakeError(Reason::kInvalidOption, "the models are on different devices");
    }
  }
  return absl::OkStatus();
}

// The largest first, so that the memory it takes serves the smaller ones. Twice: a runner that
// records its passes does so the second time.
std::vector<int> GpuWarmUp(int max_batch_size) {
  std::vector<int> sizes;
  for (int size = max_batch_size; size > 0; --size) {
    if (size == max_batch_size || PaddedBatchSize(size) == size) {
      sizes.insert(sizes.end(), {size, size});
    }
  }
  return sizes;
}

// Of a CPU. Models that are there later are not known yet.
int BestBatchSize(std::span<const std::shared_ptr<const Model>> models) {
  if (models.empty()) return kCpuBatch;
  int best = 1;
  for (const auto& model : models) best = std::max(best, model->info().best_batch_size);
  return best;
}

}  // namespace

std::size_t MaxBatchSize(const EngineShape& shape, const ModelInfo& model) {
  return static_cast<std::size_t>(shape.batch_size_by_model ? model.best_batch_size
                                                            : shape.options.max_batch_size);
}

absl::StatusOr<EngineShape> ShapeEngine(std::span<const std::shared_ptr<const Model>> models,
                                        EngineOptions options, int usable_cores) {
  if (options.devices.empty() && !models.empty()) {
    const std::span<const Device> devices = models.front()->devices();
    options.devices.assign(devices.begin(), devices.end());
  }
  absl::Status status = CheckModels(models, options.devices);
  if (status.ok()) status = CheckRanges(options);
  if (!status.ok()) return status;

  const std::vector<Device> devices = options.devices;
  const bool gpu = std::ranges::any_of(
      devices, [](const Device& device) { return device.kind == Device::Kind::kCuda; });
  // A model that takes images one by one on one thread has no use for more cores, nor for company.
  const bool one_by_one = options.one_by_one || std::ranges::any_of(models, [](const auto& model) {
                            return model->info().one_by_one;
                          });
  EngineShape shape;
  shape.options = std::move(options);
  shape.count_cores = !gpu && !one_by_one;
  shape.cost = gpu ? BatchCost::kPerBatch : BatchCost::kPerItem;
  EngineOptions& chosen = shape.options;
  chosen.one_by_one = one_by_one;
  if (chosen.cores == 0) chosen.cores = usable_cores;
  if (chosen.decode_threads == 0) chosen.decode_threads = chosen.cores;
  if (chosen.workers_per_device == 0) {
    chosen.workers_per_device = gpu ? kWorkersPerGpu : chosen.cores;
  }
  if (chosen.max_batch_size == 0) {
    shape.batch_size_by_model = !one_by_one && !gpu;
    chosen.max_batch_size = one_by_one ? 1 : gpu ? kGpuBatch : BestBatchSize(models);
  }
  if (chosen.warm_up_batch_sizes.empty()) {
    chosen.warm_up_batch_sizes = gpu ? GpuWarmUp(chosen.max_batch_size) : std::vector<int>{1};
  }
  for (const int size : chosen.warm_up_batch_sizes) {
    status = CheckRange({"warm_up_batch_sizes", size, 1, chosen.max_batch_size});
    if (!status.ok()) return status;
  }
  shape.workers = chosen.workers_per_device * static_cast<int>(devices.size());
  if (!gpu && shape.workers > chosen.cores) {
    return MakeError(
        Reason::kInvalidOption,
        absl::StrCat("--workers_per_device makes ", shape.workers, " workers for ", chosen.cores,
                     " cores (--cores); on a CPU a worker needs a core of its own"));
  }
  return shape;
}

}  // namespace pixembed
