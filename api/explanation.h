// What the engine says of an image -> ImageExplanation.
#ifndef PIXEMBED_API_EXPLANATION_H_
#define PIXEMBED_API_EXPLANATION_H_

#include "api/embed_options.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/engine/engine.h"

namespace pixembed {

// REQUIRES: outcome.description has a value.
v1::ImageExplanation ToExplanation(const Outcome& outcome, const EmbedPlan& plan);

}  // namespace pixembed

#endif  // PIXEMBED_API_EXPLANATION_H_
