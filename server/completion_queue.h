// C++20 coroutines over gRPC's completion queues.
//
// Why not gRPC's callback API: in 1.51 its pollers sleep up to 100 ms after a second without
// events.
//
// One queue has one thread, and whatever belongs to a call happens on the thread of the queue that
// accepted it: a handler is written as if it were alone in the process. It never blocks; it
// co_awaits gRPC's operations and Events, which other threads set.
#ifndef PIXEMBED_SERVER_COMPLETION_QUEUE_H_
#define PIXEMBED_SERVER_COMPLETION_QUEUE_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#if defined(__clang__) && !defined(__cpp_impl_coroutine)
#define __cpp_impl_coroutine 201902L  // clang 14 implements coroutines, and does not say so
#endif
#include <coroutine>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace pixembed {

// Receives the completion of one gRPC operation; its address, as Completion*, is the tag.
class Completion {
 public:
  // On the queue's thread. `ok` as gRPC defines it for the operation.
  virtual void Complete(bool ok) = 0;

 protected:
  ~Completion() = default;
};

// A completion queue and its thread.
class CompletionQueue {
 public:
  explicit CompletionQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue);
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;
  // Shuts the queue down, runs what is pending, joins the thread.
  // REQUIRES: the server was shut down; no call is alive.
  ~CompletionQueue();

  // Starts the thread. Call once, after the server started.
  void Start();

  grpc::ServerCompletionQueue* get() { return queue_.get(); }

 private:
  void Run();

  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::thread thread_;
};

// One operation of gRPC as an awaitable: `start(tag)` starts it, the result of co_await is gRPC's
// `ok`. On the queue's thread.
template <typename Start>
class Operation final : private Completion {
 public:
  explicit Operation(Start start) : start_(std::move(start)) {}

  static bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    start_(static_cast<Completion*>(this));
  }
  bool await_resume() const noexcept { return ok_; }

 private:
  void Complete(bool ok) override {
    ok_ = ok;
    waiter_.resume();
  }

  Start start_;
  std::coroutine_handle<> waiter_;
  bool ok_ = false;
};

// Wakes one coroutine, on its queue's thread, from any thread. Each wake-up may stand for several
// Sets, and Sets are remembered until the next Wait: check the state that the event is about in a
// loop around it.
class Event final : private Completion {
 public:
  // Waits on `queue`, which outlives the event.
  explicit Event(CompletionQueue& queue) : queue_(queue) {}
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() = default;

  // Thread-safe; does not block and does not run the waiter. The caller keeps the event alive
  // during the call (the waiter may have ended before it returns).
  void Set();

  // co_await event.Wait(): until Set was called since the last wait. On the queue's thread, one
  // coroutine at a time.
  auto Wait() { return Waiter{*this}; }

 private:
  struct Waiter {
    Event& event;
    static bool await_ready() noexcept { return false; }
    // False: it was set already, go on.
    bool await_suspend(std::coroutine_handle<> waiter) { return event.Suspend(waiter); }
    void await_resume() const noexcept {}
  };
  enum class State { kClear, kSet, kWaiting };

  bool Suspend(std::coroutine_handle<> waiter);
  void Complete(bool ok) override;

  CompletionQueue& queue_;
  std::mutex mutex_;
  State state_ = State::kClear;     // guarded by mutex_
  std::coroutine_handle<> waiter_;  // guarded by mutex_
  grpc::Alarm alarm_;
};

// A coroutine that starts at once and is waited for with co_await; for handlers and their parts.
// On one thread. REQUIRES: it has ended when the task is destroyed.
class [[nodiscard]] Task {
 public:
  class promise_type {  // NOLINT(readability-identifier-naming): the language's name
   public:
    Task get_return_object() { return Task(Handle::from_promise(*this)); }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    static auto final_suspend() noexcept { return Continue{}; }
    static void return_void() noexcept {}
    [[noreturn]] static void unhandled_exception() noexcept { std::terminate(); }

   private:
    friend class Task;
    struct Continue;
    using Handle = std::coroutine_handle<promise_type>;
    struct Continue {
      static bool await_ready() noexcept { return false; }
      static std::coroutine_handle<> await_suspend(Handle ended) noexcept {
        return ended.promise().continuation_;
      }
      static void await_resume() noexcept {}
    };
    std::coroutine_handle<> continuation_ = std::noop_coroutine();
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool done() const { return handle_.done(); }

  bool await_ready() const noexcept { return handle_.done(); }
  void await_suspend(std::coroutine_handle<> waiter) const {
    handle_.promise().continuation_ = waiter;
  }
  void await_resume() const noexcept {}

 private:
  using Handle = std::coroutine_handle<promise_type>;
  explicit Task(Handle handle) : handle_(handle) {}

  Handle handle_;
};

// A coroutine that starts at once, belongs to nobody and frees itself when it ends.
struct Detached {
  struct promise_type {  // NOLINT(readability-identifier-naming): the language's name
    static Detached get_return_object() noexcept { return {}; }
    static std::suspend_never initial_suspend() noexcept { return {}; }
    static std::suspend_never final_suspend() noexcept { return {}; }
    static void return_void() noexcept {}
    [[noreturn]] static void unhandled_exception() noexcept { std::terminate(); }
  };
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_COMPLETION_QUEUE_H_
