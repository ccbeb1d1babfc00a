// One RPC, as a coroutine sees it, and the service that accepts them.
//
// Every method, unary or streaming, is served as a raw bidirectional stream of bytes (the wire is
// the same). Reading messages ourselves is what lets a malformed message be INVALID_ARGUMENT (gRPC
// would say INTERNAL), an oversize one name its flag, and a refused call be refused before its
// message is received.
#ifndef PIXEMBED_SERVER_CALL_H_
#define PIXEMBED_SERVER_CALL_H_

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <vector>

#include "server/completion_queue.h"

namespace pixembed {

class Call;
class RpcService;

// Serves one call and returns when its Finish has completed.
using Handler = std::function<Task(Call&)>;

// A method: its name on the wire, "/package.Service/Method" (a literal: gRPC keeps the pointer),
// and what serves it.
struct Method {
  const char* name;
  Handler handler;
  // Whether it is answered at once, from memory, or bounds by itself how many of its calls wait.
  // Such a method is served whatever the number of calls, and few of its calls are expected at a
  // time.
  bool brief = false;
  // Whether it is served to whoever calls, and so tells nothing that is worth a secret.
  bool open = false;
};

// Hears of calls, for metrics. `method` is its name on the wire. Thread-safe; must not block.
class CallObserver {
 public:
  CallObserver(const CallObserver&) = delete;
  CallObserver& operator=(const CallObserver&) = delete;
  virtual ~CallObserver() = default;

  // There is such a method.
  virtual void OnMethod(std::string_view method) = 0;
  virtual void OnBegin(std::string_view method) = 0;
  // The call is about to be answered with `code`, before its caller can know; or it was over
  // before, CANCELLED or DEADLINE_EXCEEDED.
  virtual void OnEnd(std::string_view method, grpc::StatusCode code,
                     std::chrono::nanoseconds took) = 0;

 protected:
  CallObserver() = default;
};

// Counts the calls that are being served, so that a shutdown can wait for them. Thread-safe.
class CallCount {
 public:
  // Calls that came before a drain are waited for; later ones, which are refused, may come without
  // end.
  enum class Era { kServing, kDraining };

  // A call begins, and ends. `era` is what Add said.
  Era Add();
  void Remove(Era era);

  // How many calls that leaves to be waited for.
  std::size_t BeginDrain();

  std::size_t value() const;
  void WaitUntilZero() const;
  // Waits until the calls that came before the drain have ended, or the deadline; how many have
  // not.
  std::size_t WaitUntilServed(std::chrono::steady_clock::time_point deadline) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  // All below are guarded by mutex_.
  Era era_ = Era::kServing;
  std::size_t serving_ = 0;
  std::size_t draining_ = 0;
};

// A call that was accepted. On the thread of its queue, except where noted. At most one Read and
// one Write or Finish at a time.
class Call {
 public:
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() = default;

  CompletionQueue& queue() const { return queue_; }

  // Requested when the call is over before it was finished: the caller cancelled, vanished or its
  // deadline passed. Callbacks run on the queue's thread.
  std::stop_token stop_token() const { return stop_.get_token(); }

  // The caller's deadline; time_point::max() if it set none.
  std::chrono::steady_clock::time_point deadline() const;

  // The values of `authorization` that the caller sent, as long as the call.
  std::vector<std::string_view> authorization() const;

  // Ends the call with CANCELLED, as if its caller had; what is awaited completes. Thread-safe.
  void Cancel() { context_.TryCancel(); }

  // co_await: the next message. False: the caller half-closed, or the call is over.
  auto Read(grpc::ByteBuffer* message) {
    return Operation([this, message](void* tag) { stream_.Read(message, tag); });
  }

  // co_await: sends a message. False: the call is over. Never with gRPC's buffer hint: in 1.51 a
  // hinted write may complete only when a later one is flushed, which waits for it.
  auto Write(const grpc::ByteBuffer& message) {
    return Operation([this, &message](void* tag) { stream_.Write(message, tag); });
  }

  // co_await: ends the call. Exactly once, as the last operation.
  auto Finish(const grpc::Status& status) {
    Ending(status.error_code());
    return Operation([this, &status](void* tag) { stream_.Finish(status, tag); });
  }

  // co_await: a last message and OK in one.
  auto WriteAndFinish(const grpc::ByteBuffer& message) {
    Ending(grpc::StatusCode::OK);
    return Operation([this, &message](void* tag) {
      stream_.WriteAndFinish(message, grpc::WriteOptions(), grpc::Status::OK, tag);
    });
  }

 private:
  friend class RpcService;

  // gRPC's word that it is done with the call.
  class Done final : public Completion {
   public:
    explicit Done(Call& call) : call_(call) {}
    void Complete(bool ok) override;

    bool await_ready() const noexcept { return complete_; }
    void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
    void await_resume() const noexcept {}

   private:
    Call& call_;
    bool complete_ = false;
    std::coroutine_handle<> waiter_;
  };

  explicit Call(CompletionQueue& queue);

  // To be told of this call, from its beginning, which is now.
  void Observe(CallObserver* observer, const char* method);
  void Ending(grpc::StatusCode code) const;

  CompletionQueue& queue_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer> stream_;
  std::stop_source stop_;
  Done done_;
  CallObserver* observer_ = nullptr;
  const char* method_ = "";  // for the observer, as the next
  std::chrono::steady_clock::time_point begun_;
};

// What a call is asked before anything of it is read; OK, or the status that it ends with.
using CallCheck = std::function<grpc::Status(const Call&)>;

// A gRPC service made of handlers. Every call of every service of the server begins here. Outlives
// its calls.
class RpcService final : public grpc::Service {
 public:
  // A call that `check` refuses is finished with what it says, unless its method is open; so is,
  // with `overloaded`, a call beyond `max_calls` (counted in `calls`, which several services may
  // share), unless its method is brief. Both before their message is read. `observer` hears of
  // every call, and may be null; it outlives the service.
  RpcService(std::vector<Method> methods, CallCheck check, CallCount& calls, std::size_t max_calls,
             std::function<grpc::Status()> overloaded, CallObserver* observer);

  // Accepts calls on `queue`, `outstanding` of each method at a time waiting for their client; of a
  // brief one, one.
  // After the server started, before the queue does.
  void Accept(CompletionQueue& queue, int outstanding);

 private:
  Detached AcceptMethod(CompletionQueue& queue, int method);
  Detached Serve(std::unique_ptr<Call> call, int method);
  // OK, or what the call ends with.
  grpc::Status Admit(const Call& call, const Method& method) const;

  const std::vector<Method> table_;
  const CallCheck check_;
  CallCount& calls_;
  const std::size_t max_calls_;
  const std::function<grpc::Status()> overloaded_;
  CallObserver* const observer_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_CALL_H_
