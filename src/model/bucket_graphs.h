// The passes of a GPU's runner as CUDA graphs: a small batch costs more to start, kernel by kernel,
// than to run, and a graph is started with one call. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_BUCKET_GRAPHS_H_
#define PIXEMBED_SRC_MODEL_BUCKET_GRAPHS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "src/model/cuda/cuda_module.h"

namespace pixembed {

// A graph for each bucket: batches are padded to PaddedBatchSize (model.h), or to the largest size
// so far where that is smaller, with whatever lies there. One thread at a time, under its
// InferenceMode.
//
// Large batches, too, which take a device longer than their start: a size that no batch had before
// makes its libraries search for plans, for far longer than a few padded images take. At most a
// fifth of a batch of more than 32 is padding.
//
// A bucket's first batch runs eagerly, which readies the device's libraries. The second runs
// eagerly in the padded input; then the same is recorded, replayed, and held against what the pass
// gave. From the third on the graph is replayed. Whatever fails in here, or gives other numbers
// than the eager pass, is told to `warn` once and ends all graphs of this object: every batch runs
// eagerly from then on.
class BucketGraphs {
 public:
  // [N, H, W, 3] uint8 on the device -> last_hidden_state [N, T, D] float32.
  using Forward = std::function<at::Tensor(const at::Tensor& images)>;

  // `warn` may be empty.
  BucketGraphs(std::unique_ptr<GraphRecorder> recorder, c10::Device device, Forward forward,
               std::function<void(const std::string&)> warn);

  // `images`: [N, H, W, 3] uint8 in host memory, N >= 1, H and W the same in every call ->
  // last_hidden_state [N, T, D], which the next call overwrites. Undefined: this batch has to be
  // run eagerly. `images` may be read until the current stream is done. Never throws what the pass
  // throws: the eager run will.
  at::Tensor Run(const at::Tensor& images);

 private:
  struct Bucket {
    at::Tensor input;  // [bucket, H, W, 3] uint8; undefined before the second batch
    std::unique_ptr<DeviceGraph> graph;
  };

  at::Tensor RunIn(Bucket& bucket, std::int64_t size, const at::Tensor& images);
  at::Tensor RunAndRecord(Bucket& bucket);
  void GiveUp(const std::string& why);

  std::unique_ptr<GraphRecorder> recorder_;  // null: given up
  c10::Device device_;
  Forward forward_;
  std::function<void(const std::string&)> warn_;
  std::int64_t largest_ = 0;                // images of a batch, so far
  std::map<std::int64_t, Bucket> buckets_;  // those of which a batch has been seen, by size
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_BUCKET_GRAPHS_H_
