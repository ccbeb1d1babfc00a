#include "client/cpp/flight.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "client/cpp/client.h"
#include "client/cpp/result.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {
namespace {

constexpr std::size_t kFingerprintLength = 64;

std::size_t HeaderBytes(EmbedOptions options, bool ordered) {
  options.expected_fingerprint = std::string(kFingerprintLength, 'f');
  v1::EmbedRequest request;
  SetOptions(options, ordered, request);
  return request.ByteSizeLong();
}

}  // namespace

Flight::Flight(const EmbedOptions& options, const StreamOptions& stream_options)
    : stream_options_(stream_options),
      header_bytes_(HeaderBytes(options, stream_options.ordered)),
      options_(options) {}

bool Flight::WaitForRoom() {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] {
    return closed_ ||
           unanswered_.size() < static_cast<std::size_t>(stream_options_.max_in_flight_images);
  });
  return !closed_;
}

void Flight::Add(Item item) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] {
    return closed_ || unanswered_.empty() ||
           bytes_ + item.bytes <= stream_options_.max_in_flight_bytes;
  });
  bytes_ += item.bytes;
  const auto added = std::make_shared<Item>(std::move(item));
  unanswered_.emplace(added->index, added);
  ready_.push_back(added);
  sending_.notify_all();
}

void Flight::WaitUntilEmpty() {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return closed_ || unanswered_.empty(); });
}

void Flight::Complete() {
  const std::lock_guard lock(mutex_);
  complete_ = true;
  sending_.notify_all();
}

void Flight::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  room_.notify_all();
}

std::shared_ptr<const Flight::Item> Flight::Next() {
  std::unique_lock lock(mutex_);
  sending_.wait(lock, [&] { return call_ended_ || complete_ || !ready_.empty(); });
  if (call_ended_ || ready_.empty()) {
    return nullptr;
  }
  const std::shared_ptr<Item> item = std::move(ready_.front());
  ready_.pop_front();
  if (sent_count_ == 0) {
    SetOptions(options_, stream_options_.ordered, item->request);
  }
  sent_.emplace(sent_count_++, item);
  return item;
}

void Flight::EndCall() {
  const std::lock_guard lock(mutex_);
  call_ended_ = true;
  sending_.notify_all();
}

void Flight::Restart() {
  const std::lock_guard lock(mutex_);
  call_ended_ = false;
  sent_.clear();
  sent_count_ = 0;
  ready_.clear();
  for (const auto& [index, item] : unanswered_) {
    ready_.push_back(item);
  }
}

std::shared_ptr<const Flight::Item> Flight::Find(std::uint64_t number) const {
  const std::lock_guard lock(mutex_);
  const auto found = sent_.find(number);
  return found == sent_.end() ? nullptr : found->second;
}

void Flight::Remove(std::uint64_t number, const std::string& fingerprint) {
  const std::lock_guard lock(mutex_);
  const auto found = sent_.find(number);
  bytes_ -= found->second->bytes;
  unanswered_.erase(found->second->index);
  sent_.erase(found);
  any_answered_ = true;
  if (!fingerprint.empty()) {
    options_.expected_fingerprint = fingerprint;
  }
  room_.notify_all();
}

bool Flight::AnyAnswered() const {
  const std::lock_guard lock(mutex_);
  return any_answered_;
}

bool Flight::IsFinished() const {
  const std::lock_guard lock(mutex_);
  return complete_ && unanswered_.empty();
}

std::size_t Flight::unanswered() const {
  const std::lock_guard lock(mutex_);
  return unanswered_.size();
}

std::vector<std::shared_ptr<const Flight::Item>> Flight::TakeAll() {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Item>> all;
  all.reserve(unanswered_.size());
  for (auto& [index, item] : unanswered_) {
    all.push_back(std::move(item));
  }
  unanswered_.clear();
  return all;
}

}  // namespace pixembed::client
