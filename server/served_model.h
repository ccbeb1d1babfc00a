// A model under its name, as the API describes it.
#ifndef PIXEMBED_SERVER_SERVED_MODEL_H_
#define PIXEMBED_SERVER_SERVED_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// What bounds a request.
struct RequestLimits {
  // Bytes of one request message. Flag: --max_message_bytes.
  std::size_t max_message_bytes = std::size_t{64} << 20;
  // Images of one request message. Flag: --max_request_images.
  std::size_t max_request_images = 256;
};

// Immutable, thread-safe.
class ServedModel {
 public:
  // `index` addresses the model in its engine.
  ServedModel(std::string name, std::size_t index, std::shared_ptr<const Model> model,
              const DecodeLimits& image_limits, const RequestLimits& request_limits);

  const std::string& name() const { return description_.name(); }
  std::size_t index() const { return index_; }
  const Model& model() const { return *model_; }
  // REQUIRES: the model has such vectors.
  std::string Fingerprint(const VectorSpace& space) const;
  const v1::Model& description() const { return description_; }

 private:
  std::size_t index_;
  std::shared_ptr<const Model> model_;
  std::map<Pooling, std::string> fingerprints_;
  v1::Model description_;
};

// The models of a server, by name. Immutable, thread-safe.
class ServedModels {
 public:
  // REQUIRES: at least one model; names differ.
  explicit ServedModels(std::vector<ServedModel> models) : models_(std::move(models)) {}

  const std::vector<ServedModel>& all() const { return models_; }
  // An empty name is the first model. Errors: UNKNOWN_MODEL (NOT_FOUND) names those that exist.
  absl::StatusOr<const ServedModel*> Find(std::string_view name) const;

 private:
  std::vector<ServedModel> models_;
};

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_SERVED_MODEL_H_
