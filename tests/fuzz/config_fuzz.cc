// Any text as config.json and as preprocessor_config.json: either values in range, or
// CHECKPOINT_CORRUPT, or UNSUPPORTED_PROCESSOR.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"

namespace {

using pixembed::Backend;
using pixembed::Config;
using pixembed::Reason;

void Require(bool condition) {
  if (!condition) std::abort();
}

void RequireNamed(const absl::Status& status) {
  if (status.ok()) return;
  const auto reason = pixembed::ReasonOf(status);
  Require(reason == Reason::kCheckpointCorrupt || reason == Reason::kUnsupportedProcessor);
}

// However long the values, an error stays readable.
constexpr std::size_t kMaxErrorBytes = 2048;

// Every getter on every key.
void ReadAll(const Config& config) {
  for (const std::string& key : config.Keys()) {
    Require(config.Has(key));
    Require(config.KindOf(key) != Config::Kind::kAbsent);
    Require(config.Describe(key).size() < config.origin().size() + 8 * key.size() + 1024);
    const auto integer = config.Int(key, 1, 0, 100);
    RequireNamed(integer.status());
    if (integer.ok()) Require(*integer >= 0 && *integer <= 100);
    const auto number = config.Double(key, 1, -1, 1);
    RequireNamed(number.status());
    if (number.ok()) Require(*number >= -1 && *number <= 1);
    const auto size = config.SquareOrPair(key, {1, 1}, 1, 1000);
    RequireNamed(size.status());
    if (size.ok()) Require(size->height >= 1 && size->width <= 1000);
    const auto numbers = config.Numbers(key, {}, 0, 1);
    RequireNamed(numbers.status());
    RequireNamed(config.Bool(key, false).status());
    RequireNamed(config.Bools(key, {}).status());
    RequireNamed(config.String(key, "").status());
    const auto section = config.Section(key);
    RequireNamed(section.status());
    if (section.ok()) RequireNamed(section->Int("hidden_size", 1, 1, 2).status());
  }
}

void CheckProcessor(const Config& config, std::string_view model_type, Backend backend) {
  const auto processor = pixembed::ParseProcessor(config, model_type, backend);
  RequireNamed(processor.status());
  Require(processor.status().message().size() < kMaxErrorBytes);
  if (!processor.ok()) return;
  const pixembed::PreprocessSpec& spec = processor->spec;
  Require(!processor->type.empty());
  // Two classes exist in one backend only.
  Require(spec.backend == backend || model_type == "timm_wrapper" || spec.rescale_first);
  if (spec.resize) {
    const auto& [exact, shortest_edge, longest_edge, cover, fit, patches] = *spec.resize;
    int forms = (shortest_edge > 0 ? 1 : 0) + (patches ? 1 : 0);
    for (const auto& size : {exact, cover, fit}) {
      if (!size) continue;
      Require(size->height > 0 && size->width > 0);
      ++forms;
    }
    Require(forms == 1);
    if (patches) Require(patches->patch > 0 && patches->max_patches > 0);
  }
  if (spec.crop) Require(spec.crop->height > 0 && spec.crop->width > 0);
  for (const double divisor : spec.std) Require(divisor > 0);
  Require(spec.rescale_factor > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto config = Config::Parse(text, "fuzz.json");
  if (!config.ok()) {
    Require(pixembed::ReasonOf(config.status()) == Reason::kCheckpointCorrupt);
    Require(config.status().message().size() < kMaxErrorBytes);
    return 0;
  }
  ReadAll(*config);
  CheckProcessor(*config, "vit", Backend::kTorchvision);
  CheckProcessor(*config, "clip", Backend::kPil);
  CheckProcessor(*config, "timm_wrapper", Backend::kTorchvision);
  return 0;
}
