// Graphs without a device: what is recorded is kept, and runs when it is replayed.
#ifndef PIXEMBED_TESTS_MODEL_FAKE_GRAPHS_H_
#define PIXEMBED_TESTS_MODEL_FAKE_GRAPHS_H_

#include <ATen/core/Tensor.h>
#include <ATen/ops/full_like.h>

#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/model/cuda/cuda_module.h"
#include "src/model/guard.h"

namespace pixembed {

// What the graphs of a recorder did, and what shall become of the next ones.
struct FakeGraphLog {
  int records = 0;
  int replays = 0;
  int alive = 0;
  absl::Status record_status;  // what Record gives where it is not OK
  absl::Status replay_status;  // what Replay gives where it is not OK
  double replay_error = 0.0;   // what a replay adds to every number
};

class FakeGraph final : public DeviceGraph {
 public:
  // As on a device, nothing has run after the recording: its output holds no numbers.
  FakeGraph(FakeGraphLog* log, std::function<at::Tensor()> work)
      : log_(*log), work_(std::move(work)), output_(at::full_like(work_(), std::nan(""))) {
    ++log_.alive;
  }
  FakeGraph(const FakeGraph&) = delete;
  FakeGraph& operator=(const FakeGraph&) = delete;
  ~FakeGraph() override { --log_.alive; }

  const at::Tensor& output() const override { return output_; }

  absl::Status Replay() override {
    ++log_.replays;
    if (!log_.replay_status.ok()) return log_.replay_status;
    output_.copy_(work_().add(log_.replay_error));
    return absl::OkStatus();
  }

 private:
  FakeGraphLog& log_;
  std::function<at::Tensor()> work_;
  at::Tensor output_;
};

class FakeRecorder final : public GraphRecorder {
 public:
  explicit FakeRecorder(FakeGraphLog* log) : log_(*log) {}

  absl::StatusOr<std::unique_ptr<DeviceGraph>> Record(
      const std::function<at::Tensor()>& work) override {
    ++log_.records;
    if (!log_.record_status.ok()) return log_.record_status;
    return Guarded([&]() -> absl::StatusOr<std::unique_ptr<DeviceGraph>> {
      return std::make_unique<FakeGraph>(&log_, work);
    });
  }

 private:
  FakeGraphLog& log_;
};

}  // namespace pixembed

#endif  // PIXEMBED_TESTS_MODEL_FAKE_GRAPHS_H_
