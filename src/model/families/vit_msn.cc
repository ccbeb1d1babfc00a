#include <array>
#include <memory>
#include <string_view>

#include "src/model/families.h"
#include "src/model/families/vit.h"
#include "src/model/network.h"

namespace pixembed {

std::unique_ptr<Network> BuildVitMsn(const FamilyInput& input) {
  constexpr std::array<std::string_view, 1> kTokens = {"cls_token"};
  return BuildVitVariant(input, {.prefix = "vit.", .tokens = kTokens, .epsilon = 1e-6});
}

}  // namespace pixembed
