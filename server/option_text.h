// Options as words: what a form, a query, a JSON document or a parameter of KServe calls them.
#ifndef PIXEMBED_SERVER_OPTION_TEXT_H_
#define PIXEMBED_SERVER_OPTION_TEXT_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "pixembed/v1/embedding.pb.h"

namespace pixembed {

// Sets the field `name` of EmbedOptions. Enums are the names of their values without the prefix, in
// any case ("cls", "APPLY"); lists have commas ("-2,-1"); a background is "RRGGBB" or
// "red,green,blue"; normalize is "true" or "false". How a protocol packs its answer is no option
// here: `data_type`, `packed` and `ordered` do not exist. Errors: INVALID_OPTION names the option
// and its value, as Quoted, and what is possible.
absl::Status SetOption(std::string_view name, std::string_view text, v1::EmbedOptions& options);

// Whether SetOption knows the name.
bool IsOption(std::string_view name);

// "pooling, normalize, ...": every name that SetOption knows.
std::string OptionNames();

}  // namespace pixembed

#endif  // PIXEMBED_SERVER_OPTION_TEXT_H_
