#include "server/call.h"

#include <grpcpp/impl/rpc_method.h>
#include <grpcpp/impl/rpc_service_method.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

namespace pixembed {

CallCount::Era CallCount::Add() {
  const std::lock_guard lock(mutex_);
  ++(era_ == Era::kServing ? serving_ : draining_);
  return era_;
}

void CallCount::Remove(Era era) {
  const std::lock_guard lock(mutex_);
  --(era == Era::kServing ? serving_ : draining_);
  changed_.notify_all();  // under the lock: the waiter may destroy the count as soon as it is free
}

std::size_t CallCount::BeginDrain() {
  const std::lock_guard lock(mutex_);
  era_ = Era::kDraining;
  return serving_;
}

std::size_t CallCount::value() const {
  const std::lock_guard lock(mutex_);
  return serving_ + draining_;
}

void CallCount::WaitUntilZero() const {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return serving_ + draining_ == 0; });
}

std::size_t CallCount::WaitUntilServed(std::chrono::steady_clock::time_point deadline) const {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return serving_ == 0; });
  return serving_;
}

Call::Call(CompletionQueue& queue) : queue_(queue), stream_(&context_), done_(*this) {
  context_.AsyncNotifyWhenDone(static_cast<Completion*>(&done_));
}

std::chrono::steady_clock::time_point Call::deadline() const {
  using std::chrono::steady_clock;
  const auto deadline = context_.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) {
    return steady_clock::time_point::max();
  }
  // A timeout of years would overflow the steady clock's nanoseconds; it means the same as a day.
  const auto left = std::min<std::chrono::nanoseconds>(deadline - std::chrono::system_clock::now(),
                                                       std::chrono::hours(24 * 365));
  return steady_clock::now() + left;
}

void Call::Observe(CallObserver* observer, const char* method) {
  if (observer == nullptr) return;
  observer_ = observer;
  method_ = method;
  begun_ = std::chrono::steady_clock::now();
  observer->OnBegin(method);
}

void Call::Ending(grpc::StatusCode code) const {
  if (observer_ == nullptr) return;
  const auto now = std::chrono::steady_clock::now();
  // What is answered to a caller that is gone reaches nobody.
  if (stop_.stop_requested()) {
    code = deadline() <= now ? grpc::StatusCode::DEADLINE_EXCEEDED : grpc::StatusCode::CANCELLED;
  }
  observer_->OnEnd(method_, code, now - begun_);
}

void Call::Done::Complete(bool /*ok*/) {
  complete_ = true;
  if (call_.context_.IsCancelled()) call_.stop_.request_stop();
  // Last: the waiter destroys the call.
  if (waiter_) waiter_.resume();
}

std::vector<std::string_view> Call::authorization() const {
  std::vector<std::string_view> values;
  const auto [begin, end] = context_.client_metadata().equal_range("authorization");
  for (auto entry = begin; entry != end; ++entry) {
    values.emplace_back(entry->second.data(), entry->second.size());
  }
  return values;
}

RpcService::RpcService(std::vector<Method> methods, CallCheck check, CallCount& calls,
                       std::size_t max_calls, std::function<grpc::Status()> overloaded,
                       CallObserver* observer)
    : table_(std::move(methods)),
      check_(std::move(check)),
      calls_(calls),
      max_calls_(max_calls),
      overloaded_(std::move(overloaded)),
      observer_(observer) {
  using grpc::internal::RpcMethod;
  using grpc::internal::RpcServiceMethod;
  for (const Method& method : table_) {
    // gRPC owns it.
    AddMethod(new RpcServiceMethod(method.name, RpcMethod::BIDI_STREAMING, nullptr));
    MarkMethodRaw(static_cast<int>(&method - table_.data()));
    if (observer_ != nullptr) observer_->OnMethod(method.name);
  }
}

void RpcService::Accept(CompletionQueue& queue, int outstanding) {
  for (int method = 0; method < static_cast<int>(table_.size()); ++method) {
    const int calls = table_[method].brief ? 1 : outstanding;
    for (int i = 0; i < calls; ++i) AcceptMethod(queue, method);
  }
}

Detached RpcService::AcceptMethod(CompletionQueue& queue, int method) {
  for (;;) {
    std::unique_ptr<Call> call(new Call(queue));
    Call& next = *call;
    auto arrival = Operation([this, &next, method](void* tag) {
      auto* const cq = next.queue_.get();
      RequestAsyncBidiStreaming(method, &next.context_, &next.stream_, cq, cq, tag);
    });
    const bool arrived = co_await arrival;
    if (!arrived) co_return;  // the server shut down
    Serve(std::move(call), method);
  }
}

grpc::Status RpcService::Admit(const Call& call, const Method& method) const {
  if (!method.open) {
    if (grpc::Status status = check_(call); !status.ok()) return status;
  }
  const bool overloaded = !method.brief && calls_.value() >= max_calls_;
  return overloaded ? overloaded_() : grpc::Status::OK;
}

Detached RpcService::Serve(std::unique_ptr<Call> call, int method) {
  call->Observe(observer_, table_[method].name);
  const grpc::Status admission = Admit(*call, table_[method]);
  const CallCount::Era era = calls_.Add();
  if (!admission.ok()) {
    co_await call->Finish(admission);
  } else {
    co_await table_[method].handler(*call);
  }
  co_await call->done_;
  call.reset();
  calls_.Remove(era);
}

}  // namespace pixembed
