#include "src/model/aot_package.h"

#include <torch/headeronly/version.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "src/model/architecture.h"
#include "src/model/program_archive.h"

namespace pixembed {
namespace {

// Where torch puts the model named "model", and the suffixes of its files.
// Source: torch 2.11.0 torch/export/pt2_archive/_package.py, _inductor/codecache.py.
constexpr char kFolder[] = "data/aotinductor/model/";
constexpr char kLibrarySuffix[] = ".wrapper.so";
constexpr char kMetadataSuffix[] = ".wrapper_metadata.json";
constexpr char kExternNodesSuffix[] = ".wrapper.json";

struct LevelRow {
  std::string_view name;
  X86Level level;
  std::string_view features;
};
constexpr std::array kLevels = {
    LevelRow{"x86-64-v3", X86Level::kV3, "AVX2"},
    LevelRow{"x86-64-v4", X86Level::kV4, "AVX-512"},
};

// The features that compilers of our range can ask for by name; the rest of a level (F16C, LZCNT,
// MOVBE) is in every CPU that has these.
X86Level LevelOfThisCpu() {
#ifdef __x86_64__
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") ||
      !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("fma")) {
    return X86Level::kV1;
  }
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? X86Level::kV4 : X86Level::kV3;
#else
  return X86Level::kV1;
#endif
}

absl::Status Incompatible(std::string_view text) {
  return MakeError(Reason::kIncompatibleProgram, text);
}

// "" where the package does not say.
absl::StatusOr<std::string> Value(const Config& metadata, std::string_view key) {
  return metadata.String(key, "");
}

// That the package and the host agree in something that must be equal.
absl::Status CheckEqual(const Config& metadata, std::string_view key, std::string_view what,
                        std::string_view here) {
  const absl::StatusOr<std::string> built = Value(metadata, key);
  if (!built.ok()) return built.status();
  if (*built == here) return absl::OkStatus();
  if (built->empty()) {
    return Incompatible(absl::StrCat("the package does not say for which ", std::string(what),
                                     " it was built (", std::string(key),
                                     " in its metadata): export it with "
                                     "deploy/export_aotinductor.py"));
  }
  return Incompatible(absl::StrCat("the package was built for ", std::string(what), " ",
                                   Printable(*built), ", this is ", std::string(here),
                                   ": export it again for this"));
}

absl::StatusOr<std::string> CheckLevel(const Config& metadata, X86Level level) {
  absl::StatusOr<std::string> march = Value(metadata, "pixembed_march");
  if (!march.ok()) return march.status();
  const auto* const row = std::find_if(kLevels.begin(), kLevels.end(),
                                       [&](const LevelRow& known) { return known.name == *march; });
  if (row == kLevels.end()) {
    return Incompatible(absl::StrCat(
        "the package was built for the instruction set ", Quoted(*march),
        " (pixembed_march in its metadata); x86-64-v3 and x86-64-v4 are known: export it with "
        "deploy/export_aotinductor.py"));
  }
  if (row->level > level) {
    return Incompatible(absl::StrCat("the package was built for the instruction set ", *march,
                                     ", and this CPU has no ", std::string(row->features),
                                     ": export it with a lower --march"));
  }
  return march;
}

absl::Status CheckInput(const Config& metadata, Size input) {
  const absl::StatusOr<std::string> built = Value(metadata, "pixembed_input");
  if (!built.ok()) return built.status();
  if (*built == SizeText(input)) return absl::OkStatus();
  return MakeError(Reason::kUnsupportedProcessor,
                   absl::StrCat("the processor makes images of ", SizeText(input),
                                ", the package was built for ", Quoted(*built)));
}

// The one entry of the model's folder with this suffix, "" where there is none.
std::string FindEntry(const std::vector<std::string>& names, std::string_view suffix) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
    return absl::StartsWith(name, kFolder) && absl::EndsWith(name, std::string(suffix));
  });
  return found == names.end() ? "" : *found;
}

absl::StatusOr<Config> ReadMetadata(ProgramArchive& archive,
                                    const std::vector<std::string>& names) {
  const std::string name = FindEntry(names, kMetadataSuffix);
  if (name.empty()) {
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat("the package holds no ", kFolder, "*", kMetadataSuffix));
  }
  const absl::StatusOr<std::string> text = archive.Read(name);
  if (!text.ok()) return text.status();
  return Config::Parse(*text, name);
}

}  // namespace

ProgramHost ThisHost() {
  ProgramHost host;
  host.platform = "linux";
#ifdef __x86_64__
  host.machine = "x86_64";
#elif defined(__aarch64__)
  host.machine = "aarch64";
#endif
  host.torch = TORCH_VERSION;
  host.level = LevelOfThisCpu();
  return host;
}

absl::StatusOr<AotPackage> CheckAotPackage(ProgramArchive& archive, const ProgramHost& host,
                                           Size input) {
  const std::vector<std::string>& names = archive.Names();
  const absl::StatusOr<Config> metadata = ReadMetadata(archive, names);
  if (!metadata.ok()) return metadata.status();
  struct Equal {
    std::string_view key;
    std::string_view what;
    std::string_view here;
  };
  for (const Equal& equal : {Equal{"AOTI_DEVICE_KEY", "device", "cpu"},
                             Equal{"AOTI_PLATFORM", "platform", host.platform},
                             Equal{"AOTI_MACHINE", "machine", host.machine},
                             Equal{"pixembed_torch", "torch", host.torch}}) {
    absl::Status status = CheckEqual(*metadata, equal.key, equal.what, equal.here);
    if (!status.ok()) return status;
  }
  const absl::StatusOr<std::string> march = CheckLevel(*metadata, host.level);
  if (!march.ok()) return march.status();
  if (absl::Status status = CheckInput(*metadata, input); !status.ok()) return status;
  const absl::StatusOr<std::string> class_token = Value(*metadata, "pixembed_class_token");
  if (!class_token.ok()) return class_token.status();

  AotPackage package{.library = FindEntry(names, kLibrarySuffix),
                     .extern_nodes = FindEntry(names, kExternNodesSuffix),
                     .march = *march,
                     .class_token = *class_token == "1"};
  if (package.library.empty()) {
    // LibTorch's loader would call a compiler.
    return MakeError(Reason::kCheckpointCorrupt,
                     absl::StrCat("the package holds no ", kFolder, "*", kLibrarySuffix,
                                  ": nothing is compiled here"));
  }
  return package;
}

}  // namespace pixembed
