// EmbedOptions -> what the engine needs; what the engine gives -> EmbedResult.
#ifndef PIXEMBED_API_EMBED_OPTIONS_H_
#define PIXEMBED_API_EMBED_OPTIONS_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/served_model.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"
#include "src/image/image.h"
#include "src/model/model.h"

namespace pixembed {

// How the images of a call are answered.
struct EmbedPlan {
  // To be let go of (SubmitPlan) when the images are submitted: an unload waits for it.
  std::shared_ptr<const ServedModel> model;
  std::shared_ptr<const v1::Model> description;  // the model's
  DecodePolicy policy;
  OutputSpec output;
  Lane lane = Lane::kOnline;
  bool packed = false;   // FLOAT32 as bytes
  bool ordered = false;  // EmbedStream: in the order of the images
  std::string fingerprint;
};

// The plan that a request asks for. `default_lane` stands for LANE_UNSPECIFIED.
// Errors: UNKNOWN_MODEL; INVALID_OPTION (an enum value that does not exist, a dimension out of
// range, and all that Model::CheckOutput refuses); FINGERPRINT_MISMATCH with both fingerprints.
absl::StatusOr<EmbedPlan> MakePlan(const ServedModels& models, const std::string& model,
                                   const v1::EmbedOptions& options, Lane default_lane);

// Engine::Submit for the model of `plan`, which lets go of it.
absl::Status SubmitPlan(Engine& engine, EmbedPlan& plan, std::vector<Item> items);

// Whether a request may hold so many images. `more`: how this caller can have more of them, "send
// them in several requests". Errors: EMPTY_REQUEST; TOO_MANY_IMAGES with both numbers, the flag and
// `more`.
absl::Status CheckImageCount(std::size_t images, const RequestLimits& limits,
                             std::string_view more);

// Writes down where the time of an image went.
void SetTimings(const Timings& timings, v1::Timings& times);

// Puts a vector, or the error of its image, into a result; index, id and fingerprint are the
// caller's to set. `retry_delay` is for RetryInfo.
void SetOutcome(const absl::StatusOr<Outcome>& outcome, const EmbedPlan& plan,
                std::chrono::milliseconds retry_delay, v1::EmbedResult& result);

}  // namespace pixembed

#endif  // PIXEMBED_API_EMBED_OPTIONS_H_
