// A model under its name, as the API describes it.
#ifndef PIXEMBED_API_SERVED_MODEL_H_
#define PIXEMBED_API_SERVED_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
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

// A model under its name. While there is one its model can be submitted to. Immutable, thread-safe.
class ServedModel {
 public:
  // `index` addresses the model in its engine.
  ServedModel(std::string name, std::size_t index, std::shared_ptr<const Model> model,
              const DecodeLimits& image_limits, const RequestLimits& request_limits);

  const std::string& name() const { return description_->name(); }
  std::size_t index() const { return index_; }
  const Model& model() const { return *model_; }
  // REQUIRES: the model has such vectors.
  std::string Fingerprint(const VectorSpace& space) const;
  // Outlives this, for who holds it.
  const std::shared_ptr<const v1::Model>& description() const { return description_; }

 private:
  std::size_t index_;
  std::shared_ptr<const Model> model_;
  std::map<Pooling, std::string> fingerprints_;
  std::shared_ptr<const v1::Model> description_;
};

// The models that a server serves at one moment, by name. Immutable, thread-safe.
class ServedModels {
 public:
  using Models = std::vector<std::shared_ptr<const ServedModel>>;

  // `default_name`: what an empty name means; empty: nothing. `absent`: why a model that might be
  // served is not, by name. REQUIRES: names differ.
  ServedModels(Models models, std::string default_name, std::map<std::string, std::string> absent)
      : models_(std::move(models)), default_(std::move(default_name)), absent_(std::move(absent)) {}

  const Models& all() const { return models_; }
  // An empty name is the default model. Errors: UNKNOWN_MODEL (NOT_FOUND) names those that are
  // served, and says why one that might be is not.
  absl::StatusOr<std::shared_ptr<const ServedModel>> Find(std::string_view name) const;

 private:
  Models models_;
  std::string default_;
  std::map<std::string, std::string> absent_;
};

}  // namespace pixembed

#endif  // PIXEMBED_API_SERVED_MODEL_H_
