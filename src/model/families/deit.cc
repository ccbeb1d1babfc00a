#include <array>
#include <memory>
#include <string_view>

#include "src/model/families.h"
#include "src/model/families/vit.h"
#include "src/model/network.h"

namespace pixembed {

std::unique_ptr<Network> BuildDeit(const FamilyInput& input) {
  constexpr std::array<std::string_view, 2> kTokens = {"cls_token", "distillation_token"};
  return BuildVitVariant(input, {.prefix = "deit.", .tokens = kTokens});
}

}  // namespace pixembed
