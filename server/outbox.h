// Where the engine puts the results of a call, for the call's coroutine to take.
#ifndef PIXEMBED_SERVER_OUTBOX_H_
#define PIXEMBED_SERVER_OUTBOX_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/completion_queue.h"
#include "src/engine/engine.h"

namespace pixembed {

// One image that is done.
struct Arrival {
  std::uint64_t index = 0;
  std::string id;
  absl::StatusOr<Outcome> outcome;
};

// Shared by a call and the items that it has in the engine; holds at most one arrival of each.
class Outbox {
 public:
  explicit Outbox(CompletionQueue& queue) : event_(queue) {}

  // From any thread; does not block.
  void Put(Arrival arrival);

  // Wakes the waiter without an arrival. From any thread.
  void Wake() { event_.Set(); }

  // co_await: until Put or Wake was called since the last wait.
  auto Wait() { return event_.Wait(); }

  // All that has arrived since the last call, in order of arrival; perhaps nothing.
  std::vector<Arrival> Take();

 private:
  std::mutex mutex_;
  std::vector<Arrival> arrivals_;  // guarded by mutex_
  Event event_;
};

// An item for one encoded image; its result goes to `outbox`, under this index and id. The bytes
// are not copied: the item shares their owner. `deadline` is the call's.
Item MakeItem(const Call& call, TimePoint deadline, EncodedImage image, const EmbedPlan& plan,
              const std::shared_ptr<Outbox>& outbox, std::uint64_t index, std::string id);

// An item for each image of `request`; their results go to `outbox`, with indices from
// `first_index`. The images' bytes are not copied: the items share the request.
std::vector<Item> MakeItems(const Call& call,
                            const std::shared_ptr<const v1::EmbedRequest>& request,
                            const EmbedPlan& plan, const std::shared_ptr<Outbox>& outbox,
                            std::uint64_t first_index);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_OUTBOX_H_
