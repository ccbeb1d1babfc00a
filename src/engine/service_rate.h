// How fast batches have been running.
#ifndef PIXEMBED_SRC_ENGINE_SERVICE_RATE_H_
#define PIXEMBED_SRC_ENGINE_SERVICE_RATE_H_

#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <vector>

namespace pixembed {

// The measured cost of one model's images, as time of one unit of the engine's capacity: a core, or
// on a GPU a worker. Thread-safe.
class ServiceRate {
 public:
  // Batches of a size that must have run before its time is believed.
  static constexpr int kBelievedAfter = 4;

  explicit ServiceRate(std::size_t max_batch_size) : sizes_(max_batch_size + 1) {}

  // A batch of `images` took `busy` = its time x the units that it held.
  void Record(std::size_t images, std::chrono::nanoseconds busy);

  // Unit time per image when batches are full, at best: a full batch takes at least as long as the
  // largest believed smaller one. Nothing before anything is believed.
  std::optional<std::chrono::nanoseconds> PerImage() const;

 private:
  struct Size {
    int batches = 0;
    double busy_ns = 0;  // moving average
  };

  mutable std::mutex mutex_;
  std::vector<Size> sizes_;  // by batch size
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_SERVICE_RATE_H_
