#include <memory>

#include "src/model/families.h"
#include "src/model/families/vit.h"
#include "src/model/network.h"

namespace pixembed {

// Patches alone, without a class token.
std::unique_ptr<Network> BuildIjepa(const FamilyInput& input) {
  return BuildVitVariant(input, {.prefix = "ijepa.", .tokens = {}});
}

}  // namespace pixembed
