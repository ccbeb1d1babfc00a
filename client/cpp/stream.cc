#include "client/cpp/stream.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/cpp/client.h"
#include "client/cpp/connections.h"
#include "client/cpp/flight.h"
#include "client/cpp/result.h"
#include "client/cpp/retry.h"
#include "client/cpp/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "pixembed/v1/embedding.grpc.pb.h"

namespace pixembed::client {
namespace {

using GrpcStream = grpc::ClientReaderWriter<v1::EmbedRequest, v1::EmbedResult>;

class Stream {
 public:
  Stream(Connections& connections, const ClientOptions& client, const EmbedOptions& options,
         const StreamOptions& stream_options, const ImageSource& next, const ResultSink& on_result)
      : connections_(connections),
        max_message_bytes_(client.max_message_bytes),
        ordered_(stream_options.ordered),
        stop_(stream_options.stop),
        next_(next),
        on_result_(on_result),
        attempts_(Attempts::OfStream(client, connections.addresses())),
        flight_(options, stream_options) {}

  absl::Status Run() {
    std::thread taker([this] { Take(); });
    absl::Status status = RunCalls();
    flight_.Close();
    taker.join();
    FailUnanswered(status);
    return status;
  }

 private:
  // The taker's thread: takes images until there are no more, or the stream is over.
  void Take() {
    for (std::uint64_t index = 0; flight_.WaitForRoom(); ++index) {
      std::optional<absl::StatusOr<Image>> image = next_();
      if (!image) {
        flight_.Complete();
        return;
      }
      Add(index, *std::move(image));
    }
  }

  void Add(std::uint64_t index, absl::StatusOr<Image> image) {
    if (!image.ok()) {
      DeliverUnsent(index, std::string(), image.status());
      return;
    }
    Flight::Item item{.index = index, .id = image->id, .bytes = image->data.size(), .request = {}};
    v1::Image& message = *item.request.add_images();
    message.set_data(std::move(image->data));
    message.set_id(std::move(image->id));
    const std::size_t size = item.request.ByteSizeLong() + flight_.header_bytes();
    if (size > max_message_bytes_) {
      DeliverUnsent(index, std::move(item.id),
                    absl::InvalidArgumentError(absl::StrCat(
                        "the image makes a message of ", size,
                        " bytes; max_message_bytes of the client is ", max_message_bytes_)));
      return;
    }
    flight_.Add(std::move(item));
  }

  // The caller's thread, as all that follows: call after call until the stream is over.
  absl::Status RunCalls() {
    const Connection* connection = &connections_.Next();
    for (;;) {
      const absl::Status status = RunCall(*connection);
      if (flight_.AnyAnswered() || !ErrorReason(status).empty()) {
        connections_.TellAnswered();
      }
      const bool away = IsAway(status);
      if (status.ok() || (away && flight_.IsFinished())) {
        return absl::OkStatus();
      }
      const auto pause =
          attempts_.Pause(status, connection->address, connections_.answered(), RetryClock::now());
      if (!pause) {
        return WithAddress(status, connection->address);
      }
      WaitUntil(RetryClock::now() + *pause, stop_);
      connection = Another(away && attempts_.failed_addresses().empty());
      if (stop_.stop_requested()) {
        return absl::CancelledError("the stream was stopped");
      }
      flight_.Restart();
    }
  }

  bool IsAway(const absl::Status& status) const {
    return absl::IsUnavailable(status) || (absl::IsCancelled(status) && !stop_.stop_requested());
  }

  // The connection of the next call. `all_away`: every address has failed since the last result.
  const Connection* Another(bool all_away) {
    // A server that was never there is only asked again.
    if (all_away && flight_.AnyAnswered()) {
      const Connection* const back = connections_.WaitUntilAnswered(attempts_.deadline(), stop_);
      if (back != nullptr) {
        return back;
      }
    }
    return &connections_.NextBut(attempts_.failed_addresses());
  }

  // One EmbedStream. OK only if all images are answered.
  absl::Status RunCall(const Connection& connection) {
    grpc::ClientContext context;
    const std::unique_ptr<GrpcStream> call = connection.embedding->EmbedStream(&context);
    const std::stop_callback cancel(stop_, [&] { context.TryCancel(); });
    std::thread writer([&] { WriteAll(*call); });
    absl::Status status = ReadAll(*call, context);
    flight_.EndCall();
    writer.join();
    // A server that answered nonsense is the reason, not the cancellation that followed.
    status.Update(FromGrpc(call->Finish()));
    if (status.ok() && !flight_.IsFinished()) {
      status = absl::DataLossError(absl::StrCat("the server ended the stream with ",
                                                flight_.unanswered(), " images unanswered"));
    }
    return status;
  }

  // The writer's thread, of one call.
  void WriteAll(GrpcStream& call) {
    while (const std::shared_ptr<const Flight::Item> item = flight_.Next()) {
      if (!call.Write(item->request)) {
        return;
      }
    }
    call.WritesDone();
  }

  // Until the server sends no more.
  absl::Status ReadAll(GrpcStream& call, grpc::ClientContext& context) {
    v1::EmbedResult message;
    while (call.Read(&message)) {
      const std::uint64_t number = message.index();
      const std::shared_ptr<const Flight::Item> item = flight_.Find(number);
      if (item == nullptr) {
        context.TryCancel();
        return absl::DataLossError(
            absl::StrCat("the server answered image ", number, ", which waits for no answer"));
      }
      attempts_.BeginAnew();
      Result result = ToResult(std::move(message));
      result.index = item->index;
      // Should another server go on with the stream, its vectors must be of the same space.
      const std::string fingerprint = result.embedding.ok() ? result.fingerprint : std::string();
      Deliver(std::move(result));
      // Only now, so that an image which fails unsent is not delivered before its predecessors.
      flight_.Remove(number, fingerprint);
    }
    return absl::OkStatus();
  }

  void DeliverUnsent(std::uint64_t index, std::string id, absl::Status status) {
    if (ordered_) {
      flight_.WaitUntilEmpty();
    }
    Deliver(Failed(index, std::move(id), std::move(status)));
  }

  void FailUnanswered(const absl::Status& status) {
    for (const std::shared_ptr<const Flight::Item>& item : flight_.TakeAll()) {
      Deliver(Failed(item->index, item->id, status));
    }
  }

  static Result Failed(std::uint64_t index, std::string id, absl::Status status) {
    return Result{.index = index, .id = std::move(id), .embedding = std::move(status)};
  }

  void Deliver(Result result) {
    const std::lock_guard lock(delivery_);
    on_result_(std::move(result));
  }

  Connections& connections_;
  const std::size_t max_message_bytes_;
  const bool ordered_;
  const std::stop_token stop_;
  const ImageSource& next_;
  const ResultSink& on_result_;
  Attempts attempts_;
  Flight flight_;
  std::mutex delivery_;
};

}  // namespace

absl::Status RunEmbedStream(Connections& connections, const ClientOptions& client,
                            const EmbedOptions& options, const StreamOptions& stream_options,
                            const ImageSource& next, const ResultSink& on_result) {
  return Stream(connections, client, options, stream_options, next, on_result).Run();
}

}  // namespace pixembed::client
