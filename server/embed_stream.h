// One EmbedStream call.
#ifndef PIXEMBED_SERVER_EMBED_STREAM_H_
#define PIXEMBED_SERVER_EMBED_STREAM_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/completion_queue.h"
#include "server/embed_options.h"
#include "server/image_stream.h"
#include "server/model_repository.h"
#include "server/outbox.h"
#include "server/served_model.h"
#include "src/engine/engine.h"

namespace pixembed {

// A result per image, as it comes or in order.
class EmbedStream final : public ImageStream {
 public:
  // All references outlive the call.
  EmbedStream(Call& call, Engine& engine, const ModelRepository& models,
              const RequestLimits& limits, std::size_t window, std::stop_token draining);

 private:
  Task Admit(grpc::ByteBuffer& bytes, absl::Status& failure) override;
  Task WriteReady(std::vector<Arrival> arrivals) override;

  // Plans a request. The first one's options stand for all; later ones must agree with them, and
  // the model must not have become another in the meantime.
  absl::Status CheckPlan(const v1::EmbedRequest& request);
  void FailImages(const v1::EmbedRequest& request, const absl::Status& status);
  // Adds `arrivals` to those that wait for their turn, and takes out those whose turn it is.
  std::vector<Arrival> InOrder(std::vector<Arrival> arrivals);

  const ModelRepository& models_;
  const RequestLimits& limits_;

  std::string model_;
  v1::EmbedOptions options_;
  std::optional<EmbedPlan> plan_;  // of the last request; absent before the first

  std::uint64_t next_index_ = 0;            // of the next image that is read
  std::uint64_t next_ordered_ = 0;          // of the next result, if they go out in order
  std::map<std::uint64_t, Arrival> early_;  // those that wait for it
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_EMBED_STREAM_H_
