// One EmbedStream call.
#ifndef PIXEMBED_SERVER_EMBED_STREAM_H_
#define PIXEMBED_SERVER_EMBED_STREAM_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/completion_queue.h"
#include "server/embed_options.h"
#include "server/outbox.h"
#include "server/served_model.h"
#include "src/engine/engine.h"

namespace pixembed {

// Reads and writes at once: a reader that admits images, and a writer (Run) that sends results.
//
// An image is in flight from the moment it was read until its result was written. The reader reads
// no further while `window` images are in flight, or while a request waits for admission: that
// stops the client by flow control, and bounds what a stream holds, whatever the client does, to
// fewer than `window` images and one request.
//
// The stream ends when every result was written after the client half-closed (OK), after a request
// that cannot be served (its status), after the drain began (DRAINING; images without a result
// were not accepted), or when the call is cancelled.
class EmbedStream {
 public:
  // All references outlive the call.
  EmbedStream(Call& call, Engine& engine, const ServedModels& models, const RequestLimits& limits,
              std::size_t window, std::stop_token draining);

  // Serves the call; ends when it is finished. Once.
  Task Run();

 private:
  // What the engine's callbacks reach; outlives the stream when they do.
  struct Shared;

  Task ReadAll();
  // Admits the images of one message; on return `failure_` says whether reading can go on.
  Task Admit(grpc::ByteBuffer& bytes);
  // The first request's plan; later ones must agree with it.
  absl::Status CheckPlan(const v1::EmbedRequest& request);
  void FailImages(const v1::EmbedRequest& request, const absl::Status& status);
  // Adds `arrivals` to those that wait for their turn, and takes out those whose turn it is.
  std::vector<Arrival> InOrder(std::vector<Arrival> arrivals);
  Task Write(Arrival arrival);
  Task WriteArrivals();
  bool Stopping() const;
  bool Complete() const { return (reading_ended_ || Stopping()) && in_flight_ == 0; }
  absl::Status FinalStatus() const;

  Call& call_;
  Engine& engine_;
  const ServedModels& models_;
  const RequestLimits& limits_;
  const std::size_t window_;
  const std::stop_token draining_;
  const std::shared_ptr<Shared> shared_;

  std::string model_;
  v1::EmbedOptions options_;
  std::optional<EmbedPlan> plan_;  // absent before the first request

  std::uint64_t next_index_ = 0;            // of the next image that is read
  std::uint64_t next_ordered_ = 0;          // of the next result, if they go out in order
  std::map<std::uint64_t, Arrival> early_;  // those that wait for it
  std::size_t in_flight_ = 0;
  bool reading_ended_ = false;
  bool half_closed_ = false;
  bool broken_ = false;  // a write failed: nobody listens
  bool finishing_ = false;
  absl::Status failure_;  // why reading ended early
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_EMBED_STREAM_H_
