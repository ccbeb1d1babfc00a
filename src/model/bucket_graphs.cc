#include "src/model/bucket_graphs.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/guard.h"
#include "src/model/model.h"

namespace pixembed {
namespace {

// How far a replay may be from the eager pass, as a part of the largest number. The same kernels
// give the same bits; a library may choose others while it is recorded.
constexpr double kTolerance = 1e-3;

// False where a number is none.
bool Alike(const at::Tensor& actual, const at::Tensor& expected) {
  const auto distance = actual.sub(expected).abs().max().item<double>();
  return distance <= kTolerance * expected.abs().max().item<double>();
}

}  // namespace

BucketGraphs::BucketGraphs(std::unique_ptr<GraphRecorder> recorder, c10::Device device,
                           Forward forward, std::function<void(const std::string&)> warn)
    : recorder_(std::move(recorder)),
      device_(device),
      forward_(std::move(forward)),
      warn_(std::move(warn)) {}

at::Tensor BucketGraphs::Run(const at::Tensor& images) {
  if (recorder_ == nullptr) return {};
  largest_ = std::max(largest_, images.size(0));
  const std::int64_t size = std::min(PaddedBatchSize(images.size(0)), largest_);
  const auto placed = buckets_.try_emplace(size);
  if (placed.second) return {};
  Bucket& bucket = placed.first->second;
  at::Tensor last;
  const absl::Status status = Guarded([&] {
    last = RunIn(bucket, size, images);
    return absl::OkStatus();
  });
  if (!status.ok()) GiveUp(std::string(status.message()));
  return last;
}

at::Tensor BucketGraphs::RunIn(Bucket& bucket, std::int64_t size, const at::Tensor& images) {
  const std::int64_t count = images.size(0);
  if (!bucket.input.defined()) {
    bucket.input = at::zeros({size, images.size(1), images.size(2), images.size(3)},
                             at::TensorOptions().dtype(at::kByte).device(device_));
  }
  bucket.input.narrow(0, 0, count).copy_(images, /*non_blocking=*/true);
  if (bucket.graph == nullptr) return RunAndRecord(bucket).narrow(0, 0, count);
  if (const absl::Status status = bucket.graph->Replay(); !status.ok()) {
    GiveUp(std::string(status.message()));
    return {};
  }
  return bucket.graph->output().narrow(0, 0, count);
}

at::Tensor BucketGraphs::RunAndRecord(Bucket& bucket) {
  at::Tensor last = forward_(bucket.input);
  absl::StatusOr<std::unique_ptr<DeviceGraph>> graph =
      recorder_->Record([&] { return forward_(bucket.input); });
  absl::Status status = graph.status();
  if (status.ok()) status = (*graph)->Replay();
  if (status.ok() && !Alike((*graph)->output(), last)) {
    status = MakeError(Reason::kDeviceFailure, "a replay gives other numbers than the pass itself");
  }
  if (status.ok()) {
    bucket.graph = *std::move(graph);
  } else {
    GiveUp(std::string(status.message()));
  }
  return last;
}

void BucketGraphs::GiveUp(const std::string& why) {
  recorder_.reset();
  buckets_.clear();
  if (warn_)
    warn_(absl::StrCat("CUDA graphs are off for a worker, whose batches run eagerly: ", why));
}

}  // namespace pixembed
