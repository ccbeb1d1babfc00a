// The C ABI: handles, codes and bytes around EmbeddedEngine. Nothing is thrown across it.
#include "embedded/pixembed_engine.h"

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "api/status.h"
#include "embedded/embedded_engine.h"
#include "embedded/stream.h"
#include "google/protobuf/message_lite.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "src/launch/launch.h"

struct pixembed_engine {
  std::shared_ptr<pixembed::EmbeddedEngine> engine;
  pid_t process;
};

struct pixembed_stream {
  std::shared_ptr<pixembed::EmbeddedEngine> engine;  // outlives `stream`
  std::unique_ptr<pixembed::Stream> stream;
  pid_t process;
};

namespace pixembed {
namespace {

// The process that opened the first engine; 0: none has. LibTorch's threads are its.
std::atomic<pid_t> first_process = 0;

bool IsHere(pid_t process) { return process == getpid(); }

absl::Status CheckProcess(pid_t process) {
  if (IsHere(process)) return absl::OkStatus();
  return MakeError(
      Reason::kUnusableProcess,
      absl::StrCat("the engine was opened in process ", process, ", of which this, ", getpid(),
                   ", is a fork: open it in processes that are started "
                   "anew (Python's multiprocessing: \"spawn\")"));
}

// The code, which is google.rpc.Code's. Where there is no memory for the text the code has to do.
int Write(const google::protobuf::MessageLite& message, pixembed_bytes* bytes) {
  const std::size_t size = message.ByteSizeLong();
  void* const data = std::malloc(size + 1);
  if (data == nullptr) return static_cast<int>(absl::StatusCode::kResourceExhausted);
  message.SerializeWithCachedSizesToArray(static_cast<std::uint8_t*>(data));
  *bytes = {data, size};
  return PIXEMBED_OK;
}

int Fail(const absl::Status& status, std::chrono::milliseconds retry_delay, pixembed_bytes* error) {
  if (error != nullptr) (void)Write(ToRpcStatus(status, retry_delay), error);
  return static_cast<int>(status.code());
}

// Runs the body of a function of the ABI, which gives its code or a status.
int Guarded(pixembed_bytes* error, const std::function<absl::StatusOr<int>()>& body) {
  constexpr std::chrono::milliseconds kRetryDelay(1);  // of OUT_OF_MEMORY alone
  if (error != nullptr) *error = {nullptr, 0};
  try {
    try {
      const absl::StatusOr<int> code = body();
      return code.ok() ? *code : Fail(code.status(), kRetryDelay, error);
    } catch (const std::bad_alloc&) {
      return Fail(MakeError(Reason::kOutOfMemory, "there is no memory"), kRetryDelay, error);
    } catch (const std::exception& exception) {
      return Fail(absl::InternalError(exception.what()), kRetryDelay, error);
    }
  } catch (...) {  // while it was being told
    return static_cast<int>(absl::StatusCode::kResourceExhausted);
  }
}

// When `milliseconds` from now are over; below 0, and where the clock ends, never.
TimePoint After(std::int64_t milliseconds) {
  const TimePoint now = std::chrono::steady_clock::now();
  const std::chrono::milliseconds timeout(milliseconds);
  if (milliseconds < 0 ||
      timeout > std::chrono::floor<std::chrono::milliseconds>(TimePoint::max() - now)) {
    return TimePoint::max();
  }
  return now + timeout;
}

std::string_view Bytes(const void* data, std::size_t size) {
  return {static_cast<const char*>(data), size};
}

absl::StatusOr<pixembed_engine*> Open(std::span<const char* const> flags, const Log& log) {
  pid_t process = 0;
  if (!first_process.compare_exchange_strong(process, getpid())) {
    if (absl::Status status = CheckProcess(process); !status.ok()) return status;
  }
  auto engine = EmbeddedEngine::Open(flags, log);
  if (!engine.ok()) return engine.status();
  return new pixembed_engine{*std::move(engine), getpid()};
}

}  // namespace
}  // namespace pixembed

using namespace pixembed;  // NOLINT(google-build-using-namespace): what follows is extern "C"

int pixembed_engine_abi(void) { return PIXEMBED_ENGINE_ABI; }

void pixembed_bytes_free(pixembed_bytes* bytes) {
  std::free(bytes->data);
  *bytes = {nullptr, 0};
}

