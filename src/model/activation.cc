#include "src/model/activation.h"

#include <array>
#include <optional>
#include <string_view>

namespace pixembed {
namespace {

struct ActivationRow {
  std::string_view name;
  Activation activation;
};

// The first name of an activation is the one that it is called by.
constexpr std::array kActivations = {
    ActivationRow{"gelu", Activation::kGelu},
    ActivationRow{"gelu_python", Activation::kGelu},
    ActivationRow{"gelu_pytorch_tanh", Activation::kGeluTanh},
    ActivationRow{"gelu_python_tanh", Activation::kGeluTanh},
    ActivationRow{"gelu_new", Activation::kGeluTanh},
    ActivationRow{"quick_gelu", Activation::kQuickGelu},
    ActivationRow{"relu", Activation::kRelu},
    ActivationRow{"silu", Activation::kSilu},
    ActivationRow{"swish", Activation::kSilu},
};

}  // namespace

std::optional<Activation> ActivationByName(std::string_view name) {
  for (const ActivationRow& row : kActivations) {
    if (row.name == name) return row.activation;
  }
  return std::nullopt;
}

std::string_view ActivationName(Activation activation) {
  for (const ActivationRow& row : kActivations) {
    if (row.activation == activation) return row.name;
  }
  return "none";
}

}  // namespace pixembed
