#include "server/embed_stream.h"

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "api/embed_options.h"
#include "google/protobuf/util/message_differencer.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/image_stream.h"
#include "server/message.h"
#include "server/model_repository.h"
#include "server/outbox.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {

using google::protobuf::util::MessageDifferencer;

EmbedStream::EmbedStream(Call& call, Engine& engine, const ModelRepository& models,
                         const RequestLimits& limits, std::size_t window, std::stop_token draining)
    : ImageStream(call, engine, window, std::move(draining)), models_(models), limits_(limits) {}

Task EmbedStream::Admit(grpc::ByteBuffer& bytes, absl::Status& failure) {
  const auto request = std::make_shared<v1::EmbedRequest>();
  const std::size_t size = bytes.Length();
  // A message over the limit is parsed all the same, up to gRPC's own limit: one image that is too
  // big must not end a stream of a million.
  failure = ParseMessage(bytes, std::numeric_limits<std::size_t>::max(), *request);
  if (failure.ok()) failure = CheckPlan(*request);
  if (!failure.ok()) co_return;
  if (size > limits_.max_message_bytes) {
    plan_->model.reset();
    FailImages(*request, MessageTooLarge(size, limits_.max_message_bytes));
    co_return;
  }
  const auto count = static_cast<std::size_t>(request->images_size());
  if (count == 0) {
    plan_->model.reset();
    co_return;
  }
  std::vector<Item> items = MakeItems(call(), request, *plan_, outbox(), next_index_);
  next_index_ += count;
  AddInFlight(count);
  co_await SubmitWhenRoom(std::move(plan_->model), std::move(items), failure);
  if (!failure.ok()) RemoveInFlight(count);  // none of them will arrive
}

absl::Status EmbedStream::CheckPlan(const v1::EmbedRequest& request) {
  const auto images = static_cast<std::size_t>(request.images_size());
  if (images > 0) {  // a message of a stream may be without
    constexpr std::string_view kMore = "the stream takes any number, in several messages";
    if (absl::Status status = CheckImageCount(images, limits_, kMore); !status.ok()) return status;
  }
  if (!plan_.has_value()) {
    model_ = request.model();
    options_ = request.options();
  }
  if (!request.model().empty() && request.model() != model_) {
    return MakeError(Reason::kInvalidOption,
                     absl::StrCat("a later request of the stream names model \"", request.model(),
                                  "\", the first one named \"", model_, "\""));
  }
  if (request.options().ByteSizeLong() > 0 &&
      !MessageDifferencer::Equals(request.options(), options_)) {
    return MakeError(Reason::kInvalidOption,
                     "a later request of the stream has other options than the first one");
  }
  absl::StatusOr<EmbedPlan> plan = MakePlan(*models_.served(), model_, options_, Lane::kBulk);
  if (!plan.ok()) return plan.status();
  if (plan_.has_value() && plan->fingerprint != plan_->fingerprint) {
    return MakeError(Reason::kFingerprintMismatch,
                     absl::StrCat("model \"", plan->description->name(),
                                  "\" was reloaded and has another fingerprint, ",
                                  plan->fingerprint, " instead of ", plan_->fingerprint,
                                  "; images without a result were not accepted"));
  }
  plan_ = *std::move(plan);
  return absl::OkStatus();
}

void EmbedStream::FailImages(const v1::EmbedRequest& request, const absl::Status& status) {
  for (const v1::Image& image : request.images()) {
    AddInFlight(1);
    outbox()->Put({next_index_++, image.id(), status});
  }
}

Task EmbedStream::WriteReady(std::vector<Arrival> arrivals) {
  if (plan_.has_value() && plan_->ordered) arrivals = in_order_.Pass(std::move(arrivals));
  for (Arrival& arrival : arrivals) {
    v1::EmbedResult result;
    result.set_index(arrival.index);
    result.set_id(std::move(arrival.id));
    SetOutcome(arrival.outcome, *plan_, engine().RetryDelay(), result);
    if (arrival.outcome.ok()) result.set_fingerprint(plan_->fingerprint);
    co_await Write(result);
    RemoveInFlight(1);
  }
}

}  // namespace pixembed
