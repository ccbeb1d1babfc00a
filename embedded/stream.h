// Images of one caller on their way through an engine: what an EmbedStream call is, without a call.
#ifndef PIXEMBED_EMBEDDED_STREAM_H_
#define PIXEMBED_EMBEDDED_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"

namespace pixembed {

// Thread-safe. Bounded: at most `window` images between Submit and Take.
class Stream {
 public:
  // `plan.model` is held until the end. When `closing` is requested the stream is cancelled. The
  // engine outlives the stream.
  Stream(Engine& engine, EmbedPlan plan, std::size_t window, const std::stop_token& closing);
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  // Cancel. REQUIRES: no call is under way.
  ~Stream();

  // Takes an encoded image, and gives its number; blocks until there is room for it.
  // Errors: CANCELLED: also after End; DRAINING.
  absl::StatusOr<std::uint64_t> Submit(std::string image, TimePoint deadline);

  // No image will follow.
  void End();

  // Every result that is ready, at least one; waits for it. Nothing: the stream was ended and all
  // was taken. Errors: DEADLINE_EXCEEDED: none by `until`; CANCELLED.
  absl::StatusOr<std::optional<v1::EmbedResponse>> Take(TimePoint until);

  // Submit and Take fail from now on, those that wait as well.
  void Cancel();

 private:
  // What the engine's callbacks reach; outlives the stream when they do.
  struct Shared;

  Item MakeItem(std::string image, std::uint64_t index, TimePoint deadline) const;

  Engine& engine_;
  const EmbedPlan plan_;
  const std::size_t window_;
  const std::shared_ptr<Shared> shared_;
  std::optional<std::stop_callback<std::function<void()>>> on_closing_;
};

}  // namespace pixembed

#endif  // PIXEMBED_EMBEDDED_STREAM_H_
