#include "src/engine/service_rate.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

namespace pixembed {

void ServiceRate::Record(std::size_t images, std::chrono::nanoseconds busy) {
  // A plain mean at first, then one that forgets: the newest batch weighs an eighth.
  constexpr int kWindow = 8;
  const std::lock_guard lock(mutex_);
  Size& size = sizes_.at(std::min(images, sizes_.size() - 1));
  size.batches = std::min(size.batches + 1, kWindow);
  size.busy_ns += (static_cast<double>(busy.count()) - size.busy_ns) / size.batches;
}

std::optional<std::chrono::nanoseconds> ServiceRate::PerImage() const {
  const std::lock_guard lock(mutex_);
  const auto largest = std::find_if(sizes_.rbegin(), sizes_.rend(), [](const Size& size) {
    return size.batches >= kBelievedAfter;
  });
  if (largest == sizes_.rend()) return std::nullopt;
  const auto full_batch = static_cast<double>(sizes_.size() - 1);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(largest->busy_ns / full_batch));
}

}  // namespace pixembed
