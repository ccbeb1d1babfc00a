// A call that reads requests and writes results at once: what streams have in common.
#ifndef PIXEMBED_SERVER_IMAGE_STREAM_H_
#define PIXEMBED_SERVER_IMAGE_STREAM_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <stop_token>
#include <vector>

#include "absl/status/status.h"
#include "api/served_model.h"
#include "google/protobuf/message.h"
#include "server/call.h"
#include "server/outbox.h"
#include "src/engine/engine.h"

namespace pixembed {

// A reader that admits images, and a writer (Run) that sends results.
//
// An image is in flight from the moment it was read until its result was written. The reader reads
// no further while `window` images are in flight, or while a request waits for admission: that
// stops the client by flow control, and bounds what a stream holds, whatever the client does, to
// fewer than `window` images and one request.
//
// The stream ends when every result was written after the client half-closed (OK), after a request
// that cannot be served (its status), after the drain began (DRAINING; images without a result
// were not accepted), or when the call is cancelled.
class ImageStream {
 public:
  ImageStream(const ImageStream&) = delete;
  ImageStream& operator=(const ImageStream&) = delete;

  // Serves the call; ends when it is finished. Once.
  Task Run();

 protected:
  // All references outlive the call.
  ImageStream(Call& call, Engine& engine, std::size_t window, std::stop_token draining);
  ~ImageStream() = default;

  // Takes the images of one message. Not ok in `failure`: why the stream reads no further.
  virtual Task Admit(grpc::ByteBuffer& bytes, absl::Status& failure) = 0;
  // Writes what has become ready of what arrived.
  virtual Task WriteReady(std::vector<Arrival> arrivals) = 0;

  Call& call() const { return call_; }
  Engine& engine() const { return engine_; }
  // Where the items of the stream put their results.
  const std::shared_ptr<Outbox>& outbox() const;

  void AddInFlight(std::size_t images) { in_flight_ += images; }
  void RemoveInFlight(std::size_t images);

  // As Engine's; `admission` is what it said in the end.
  // Lets go of `model` before it waits.
  Task SubmitWhenRoom(std::shared_ptr<const ServedModel> model, std::vector<Item> items,
                      absl::Status& admission);

  // Sends a message, unless nobody listens any more.
  Task Write(const google::protobuf::Message& message);

 private:
  // What the engine's callbacks reach; outlives the stream when they do.
  struct Shared;

  Task ReadAll();
  bool Stopping() const;
  bool Complete() const { return (reading_ended_ || Stopping()) && in_flight_ == 0; }
  absl::Status FinalStatus() const;

  Call& call_;
  Engine& engine_;
  const std::size_t window_;
  const std::stop_token draining_;
  const std::shared_ptr<Shared> shared_;

  std::size_t in_flight_ = 0;
  bool reading_ended_ = false;
  bool half_closed_ = false;
  bool broken_ = false;  // a write failed: nobody listens
  bool finishing_ = false;
  absl::Status failure_;  // why reading ended early
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_IMAGE_STREAM_H_
