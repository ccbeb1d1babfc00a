// What an AOTInductor package says it was built for. Internal to the room.
//
// Its code is machine code: run on a CPU that lacks an instruction, or against another LibTorch, it
// ends the process. LibTorch's own loader warns at most, so that all of it is compared here before
// the library is loaded.
#ifndef PIXEMBED_SRC_MODEL_AOT_PACKAGE_H_
#define PIXEMBED_SRC_MODEL_AOT_PACKAGE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/image/image.h"
#include "src/model/program_archive.h"

namespace pixembed {

// The levels of the x86-64 psABI that packages are built for; each holds those before it.
// Source: x86-64 psABI 1.0, table 3.1.
enum class X86Level {
  kV1,
  kV3,  // AVX2, BMI, FMA
  kV4,  // AVX-512 F, BW, CD, DQ, VL
};

// Where a package would run.
struct ProgramHost {
  std::string platform;  // "linux"
  std::string machine;   // "x86_64"
  std::string torch;     // "2.11.0"
  X86Level level = X86Level::kV1;
};

// This process.
ProgramHost ThisHost();

// What a package holds, as far as this room uses it. Names are those of the archive.
struct AotPackage {
  std::string library;       // the shared library
  std::string extern_nodes;  // what it calls that is not in LibTorch's C interface; "" for none
  std::string march;         // "x86-64-v3"
  bool class_token = false;
};

// Finds the parts of a package and compares what it was built for with `host` and `input`, the size
// of every image.
// Errors: CHECKPOINT_CORRUPT (a part is missing), INCOMPATIBLE_PROGRAM (names what it was built for
// and what this is), UNSUPPORTED_PROCESSOR (built for images of another size; names both).
absl::StatusOr<AotPackage> CheckAotPackage(ProgramArchive& archive, const ProgramHost& host,
                                           Size input);

}  // namespace pixembed

#endif  // PIXEMBED_SRC_MODEL_AOT_PACKAGE_H_
