// The walk of one image: admission -> decode stage -> inference stage -> done.
//
// Knows models only through model.h (torch-free) and callers only through Item. No gRPC.
#ifndef PIXEMBED_SRC_ENGINE_ENGINE_H_
#define PIXEMBED_SRC_ENGINE_ENGINE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

using TimePoint = std::chrono::steady_clock::time_point;

// Bytes of an encoded image and whoever keeps them alive (a gRPC message, a string, a mapping).
struct EncodedImage {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

enum class Lane {
  kOnline,  // a person or a service waits
  // Fills the room that online traffic leaves: in a batch (on a GPU, where it costs nothing), on
  // idle workers, and in the queue, of which it may hold half.
  kBulk,
};

// Where the time of one image went.
struct Timings {
  std::chrono::nanoseconds decode{0};   // decode + resize, on a decode thread
  std::chrono::nanoseconds queue{0};    // waiting, before decode and before inference
  std::chrono::nanoseconds compute{0};  // the batch's forward
  int batch_size = 0;
};

struct Outcome {
  Embedding embedding;
  Timings timings;
  // Of an item that is only to be described: this, and no embedding.
  std::optional<ImageDescription> description;
};

// One image on its way.
struct Item {
  EncodedImage image;
  DecodePolicy policy;
  OutputSpec output;
  Lane lane = Lane::kOnline;
  // Say what the decode stage does to the image, and end there.
  bool describe = false;
  // After it the image is not decoded and not computed any more: DEADLINE_EXCEEDED.
  TimePoint deadline = TimePoint::max();
  // When stop is requested the image is not decoded and not computed any more: CANCELLED.
  std::stop_token stop;
  // Called exactly once for an admitted item, on a thread of the engine (or on Drain's, for an item
  // that it cuts off). Must not block and must not call the engine's Drain or destructor. Submit
  // may be called: the item's room is free already. A vector that is not finite never comes, but
  // NON_FINITE_VECTOR.
  absl::AnyInvocable<void(absl::StatusOr<Outcome>)> done;
};

// Hears what becomes of images that are to be embedded (not of those that are only described), for
// metrics. Thread-safe. Called on the engine's threads and on its callers'; must not block, and
// must not call the engine.
class EngineObserver {
 public:
  EngineObserver(const EngineObserver&) = delete;
  EngineObserver& operator=(const EngineObserver&) = delete;
  virtual ~EngineObserver() = default;

  // Submit, or SubmitWhenRoom, refused an image of the model of this number.
  virtual void OnRefused(std::size_t model, Lane lane, const absl::Status& why) = 0;

  // An image of `encoded_bytes` is done, `inside` after it was admitted. Once for each admitted
  // image, before its `done`.
  virtual void OnDone(std::size_t model, Lane lane, std::size_t encoded_bytes,
                      std::chrono::nanoseconds inside, const absl::StatusOr<Outcome>& outcome) = 0;

  // The forward of a batch of so many images took `compute` on so many of capacity_units
  // (EngineStats). Before the OnDone of its images.
  virtual void OnBatch(std::size_t model, std::size_t images, std::chrono::nanoseconds compute,
                       int units) = 0;

 protected:
  EngineObserver() = default;
};

struct EngineOptions {
  DecodeLimits limits;
  // Cores that the engine may use. 0: what the cgroup and the affinity allow.
  int cores = 0;
  // Threads of the decode stage. 0: `cores`.
  int decode_threads = 0;
  // Inference workers per device. 0: `cores` on a CPU, 2 on a GPU.
  int workers_per_device = 0;
  // Images per batch. 0: 1 where a model is one_by_one; else 32 on a GPU; on a CPU each model's
  // best_batch_size (ModelInfo), of which options() has the largest, or 4 without any model.
  int max_batch_size = 0;
  // On a GPU: how long an idle worker may wait for images that the decode stage is about to
  // deliver. It never waits when none are on their way, and on a CPU not at all.
  std::chrono::nanoseconds max_queue_delay = std::chrono::milliseconds(2);
  // Admission: images, and encoded bytes, that may be inside the engine at once.
  std::size_t max_queued_images = 1024;
  std::size_t max_queued_bytes = std::size_t{1} << 30;
  // Decoded pixels of the decode stage, bytes: a thread waits before it decodes past this.
  std::size_t max_decoded_bytes = std::size_t{1} << 30;
  // Batch sizes that each worker runs per model, in this order, before it is served. Empty: 1; on a
  // GPU the maximum and what batches are padded to below it (PaddedBatchSize), each twice, for
  // there a runner may record what it does. On a CPU it would multiply the time until a server is
  // ready, and the first full batch takes no longer without.
  std::vector<int> warm_up_batch_sizes;
  // What the models are on. Empty: what those of Start are on; to be given where there are none.
  std::vector<Device> devices;
  // Whether models to come take images one by one (ModelInfo), as those of Start may.
  bool one_by_one = false;
  // Takes a line for the log, about batches that a device has no memory for. Called on the workers'
  // threads, in the warm-up too; may be empty.
  std::function<void(const std::string&)> warn = nullptr;
  // May be null.
  std::shared_ptr<EngineObserver> observer = nullptr;
};

// A moment's picture, for tests, logs and metrics.
struct EngineStats {
  std::size_t queued_images = 0;  // admitted, not done
  std::size_t queued_bytes = 0;
  std::size_t decoding_bytes = 0;  // decoded-pixel budget in use
  std::uint64_t admitted = 0;
  std::uint64_t refused = 0;
  std::uint64_t completed = 0;  // done with a vector or a description
  std::uint64_t failed = 0;     // done with a status
  std::uint64_t batches = 0;
  // What batches run on: cores, or on a GPU workers.
  int capacity_units = 0;
  // How long, at the measured rates, what is inside or in line keeps the capacity busy: what an
  // image of this lane would wait if it came now. 0 before anything was measured.
  std::chrono::nanoseconds online_wait{0};
  std::chrono::nanoseconds bulk_wait{0};
};

// Thread-safe.
class Engine {
 public:
  // Starts the threads, makes the runners and warms them up: ready when it returns. Models are
  // addressed by a number, which for these is their index in `models`; all have the same devices.
  // Errors: INVALID_OPTION (an option out of range: both numbers in the text), and those of
  // Model::NewRunner and Runner::Embed during warm-up; NON_FINITE_VECTOR: what a model gives then
  // is not finite.
  static absl::StatusOr<std::unique_ptr<Engine>> Start(
      std::vector<std::shared_ptr<const Model>> models, EngineOptions options);

