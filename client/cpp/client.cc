#include "client/cpp/client.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cpp/channel.h"
#include "client/cpp/connections.h"
#include "client/cpp/result.h"
#include "client/cpp/retry.h"
#include "client/cpp/status.h"
#include "client/cpp/stream.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

}  // namespace

struct Client::Rep {
  Rep(ClientOptions client_options, const std::vector<NamedChannel>& channels)
      : options(std::move(client_options)), connections(channels) {}

  const ClientOptions options;
  Connections connections;

  // Runs call(connection, context) until it succeeds or may not be tried again. `most`: attempts,
  // where the client's options do not say.
  template <typename Call>
  absl::Status Unary(Call call, std::optional<int> most = std::nullopt) {
    const RetryClock::time_point deadline = DeadlineAfter(options.timeout);
    Attempts attempts = Attempts::OfCall(options, connections.addresses(), deadline, most);
    for (;;) {
      const Connection& connection = connections.NextBut(attempts.failed_addresses());
      grpc::ClientContext context;
      context.set_deadline(deadline);
      absl::Status status = FromGrpc(call(connection, context));
      if (status.ok() || !ErrorReason(status).empty()) {
        connections.TellAnswered();
      }
      if (status.ok()) {
        return status;
      }
      const auto pause =
          attempts.Pause(status, connection.address, connections.answered(), RetryClock::now());
      if (!pause) {
        return WithAddress(status, connection.address);
      }
      WaitUntil(RetryClock::now() + *pause);
    }
  }
};

Client::Client(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::vector<std::string>& addresses,
                                                        const ClientOptions& options) {
  if (absl::Status status = CheckClientOptions(addresses, options); !status.ok()) {
    return status;
  }
  return std::unique_ptr<Client>(
      new Client(std::make_unique<Rep>(options, MakeChannels(addresses, options))));
}

absl::StatusOr<std::vector<Result>> Client::Embed(std::vector<Image> images,
                                                  const EmbedOptions& options) {
  v1::EmbedRequest request;
  SetOptions(options, /*ordered=*/false, request);
  for (Image& image : images) {
    v1::Image& message = *request.add_images();
    message.set_data(std::move(image.data));
    message.set_id(std::move(image.id));
  }
  if (const std::size_t size = request.ByteSizeLong(); size > rep_->options.max_message_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request has ", size, " bytes; max_message_bytes of the client is ",
                     rep_->options.max_message_bytes, "; EmbedStream has no limit"));
  }
  v1::EmbedResponse response;
  absl::Status status =
      rep_->Unary([&](const Connection& connection, grpc::ClientContext& context) {
        return connection.embedding->Embed(&context, request, &response);
      });
  if (!status.ok()) {
    return status;
  }
  if (response.results_size() != request.images_size()) {
    return absl::DataLossError(absl::StrCat("the server answered ", response.results_size(), " of ",
                                            request.images_size(), " images"));
  }
  std::vector<Result> results;
  results.reserve(response.results_size());
  for (v1::EmbedResult& message : *response.mutable_results()) {
    results.push_back(ToResult(std::move(message)));
    results.back().fingerprint = response.fingerprint();
  }
  return results;
}

absl::Status Client::EmbedStream(const EmbedOptions& options, const StreamOptions& stream_options,
                                 const ImageSource& next, const ResultSink& on_result) {
  if (stream_options.max_in_flight_images < 1) {
    return absl::InvalidArgumentError(absl::StrCat("max_in_flight_images is ",
                                                   stream_options.max_in_flight_images,
                                                   "; it must be at least 1"));
  }
  return RunEmbedStream(rep_->connections, rep_->options, options, stream_options, next, on_result);
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels() {
  const v1::ListModelsRequest request;
  v1::ListModelsResponse response;
  absl::Status status =
      rep_->Unary([&](const Connection& connection, grpc::ClientContext& context) {
        return connection.embedding->ListModels(&context, request, &response);
      });
  if (!status.ok()) {
    return status;
  }
  return std::vector<v1::Model>(response.models().begin(), response.models().end());
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name) {
  v1::GetModelRequest request;
  request.set_name(name);
  v1::Model model;
  absl::Status status =
      rep_->Unary([&](const Connection& connection, grpc::ClientContext& context) {
        return connection.embedding->GetModel(&context, request, &model);
      });
  if (!status.ok()) {
    return status;
  }
  return model;
}

absl::StatusOr<v1::ImageExplanation> Client::ExplainImage(std::string data,
                                                          const EmbedOptions& options) {
  v1::ExplainImageRequest request;
  request.set_model(options.model);
  *request.mutable_options() = ToMessage(options);
  request.set_data(std::move(data));
  v1::ImageExplanation explanation;
  absl::Status status =
      rep_->Unary([&](const Connection& connection, grpc::ClientContext& context) {
        return connection.embedding->ExplainImage(&context, request, &explanation);
      });
  if (!status.ok()) {
    return status;
  }
  return explanation;
}

absl::StatusOr<Health> Client::CheckHealth(const std::string& service) {
  HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  absl::Status status = rep_->Unary(
      [&](const Connection& connection, grpc::ClientContext& context) {
        return connection.health->Check(&context, request, &response);
      },
      kProbes);
  if (!status.ok()) {
    return status;
  }
  return response.status() == HealthCheckResponse::SERVING ? Health::kServing : Health::kNotServing;
}

absl::Status Client::WaitUntilServing(const std::string& service,
                                      std::chrono::milliseconds timeout) {
  const RetryClock::time_point deadline = RetryClock::now() + timeout;
  const Connection& connection = rep_->connections.Next();
  HealthCheckRequest request;
  request.set_service(service);
  for (;;) {
    grpc::ClientContext context;
    context.set_deadline(deadline);
    context.set_wait_for_ready(true);
    const auto reader = connection.health->Watch(&context, request);
    HealthCheckResponse response;
    bool serving = false;
    bool unknown = false;
    while (!serving && !unknown && reader->Read(&response)) {
      serving = response.status() == HealthCheckResponse::SERVING;
      unknown = response.status() == HealthCheckResponse::SERVICE_UNKNOWN;
    }
    context.TryCancel();
    const absl::Status status = FromGrpc(reader->Finish());
    if (serving) {
      return absl::OkStatus();
    }
    if (unknown) {
      return absl::NotFoundError(absl::StrCat("the server has no service \"", service, "\""));
    }
    if (absl::IsDeadlineExceeded(status)) {
      return absl::DeadlineExceededError(
          absl::StrCat(connection.address, " was not SERVING within ",
                       absl::FormatDuration(absl::FromChrono(timeout))));
    }
    if (!absl::IsUnavailable(status)) {
      return status.ok() ? absl::DataLossError("the server ended Watch") : status;
    }
    // The server went away: a breath, so that one which takes connections and drops them is not
    // asked without a pause.
    WaitUntil(std::min(deadline, RetryClock::now() + std::chrono::milliseconds(50)));
  }
}

}  // namespace pixembed::client
