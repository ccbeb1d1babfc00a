// What `pixembed models` prints.
#ifndef PIXEMBED_CLIENT_CPP_MODEL_TABLE_H_
#define PIXEMBED_CLIENT_CPP_MODEL_TABLE_H_

#include <string>
#include <vector>

#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {

// A line for each model under a line of headings.
std::string ModelsAsTable(const std::vector<v1::Model>& models);

// {"models": [...]}, every field of pixembed.v1.Model under its name in the .proto.
std::string ModelsAsJson(const std::vector<v1::Model>& models);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_MODEL_TABLE_H_
