// One EmbedStream call.
#ifndef PIXEMBED_SERVER_EMBED_STREAM_H_
#define PIXEMBED_SERVER_EMBED_STREAM_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "api/embed_options.h"
#include "api/in_order.h"
#include "api/served_model.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/completion_queue.h"
#include "server/image_stream.h"
#include "server/model_repository.h"
#include "server/outbox.h"
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

  const ModelRepository& models_;
  const RequestLimits& limits_;

  std::string model_;
  v1::EmbedOptions options_;
  std::optional<EmbedPlan> plan_;  // of the last request; absent before the first

  std::uint64_t next_index_ = 0;  // of the next image that is read
  InOrder<Arrival> in_order_;     // of results that go out in order
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_EMBED_STREAM_H_
