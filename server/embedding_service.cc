#include "server/embedding_service.h"

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "api/explanation.h"
#include "api/served_model.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/embed_stream.h"
#include "server/message.h"
#include "server/outbox.h"
#include "server/status.h"
#include "src/engine/engine.h"
#include "src/error/error.h"

namespace pixembed {

EmbeddingService::EmbeddingService(Engine& engine, const ModelRepository& models,
                                   const RequestLimits& limits, std::size_t stream_window,
                                   std::stop_token draining)
    : engine_(engine),
      models_(models),
      limits_(limits),
      stream_window_(stream_window),
      draining_(std::move(draining)) {}

std::vector<Method> EmbeddingService::Methods() {
  return {
      {"/pixembed.v1.EmbeddingService/Embed", [this](Call& call) { return Embed(call); }},
      {"/pixembed.v1.EmbeddingService/EmbedBatch", [this](Call& call) { return EmbedBatch(call); }},
      {"/pixembed.v1.EmbeddingService/EmbedStream",
       [this](Call& call) { return EmbedStream(call); }},
      {"/pixembed.v1.EmbeddingService/ListModels", [this](Call& call) { return ListModels(call); }},
      {"/pixembed.v1.EmbeddingService/GetModel", [this](Call& call) { return GetModel(call); }},
      {"/pixembed.v1.EmbeddingService/ExplainImage",
       [this](Call& call) { return ExplainImage(call); }},
  };
}

template <typename Request>
absl::StatusOr<EmbedPlan> EmbeddingService::ReadRequest(grpc::ByteBuffer& bytes,
                                                        Request& request) const {
  if (absl::Status status = ParseMessage(bytes, limits_.max_message_bytes, request); !status.ok()) {
    return status;
  }
  return MakePlan(*models_.served(), request.model(), request.options(), Lane::kOnline);
}

absl::StatusOr<EmbeddingService::Admitted> EmbeddingService::Admit(const Call& call, Order order,
                                                                   grpc::ByteBuffer& bytes) {
  const auto request = std::make_shared<v1::EmbedRequest>();
  absl::StatusOr<EmbedPlan> plan = ReadRequest(bytes, *request);
  if (!plan.ok()) return plan.status();
  if (plan->ordered && order == Order::kAsTheyCome) {
    return MakeError(Reason::kInvalidOption,
                     "options.ordered is not kept by EmbedBatch; Embed and EmbedStream keep it");
  }
  const auto images = static_cast<std::size_t>(request->images_size());
  constexpr std::string_view kMore = "EmbedStream takes any number, in several messages";
  if (absl::Status status = CheckImageCount(images, limits_, kMore); !status.ok()) return status;
  auto outbox = std::make_shared<Outbox>(call.queue());
  if (absl::Status status = SubmitPlan(engine_, *plan, MakeItems(call, request, *plan, outbox, 0));
      !status.ok()) {
    return status;
  }
  return Admitted{.plan = *std::move(plan), .outbox = std::move(outbox), .images = images};
}

Task EmbeddingService::Fail(Call& call, absl::Status failure) {
  const grpc::Status status = ToGrpcStatus(failure, engine_.RetryDelay());
  co_await call.Finish(status);
}

Task EmbeddingService::Embed(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  const absl::StatusOr<Admitted> admitted =
      received ? Admit(call, Order::kKept, bytes) : NoMessage();
  if (!admitted.ok()) {
    co_await Fail(call, admitted.status());
    co_return;
  }
  v1::EmbedResponse response;
  response.set_model(admitted->plan.description->name());
  response.set_fingerprint(admitted->plan.fingerprint);
  for (std::size_t i = 0; i < admitted->images; ++i) response.add_results()->set_index(i);
  for (std::size_t left = admitted->images; left > 0;) {
    co_await admitted->outbox->Wait();
    for (Arrival& arrival : admitted->outbox->Take()) {
      v1::EmbedResult& result = *response.mutable_results(static_cast<int>(arrival.index));
      result.set_id(std::move(arrival.id));
      SetOutcome(arrival.outcome, admitted->plan, engine_.RetryDelay(), result);
      --left;
    }
  }
  const grpc::ByteBuffer message = SerializeMessage(response);
  co_await call.WriteAndFinish(message);
}

Task EmbeddingService::EmbedBatch(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  const absl::StatusOr<Admitted> admitted =
      received ? Admit(call, Order::kAsTheyCome, bytes) : NoMessage();
  if (!admitted.ok()) {
    co_await Fail(call, admitted.status());
    co_return;
  }
  bool listening = true;
  for (std::size_t left = admitted->images; left > 0;) {
    co_await admitted->outbox->Wait();
    std::vector<Arrival> arrivals = admitted->outbox->Take();
    left -= arrivals.size();
    for (Arrival& arrival : arrivals) {
      if (!listening) break;  // the rest is cancelled, but still has to come
      v1::EmbedResult result;
      result.set_index(arrival.index);
      result.set_id(std::move(arrival.id));
      SetOutcome(arrival.outcome, admitted->plan, engine_.RetryDelay(), result);
      if (arrival.outcome.ok()) result.set_fingerprint(admitted->plan.fingerprint);
      const grpc::ByteBuffer message = SerializeMessage(result);
      listening = co_await call.Write(message);
    }
  }
  co_await call.Finish(grpc::Status::OK);
}

Task EmbeddingService::EmbedStream(Call& call) {
  pixembed::EmbedStream stream(call, engine_, models_, limits_, stream_window_, draining_);
  co_await stream.Run();
}

Task EmbeddingService::ListModels(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  v1::ListModelsRequest request;
  const absl::Status status =
      received ? ParseMessage(bytes, limits_.max_message_bytes, request) : NoMessage();
  if (!status.ok()) {
    co_await Fail(call, status);
    co_return;
  }
  v1::ListModelsResponse response;
  {
    const std::shared_ptr<const ServedModels> served = models_.served();
    for (const auto& model : served->all()) *response.add_models() = *model->description();
  }
  const grpc::ByteBuffer message = SerializeMessage(response);
  co_await call.WriteAndFinish(message);
}

Task EmbeddingService::GetModel(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  v1::GetModelRequest request;
  absl::Status status =
      received ? ParseMessage(bytes, limits_.max_message_bytes, request) : NoMessage();
  if (status.ok()) {
    std::shared_ptr<const v1::Model> description;  // and no more: the client may read slowly
    {
      const auto model = models_.served()->Find(request.name());
      if (model.ok()) description = (*model)->description();
      status = model.status();
    }
    if (description != nullptr) {
      const grpc::ByteBuffer message = SerializeMessage(*description);
      co_await call.WriteAndFinish(message);
      co_return;
    }
  }
  co_await Fail(call, status);
}

absl::StatusOr<EmbeddingService::Explaining> EmbeddingService::Explain(const Call& call,
                                                                       grpc::ByteBuffer& bytes) {
  const auto request = std::make_shared<v1::ExplainImageRequest>();
  absl::StatusOr<EmbedPlan> plan = ReadRequest(bytes, *request);
  if (!plan.ok()) return plan.status();
  const auto outbox = std::make_shared<Outbox>(call.queue());
  std::vector<Item> items;
  items.push_back(MakeItem(call, call.deadline(),
                           {.bytes = std::as_bytes(std::span(request->data())), .owner = request},
                           *plan, outbox, /*index=*/0, /*id=*/""));
  items.front().describe = true;
  if (absl::Status status = SubmitPlan(engine_, *plan, std::move(items)); !status.ok()) {
    return status;
  }
  return Explaining{*std::move(plan), outbox};
}

Task EmbeddingService::ExplainImage(Call& call) {
  grpc::ByteBuffer bytes;
  const bool received = co_await call.Read(&bytes);
  const absl::StatusOr<Explaining> explaining = received ? Explain(call, bytes) : NoMessage();
  if (!explaining.ok()) {
    co_await Fail(call, explaining.status());
    co_return;
  }
  std::vector<Arrival> arrivals;
  while (arrivals.empty()) {
    co_await explaining->outbox->Wait();
    arrivals = explaining->outbox->Take();
  }
  const absl::StatusOr<Outcome>& outcome = arrivals.front().outcome;
  if (!outcome.ok()) {
    co_await Fail(call, outcome.status());
    co_return;
  }
  const grpc::ByteBuffer message = SerializeMessage(ToExplanation(*outcome, explaining->plan));
  co_await call.WriteAndFinish(message);
}

}  // namespace pixembed