  // Drains without a deadline, then joins.
  virtual ~Engine() = default;

  // Takes one more model in, beside those that are served, and returns its number, which no other
  // ever has, when it is ready. Its runners are made and warmed up on the workers' own threads, one
  // worker after the other, between batches of the other models and on one core: these lose no
  // more than that. Blocks for as long as it takes; several callers take turns.
  // Errors: INVALID_OPTION: it is on other devices; DRAINING; those of Model::NewRunner and
  // Runner::Embed; NON_FINITE_VECTOR. Then nothing of it is left.
  // REQUIRES: not called from `done`, nor while the engine is destroyed.
  virtual absl::StatusOr<std::size_t> Add(std::shared_ptr<const Model> model) = 0;

  // Takes a model out: what comes for it from now on is refused, what was submitted is finished,
  // that in line for room as well. Returns when nothing of it is left: its runners are destroyed,
  // on the threads that made them, and the engine holds the model no more.
  // Errors: UNKNOWN_MODEL: there is none of that number.
  // REQUIRES: as Add.
  virtual absl::Status Remove(std::size_t model) = 0;

  // Takes all items or none; never blocks. On failure no `done` is called.
  // Errors: OVERLOADED (RESOURCE_EXHAUSTED): full by count or bytes; DRAINING (UNAVAILABLE);
  // DEADLINE_TOO_SHORT (DEADLINE_EXCEEDED): the measured rate cannot meet an item's deadline;
  // UNKNOWN_MODEL: there is no model of that number, any more.
  // REQUIRES: every output passed CheckOutput.
  virtual absl::Status Submit(std::size_t model, std::vector<Item> items) = 0;

  // As Submit, but waits in line (first come, first served) where Submit would answer OVERLOADED;
  // for streams, whose back-pressure is that they read no further until `admitted`. `admitted` is
  // called once, perhaps before this returns: OK when the items are in, DRAINING or UNKNOWN_MODEL
  // when they never will be, CANCELLED when the first item's `stop` was requested while they
  // waited. OK comes before the first `done`. Items larger than the whole budget are admitted when
  // the engine is otherwise empty.
  virtual void SubmitWhenRoom(std::size_t model, std::vector<Item> items,
                              absl::AnyInvocable<void(absl::Status)> admitted) = 0;

  // How long a refused caller should wait: the time in which the queue, at the measured rate, has
  // room again. At least 1 ms.
  virtual std::chrono::milliseconds RetryDelay() const = 0;

  // Refuses new work (DRAINING), finishes what was admitted, returns when nothing is left. Those
  // still inside at `deadline` are finished with DRAINING. Idempotent.
  // Errors: DEADLINE_EXCEEDED with the number of items that were cut off.
  virtual absl::Status Drain(TimePoint deadline) = 0;

  virtual EngineStats stats() const = 0;
  // The options with every 0 replaced by what was chosen.
  virtual const EngineOptions& options() const = 0;
  // The model of a number; nullptr where there is none, any more.
  virtual std::shared_ptr<const Model> model(std::size_t number) const = 0;

 protected:
  Engine() = default;
};

}  // namespace pixembed

#endif  // PIXEMBED_SRC_ENGINE_ENGINE_H_
