#include "server/inference_statistics.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>

#include "inference/grpc_service.pb.h"
#include "src/engine/engine.h"

namespace pixembed {
namespace {

std::chrono::milliseconds SinceEpoch() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
}

}  // namespace

void InferenceStatistics::Sum::Add(std::chrono::nanoseconds more) {
  ++count;
  time += more;
}

void InferenceStatistics::RecordSuccess(const std::string& model, std::chrono::nanoseconds total,
                                        std::span<const Timings> images, const Timings& last) {
  const std::lock_guard lock(mutex_);
  Counters& counters = models_[model];
  counters.last_request = SinceEpoch();
  counters.images += images.size();
  counters.success.Add(total);
  counters.queue.Add(last.queue);
  counters.decode.Add(last.decode);
  counters.compute.Add(last.compute);
  for (const Timings& image : images) {
    Batches& batches = counters.by_batch_size[image.batch_size];
    batches.decode.Add(image.decode);
    batches.compute.Add(image.compute);
  }
}

void InferenceStatistics::RecordFailure(const std::string& model, std::chrono::nanoseconds total) {
  const std::lock_guard lock(mutex_);
  Counters& counters = models_[model];
  counters.last_request = SinceEpoch();
  counters.fail.Add(total);
}

void InferenceStatistics::Set(const Sum& sum, inference::StatisticDuration& duration) {
  duration.set_count(sum.count);
  duration.set_ns(static_cast<std::uint64_t>(sum.time.count()));
}

void InferenceStatistics::Describe(const std::string& model,
                                   inference::ModelStatistics& statistics) const {
  const std::lock_guard lock(mutex_);
  const auto found = models_.find(model);
  const Counters counters = found == models_.end() ? Counters() : found->second;
  statistics.set_last_inference(static_cast<std::uint64_t>(counters.last_request.count()));
  statistics.set_inference_count(counters.images);
  inference::InferStatistics& infer = *statistics.mutable_inference_stats();
  Set(counters.success, *infer.mutable_success());
  Set(counters.fail, *infer.mutable_fail());
  Set(counters.queue, *infer.mutable_queue());
  Set(counters.decode, *infer.mutable_compute_input());
  Set(counters.compute, *infer.mutable_compute_infer());
  Set({.count = counters.compute.count}, *infer.mutable_compute_output());
  std::uint64_t executions = 0;
  for (const auto& [size, batches] : counters.by_batch_size) {
    const auto images = static_cast<std::uint64_t>(std::max(size, 1));
    const std::uint64_t count = (batches.compute.count + images - 1) / images;
    // Every image of a batch was told the time of the whole batch.
    inference::InferBatchStatistics& batch = *statistics.add_batch_stats();
    batch.set_batch_size(images);
    Set({.count = count, .time = batches.decode.time}, *batch.mutable_compute_input());
    Set({.count = count, .time = batches.compute.time / images}, *batch.mutable_compute_infer());
    Set({.count = count}, *batch.mutable_compute_output());
    executions += count;
  }
  statistics.set_execution_count(executions);
}

}  // namespace pixembed
