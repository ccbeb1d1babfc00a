// The activations of a feed-forward part. Internal to the room.
#ifndef PIXEMBED_SRC_MODEL_ACTIVATION_H_
#define PIXEMBED_SRC_MODEL_ACTIVATION_H_

#include <optional>
#include <string_view>

namespace pixembed {

// The "hidden_act" of a configuration. kNone is none of them: x itself.
enum class Activation { kNone, kGelu, kGeluTanh, kQuickGelu, kRelu, kSilu };

// By the name that config.json uses, where it is implemented.
// Source: transformers 5.23.0 activations.py ACT2CLS.
std::optional<Activation> ActivationByName(std::string_view name);
std::string_view ActivationName(Activation activation);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_ACTIVATION_H_
