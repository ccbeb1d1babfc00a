#include "server/health_service.h"

#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/message.h"
#include "server/status.h"
#include "src/error/error.h"

namespace pixembed {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// A service name; nothing here is ever longer.
constexpr std::size_t kMaxRequestBytes = 64 << 10;
constexpr std::chrono::seconds kRetryDelay(1);

grpc::ByteBuffer Response(HealthService::Status status) {
  HealthCheckResponse response;
  response.set_status(status);
  return SerializeMessage(response);
}

absl::StatusOr<std::string> ReadName(bool received, grpc::ByteBuffer& bytes) {
  if (!received) return NoMessage();
  HealthCheckRequest request;
  if (absl::Status status = ParseMessage(bytes, kMaxRequestBytes, request); !status.ok()) {
    return status;
  }
  return request.service();
}

}  // namespace

HealthService::HealthService(const std::vector<std::string>& names, std::stop_token closing)
    : closing_(std::move(closing)) {
  for (const std::string& name : names) up_[name] = true;
}

void HealthService::Set(const std::string& name, bool up) {
  const std::lock_guard lock(mutex_);
  up_[name] = up;
  WakeWatches();
}

void HealthService::Serve() {
  const std::lock_guard lock(mutex_);
  serving_ = true;
  WakeWatches();
}

void HealthService::Drain() {
  const std::lock_guard lock(mutex_);
  serving_ = false;
  WakeWatches();
}

void HealthService::WakeWatches() const {
  for (const std::shared_ptr<Event>& watch : watches_) watch->Set();
}

std::vector<Method> HealthService::Methods() {
  return {{.name = "/grpc.health.v1.Health/Check",
           .handler = [this](Call& call) { return Check(call); },
           .open = true},
          {.name = "/grpc.health.v1.Health/Watch",
           .handler = [this](Call& call) { return Watch(call); },
           .open = true}};
}

std::optional<HealthService::Status> HealthService::Find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = up_.find(name);
  if (found == up_.end()) return std::nullopt;
  return serving_ && found->second ? HealthCheckResponse::SERVING
                                   : HealthCheckResponse::NOT_SERVING;
}

Task HealthService::Check(Call& call) const {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  const absl::StatusOr<std::string> name = ReadName(received, bytes);
  absl::Status failure = name.status();
  if (name.ok()) {
    if (const std::optional<Status> status = Find(*name); status.has_value()) {
      const grpc::ByteBuffer response = Response(*status);
      co_await call.WriteAndFinish(response);
      co_return;
    }
    failure = MakeError(Reason::kUnknownModel,
                        absl::StrCat("no service or model named \"", *name, "\" is served"));
  }
  const grpc::Status status = ToGrpcStatus(failure, kRetryDelay);
  co_await call.Finish(status);
}

Task HealthService::Watch(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  const absl::StatusOr<std::string> name = ReadName(received, bytes);
  absl::Status end = name.status();
  if (name.ok()) {
    const auto changed = std::make_shared<Event>(call.queue());
    {
      const std::lock_guard lock(mutex_);
      watches_.insert(changed);
    }
    const std::stop_callback on_close(closing_, [&changed] { changed->Set(); });
    const std::stop_callback on_end(call.stop_token(), [&changed] { changed->Set(); });
    std::optional<Status> told;
    while (!closing_.stop_requested() && !call.stop_token().stop_requested()) {
      const Status now = Find(*name).value_or(HealthCheckResponse::SERVICE_UNKNOWN);
      if (told == now) {
        co_await changed->Wait();
        continue;
      }
      const grpc::ByteBuffer response = Response(now);
      const bool written = co_await call.Write(response);
      if (!written) break;
      told = now;
    }
    {
      const std::lock_guard lock(mutex_);
      watches_.erase(changed);
    }
    end = MakeError(Reason::kDraining, "the server is shutting down");
  }
  const grpc::Status status = ToGrpcStatus(end, kRetryDelay);
  co_await call.Finish(status);
}

}  // namespace pixembed