int pixembed_engine_open(const char* const* flags, size_t flag_count, pixembed_log log,
                         void* context, pixembed_engine** engine, pixembed_bytes* error) {
  *engine = nullptr;
  return Guarded(error, [&]() -> absl::StatusOr<int> {
    // `log` is only called on this thread: what an engine's own threads say later is dropped.
    const auto write = [log, context, opener = std::this_thread::get_id()](
                           LogLevel level, const std::string& line) {
      if (log == nullptr || std::this_thread::get_id() != opener) return;
      log(context, level == LogLevel::kWarning ? 1 : 0, line.c_str());
    };
    const absl::StatusOr<pixembed_engine*> opened = Open({flags, flag_count}, write);
    if (!opened.ok()) return opened.status();
    *engine = *opened;
    return PIXEMBED_OK;
  });
}

int pixembed_engine_models(const pixembed_engine* engine, pixembed_bytes* response,
                           pixembed_bytes* error) {
  *response = {nullptr, 0};
  return Guarded(
      error, [&]() -> absl::StatusOr<int> { return Write(engine->engine->Models(), response); });
}

int pixembed_engine_explain(pixembed_engine* engine, const void* request, size_t size,
                            pixembed_bytes* response, pixembed_bytes* error) {
  *response = {nullptr, 0};
  return Guarded(error, [&]() -> absl::StatusOr<int> {
    if (absl::Status status = CheckProcess(engine->process); !status.ok()) return status;
    const auto explanation = engine->engine->Explain(Bytes(request, size));
    if (!explanation.ok()) return explanation.status();
    return Write(*explanation, response);
  });
}

void pixembed_engine_close(pixembed_engine* engine) {
  if (engine == nullptr || !IsHere(engine->process)) return;
  (void)Guarded(nullptr, [&]() -> absl::StatusOr<int> {
    engine->engine->Close();
    return PIXEMBED_OK;
  });
  delete engine;
}

int pixembed_stream_open(pixembed_engine* engine, const void* request, size_t size,
                         pixembed_stream** stream, pixembed_bytes* error) {
  *stream = nullptr;
  return Guarded(error, [&]() -> absl::StatusOr<int> {
    if (absl::Status status = CheckProcess(engine->process); !status.ok()) return status;
    auto opened = engine->engine->OpenStream(Bytes(request, size));
    if (!opened.ok()) return opened.status();
    *stream = new pixembed_stream{engine->engine, *std::move(opened), engine->process};
    return PIXEMBED_OK;
  });
}

int pixembed_stream_submit(pixembed_stream* stream, const void* image, size_t size,
                           int64_t timeout_ms, uint64_t* index, pixembed_bytes* error) {
  return Guarded(error, [&]() -> absl::StatusOr<int> {
    if (absl::Status status = CheckProcess(stream->process); !status.ok()) return status;
    const auto submitted =
        stream->stream->Submit(std::string(Bytes(image, size)), After(timeout_ms));
    if (!submitted.ok()) return submitted.status();
    if (index != nullptr) *index = *submitted;
    return PIXEMBED_OK;
  });
}

void pixembed_stream_end(pixembed_stream* stream) {
  if (IsHere(stream->process)) stream->stream->End();
}

int pixembed_stream_take(pixembed_stream* stream, int64_t timeout_ms, pixembed_bytes* response,
                         pixembed_bytes* error) {
  *response = {nullptr, 0};
  return Guarded(error, [&]() -> absl::StatusOr<int> {
    if (absl::Status status = CheckProcess(stream->process); !status.ok()) return status;
    const auto taken = stream->stream->Take(After(timeout_ms));
    // Not failures: they are asked for again and again.
    if (absl::IsDeadlineExceeded(taken.status())) return PIXEMBED_DEADLINE_EXCEEDED;
    if (!taken.ok()) return taken.status();
    if (!taken->has_value()) return PIXEMBED_OUT_OF_RANGE;
    return Write(**taken, response);
  });
}

void pixembed_stream_cancel(pixembed_stream* stream) {
  if (IsHere(stream->process)) stream->stream->Cancel();
}

void pixembed_stream_close(pixembed_stream* stream) {
  if (stream == nullptr || !IsHere(stream->process)) return;
  delete stream;
}
