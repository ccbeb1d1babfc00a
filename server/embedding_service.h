// pixembed.v1.EmbeddingService: translates between the API and the engine, and computes nothing.
#ifndef PIXEMBED_SERVER_EMBEDDING_SERVICE_H_
#define PIXEMBED_SERVER_EMBEDDING_SERVICE_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <memory>
#include <stop_token>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/embed_options.h"
#include "api/served_model.h"
#include "pixembed/v1/embedding.pb.h"
#include "server/call.h"
#include "server/model_repository.h"
#include "server/outbox.h"
#include "src/engine/engine.h"

namespace pixembed {

// What it does per method: embedding.proto. Outlives its calls.
class EmbeddingService {
 public:
  // `stream_window`: images that a stream may have in flight. When `draining` is requested, streams
  // stop reading, finish what was accepted and end.
  // The engine and the models outlive the service.
  EmbeddingService(Engine& engine, const ModelRepository& models, const RequestLimits& limits,
                   std::size_t stream_window, std::stop_token draining);

  // One for each method of the service.
  std::vector<Method> Methods();

 private:
  // A request whose images are in the engine.
  struct Admitted {
    EmbedPlan plan;
    std::shared_ptr<Outbox> outbox;
    std::size_t images = 0;
  };

  Task Embed(Call& call);
  Task EmbedBatch(Call& call);
  Task EmbedStream(Call& call);
  Task ListModels(Call& call);
  Task GetModel(Call& call);
  Task ExplainImage(Call& call);

  // Whether a method sends its results in the order of the images.
  enum class Order { kKept, kAsTheyCome };

  // Parses an online request into `request` and plans what it asks for.
  template <typename Request>
  absl::StatusOr<EmbedPlan> ReadRequest(grpc::ByteBuffer& bytes, Request& request) const;
  absl::StatusOr<Admitted> Admit(const Call& call, Order order, grpc::ByteBuffer& bytes);
  // The outbox that one image's description goes to, and the plan that it is described for.
  struct Explaining {
    EmbedPlan plan;
    std::shared_ptr<Outbox> outbox;
  };
  absl::StatusOr<Explaining> Explain(const Call& call, grpc::ByteBuffer& bytes);
  Task Fail(Call& call, absl::Status failure);

  Engine& engine_;
  const ModelRepository& models_;
  const RequestLimits limits_;
  const std::size_t stream_window_;
  const std::stop_token draining_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_EMBEDDING_SERVICE_H_
