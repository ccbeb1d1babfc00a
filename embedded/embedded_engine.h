// An engine with the models that flags name, and the streams through it.
#ifndef PIXEMBED_EMBEDDED_EMBEDDED_ENGINE_H_
#define PIXEMBED_EMBEDDED_EMBEDDED_ENGINE_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/served_model.h"
#include "embedded/stream.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"
#include "src/launch/launch.h"

namespace pixembed {

// Thread-safe.
class EmbeddedEngine {
 public:
  // What pixembed_engine_open says. Several threads may call it at once.
  static absl::StatusOr<std::shared_ptr<EmbeddedEngine>> Open(std::span<const char* const> flags,
                                                              const Log& log);
  EmbeddedEngine(const EmbeddedEngine&) = delete;
  EmbeddedEngine& operator=(const EmbeddedEngine&) = delete;
  // As Close. The streams are gone.
  ~EmbeddedEngine() = default;

  v1::ListModelsResponse Models() const;

  // Blocks. Errors: MALFORMED_REQUEST, those of MakePlan and Engine::Submit, the image's.
  absl::StatusOr<v1::ImageExplanation> Explain(std::string_view request);

  // The engine outlives the stream. Errors: as Explain, without the image's.
  absl::StatusOr<std::unique_ptr<Stream>> OpenStream(std::string_view request);

  // Cancels every stream, refuses new work, and returns when nothing is worked on. Idempotent.
  void Close();

 private:
  EmbeddedEngine(std::unique_ptr<Engine> engine, ServedModels models, std::size_t window);

  const std::unique_ptr<Engine> engine_;
  const ServedModels models_;
  const std::size_t window_;
  std::stop_source closing_;
};

}  // namespace pixembed

#endif  // PIXEMBED_EMBEDDED_EMBEDDED_ENGINE_H_
