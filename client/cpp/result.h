// Messages of pixembed.v1 <-> the plain types of client.h.
#ifndef PIXEMBED_CLIENT_CPP_RESULT_H_
#define PIXEMBED_CLIENT_CPP_RESULT_H_

#include "client/cpp/client.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {

// All but the model, which stands beside them in a request; FLOAT32 vectors are asked for packed.
v1::EmbedOptions ToMessage(const EmbedOptions& options);

// Model and options of a request; FLOAT32 vectors are asked for packed.
void SetOptions(const EmbedOptions& options, bool ordered, v1::EmbedRequest& request);

// Takes the message's strings. A message that contradicts itself becomes DATA_LOSS.
Result ToResult(v1::EmbedResult message);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_RESULT_H_
