#include "src/engine/hosted_models.h"

#include <cstddef>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <utility>

#include "src/model/model.h"

namespace pixembed {

std::size_t HostedModels::Add(std::shared_ptr<const Model> model, std::size_t queue,
                              std::size_t max_batch_size) {
  const std::lock_guard lock(mutex_);
  const std::size_t number = next_number_++;
  auto hosted = std::make_unique<HostedModel>(number, std::move(model), queue, max_batch_size);
  auto unused = std::make_shared<std::latch>(1);
  // It owns nothing: whoever holds it last only says so.
  Lease lease(hosted.get(), [unused](HostedModel*) { unused->count_down(); });
  entries_.emplace(number, Entry{std::move(hosted), std::move(unused), std::move(lease)});
  return number;
}

HostedModels::Lease HostedModels::Find(std::size_t number) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(number);
  return found == entries_.end() ? nullptr : found->second.lease;
}

std::unique_ptr<HostedModel> HostedModels::Remove(std::size_t number) {
  std::shared_ptr<std::latch> unused;
  {
    Lease last;  // given back under no lock
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(number);
    if (found == entries_.end() || found->second.lease == nullptr) return nullptr;
    last = std::move(found->second.lease);
    unused = found->second.unused;
  }
  unused->wait();
  const std::lock_guard lock(mutex_);
  return std::move(entries_.extract(number).mapped().hosted);
}

void HostedModels::ForEach(const std::function<void(const HostedModel&)>& visit) const {
  const std::lock_guard lock(mutex_);
  for (const auto& [number, entry] : entries_) visit(*entry.hosted);
}

}  // namespace pixembed
