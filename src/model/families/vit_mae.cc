#include <array>
#include <memory>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "src/error/error.h"
#include "src/model/architecture.h"
#include "src/model/families.h"
#include "src/model/families/vit.h"
#include "src/model/network.h"

// Source: transformers 5.23.0 models/vit_mae/modeling_vit_mae.py ViTMAEEmbeddings.random_masking.
namespace pixembed {

// The encoder over all patches. The reference shuffles them, which moves no pooled value beyond
// rounding: the positions are added before.
std::unique_ptr<Network> BuildVitMae(const FamilyInput& input) {
  ConfigReader config(input.config, input.weights);
  const double mask_ratio = config.Double("mask_ratio", 0.75, 0.0, 1.0);
  if (mask_ratio != 0.0) {
    config.Refuse(
        Reason::kUnsupportedModel,
        absl::StrCat("mask_ratio is ", mask_ratio,
                     ": the reference drops that part of the patches by chance, others at every "
                     "call, so that there is no vector to agree with; set \"mask_ratio\" to 0 for "
                     "the vector of all patches"));
  }
  constexpr std::array<std::string_view, 1> kTokens = {"cls_token"};
  return BuildVitVariant(input, {.prefix = "vit.", .tokens = kTokens});
}

}  // namespace pixembed
