#include "src/model/fingerprint.h"

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "src/checkpoint/checkpoint.h"
#include "src/digest/digest.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/model.h"
#include "src/model/weights.h"

namespace pixembed {
namespace {

std::string HexSha256(std::span<const std::byte> bytes) { return Hex(Sha256(bytes)); }

std::string HexSha256(std::string_view text) {
  return HexSha256(std::as_bytes(std::span(text.data(), text.size())));
}

// Views of the standard library, as Abseil of this age takes them.
absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// 17 digits tell every double from every other.
std::string NumberText(double number) { return absl::StrFormat("%.17g", number); }

std::string ResizeText(const std::optional<ResizeTarget>& resize) {
  if (!resize.has_value()) return "none";
  if (resize->exact.has_value()) return SizeText(*resize->exact);
  if (resize->cover.has_value()) return absl::StrCat("cover:", SizeText(*resize->cover));
  if (resize->fit.has_value()) return absl::StrCat("fit:", SizeText(*resize->fit));
  if (resize->patches.has_value()) {
    return absl::StrCat("patch_size:", resize->patches->patch,
                        ",max_num_patches:", resize->patches->max_patches);
  }
  return absl::StrCat("shortest_edge:", resize->shortest_edge,
                      ",longest_edge:", resize->longest_edge);
}

// How it crops, where that is not what transformers does.
std::string CropText(const PreprocessSpec& spec) {
  std::string text;
  if (spec.crop_rule == CropRule::kTorchvision) absl::StrAppend(&text, " crop_rule=torchvision");
  if (spec.padding == Color{}) return text;
  const auto& [red, green, blue] = spec.padding;
  absl::StrAppend(&text, " padding=", red, ",", green, ",", blue);
  return text;
}

std::string ProcessorText(const PreprocessSpec& spec) {
  const auto append = [](std::string* out, double number) { out->append(NumberText(number)); };
  std::string text = absl::StrCat("backend=", View(BackendName(spec.backend)));
  if (spec.convert_rgb) absl::StrAppend(&text, " convert_rgb");
  absl::StrAppend(&text, " resize=", ResizeText(spec.resize));
  // What is not used must not tell spaces apart.
  if (spec.resize.has_value()) absl::StrAppend(&text, " filter=", View(FilterName(spec.filter)));
  absl::StrAppend(&text, " crop=", spec.crop.has_value() ? SizeText(*spec.crop) : "none");
  if (spec.crop.has_value()) absl::StrAppend(&text, CropText(spec));
  absl::StrAppend(&text, " rescale=", spec.rescale ? NumberText(spec.rescale_factor) : "none");
  if (spec.resize.has_value() && spec.rescale_first) absl::StrAppend(&text, " rescale_first");
  if (!spec.normalize) return absl::StrCat(text, " normalize=none");
  return absl::StrCat(text, " mean=", absl::StrJoin(spec.mean, ",", append),
                      " std=", absl::StrJoin(spec.std, ",", append));
}

}  // namespace

std::string DigestWeights(const std::map<std::string, const Tensor*, std::less<>>& tensors) {
  std::string lines;
  for (const auto& [name, tensor] : tensors) {
    absl::StrAppend(&lines, HexSha256(tensor->bytes), " ", View(TensorTypeName(tensor->type)), " ",
                    ShapeText(tensor->shape), " ", name, "\n");
  }
  return HexSha256(lines);
}

std::string DigestProgram(std::span<const std::byte> file) {
  return HexSha256(absl::StrCat("program ", HexSha256(file), "\n"));
}

std::string FingerprintText(const FingerprintParts& parts) {
  std::string text = absl::StrCat("numerics ", kNumericsVersion, "\n",                  //
                                  "weights ", parts.weights_digest, "\n",               //
                                  "architecture ", parts.architecture, "\n",            //
                                  "processor ", ProcessorText(parts.preprocess), "\n",  //
                                  "precision ", parts.precision, "\n",                  //
                                  "pooling ", View(PoolingName(parts.space.pooling)), "\n");
  // Lines of what is not the default come after those that are always there.
  if (!parts.space.layers.empty()) {
    absl::StrAppend(&text, "layers ", absl::StrJoin(parts.space.layers, ","), "\n");
  }
  const DecodePolicy& policy = parts.space.policy;
  if (policy.apply_exif_orientation) absl::StrAppend(&text, "exif_orientation apply\n");
  if (policy.background.has_value()) {
    const auto& [red, green, blue] = *policy.background;
    absl::StrAppend(&text, "background ", red, ",", green, ",", blue, "\n");
  }
  return text;
}

std::string Fingerprint(const FingerprintParts& parts) { return HexSha256(FingerprintText(parts)); }

}  // namespace pixembed
