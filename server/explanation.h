// What the engine says of an image -> ImageExplanation.
#ifndef PIXEMBED_SERVER_EXPLANATION_H_
#define PIXEMBED_SERVER_EXPLANATION_H_

#include "pixembed/v1/embedding.pb.h"
#include "server/embed_options.h"
#include "src/engine/engine.h"

namespace pixembed {

// REQUIRES: outcome.description has a value.
v1::ImageExplanation ToExplanation(const Outcome& outcome, const EmbedPlan& plan);

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_EXPLANATION_H_
