// What `pixembed explain` prints.
#ifndef PIXEMBED_CLIENT_CPP_EXPLANATION_TEXT_H_
#define PIXEMBED_CLIENT_CPP_EXPLANATION_TEXT_H_

#include <string>

#include "pixembed/v1/embedding.pb.h"

namespace pixembed::client {

// A line for each step that the image takes, for a person.
std::string ExplanationAsText(const std::string& path, const v1::ImageExplanation& image);

// {"image": path, ...}: every field of ImageExplanation under its name in the .proto, on one line.
std::string ExplanationAsJson(const std::string& path, const v1::ImageExplanation& explanation);

}  // namespace pixembed::client

#endif  // PIXEMBED_CLIENT_CPP_EXPLANATION_TEXT_H_
