#include "server/outbox.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "src/engine/engine.h"

namespace pixembed {

void Outbox::Put(Arrival arrival) {
  {
    const std::lock_guard lock(mutex_);
    arrivals_.push_back(std::move(arrival));
  }
  event_.Set();
}

std::vector<Arrival> Outbox::Take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(arrivals_, {});
}

Item MakeItem(const Call& call, TimePoint deadline, EncodedImage image, const EmbedPlan& plan,
              const std::shared_ptr<Outbox>& outbox, std::uint64_t index, std::string id) {
  return {.image = std::move(image),
          .policy = plan.policy,
          .output = plan.output,
          .lane = plan.lane,
          .deadline = deadline,
          .stop = call.stop_token(),
          .done = [outbox, index, id = std::move(id)](absl::StatusOr<Outcome> outcome) mutable {
            outbox->Put({index, std::move(id), std::move(outcome)});
          }};
}

std::vector<Item> MakeItems(const Call& call,
                            const std::shared_ptr<const v1::EmbedRequest>& request,
                            const EmbedPlan& plan, const std::shared_ptr<Outbox>& outbox,
                            std::uint64_t first_index) {
  const TimePoint deadline = call.deadline();  // one for all: it looks at the clock
  std::vector<Item> items;
  items.reserve(request->images_size());
  for (const v1::Image& image : request->images()) {
    items.push_back(MakeItem(call, deadline,
                             {.bytes = std::as_bytes(std::span(image.data())), .owner = request},
                             plan, outbox, first_index + items.size(), image.id()));
  }
  return items;
}

}  // namespace pixembed
