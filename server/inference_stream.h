// One ModelStreamInfer call.
#ifndef PIXEMBED_SERVER_INFERENCE_STREAM_H_
#define PIXEMBED_SERVER_INFERENCE_STREAM_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <stop_token>
#include <vector>

#include "absl/status/status.h"
#include "api/served_model.h"
#include "server/call.h"
#include "server/image_stream.h"
#include "server/inference_request.h"
#include "server/inference_statistics.h"
#include "server/model_repository.h"
#include "server/outbox.h"
#include "src/engine/engine.h"

namespace pixembed {

// A response per request, in the order of the requests. One that fails has an error_message, and
// the stream goes on; only a message that is no ModelInferRequest ends it.
class InferStream final : public ImageStream {
 public:
  // All references outlive the call.
  InferStream(Call& call, Engine& engine, const ModelRepository& models,
              const RequestLimits& limits, InferenceStatistics& statistics, std::size_t window,
              std::stop_token draining);

 private:
  // A request whose response was not yet written.
  struct Pending {
    InferRequest request;
    std::uint64_t first_index = 0;  // of its images, in the outbox
    std::size_t in_flight = 0;
  };

  Task Admit(grpc::ByteBuffer& bytes, absl::Status& failure) override;
  Task WriteReady(std::vector<Arrival> arrivals) override;

  void Put(Arrival arrival);
  Task WriteResponse(Pending& pending);

  const ModelRepository& models_;
  const RequestLimits& limits_;
  InferenceStatistics& statistics_;

  std::uint64_t next_index_ = 0;                  // of the next image that is read
  std::deque<std::unique_ptr<Pending>> pending_;  // in the order of the requests
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_INFERENCE_STREAM_H_
