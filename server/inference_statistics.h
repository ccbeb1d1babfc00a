// What ModelStatistics tells: counts and times of the requests that came by KServe v2.
#ifndef PIXEMBED_SERVER_INFERENCE_STATISTICS_H_
#define PIXEMBED_SERVER_INFERENCE_STATISTICS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>

#include "inference/grpc_service.pb.h"
#include "src/engine/engine.h"

namespace pixembed {

// By the names of models; of one that is reloaded the counts go on. Thread-safe.
class InferenceStatistics {
 public:
  // A request was answered, `total` after it came. `images`: of each of its vectors; `last`: of the
  // image that the answer had to wait for.
  void RecordSuccess(const std::string& model, std::chrono::nanoseconds total,
                     std::span<const Timings> images, const Timings& last);
  void RecordFailure(const std::string& model, std::chrono::nanoseconds total);

  // Fills in everything but name and version. A batch counts once, however many of the images in it
  // came from elsewhere.
  void Describe(const std::string& model, inference::ModelStatistics& statistics) const;

 private:
  struct Sum {
    std::uint64_t count = 0;
    std::chrono::nanoseconds time{0};
    void Add(std::chrono::nanoseconds more);
  };
  // Of the images that ran in batches of one size.
  struct Batches {
    Sum decode;
    Sum compute;
  };
  struct Counters {
    std::chrono::milliseconds last_request{0};  // since the epoch
    std::uint64_t images = 0;
    Sum success;
    Sum fail;
    Sum queue;
    Sum decode;
    Sum compute;
    std::map<int, Batches> by_batch_size;
  };

  static void Set(const Sum& sum, inference::StatisticDuration& duration);

  mutable std::mutex mutex_;
  std::map<std::string, Counters> models_;  // guarded by mutex_
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_INFERENCE_STATISTICS_H_
