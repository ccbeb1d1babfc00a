#include "server/completion_queue.h"

#include <grpc/support/time.h>
#include <pthread.h>

#include <coroutine>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace pixembed {

CompletionQueue::CompletionQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue)
    : queue_(std::move(queue)) {}

CompletionQueue::~CompletionQueue() {
  queue_->Shutdown();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    Run();  // gRPC wants a queue emptied before it is destroyed
  }
}

void CompletionQueue::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "calls");
    Run();
  });
}

void CompletionQueue::Run() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) static_cast<Completion*>(tag)->Complete(ok);
}

void Event::Set() {
  {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kWaiting) {
      state_ = State::kSet;
      return;
    }
    state_ = State::kClear;
  }
  // An alarm that is due at once is how a tag gets into a queue from outside. From here on the
  // waiter may run, and end.
  alarm_.Set(queue_.get(), gpr_inf_past(GPR_CLOCK_REALTIME), static_cast<Completion*>(this));
}

bool Event::Suspend(std::coroutine_handle<> waiter) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::kSet) {
    state_ = State::kClear;
    return false;
  }
  waiter_ = waiter;
  state_ = State::kWaiting;
  return true;
}

void Event::Complete(bool /*ok*/) {
  std::coroutine_handle<> waiter;
  {
    const std::lock_guard lock(mutex_);
    waiter = waiter_;
  }
  waiter.resume();  // last: it may end, and this with it
}

}  // namespace pixembed
