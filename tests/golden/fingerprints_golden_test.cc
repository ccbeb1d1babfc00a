// The fingerprints of the golden models, pinned: whatever changes them changes what users have
// stored beside their vectors, and must be meant. What is meant is written down in
// docs/fingerprint.md; new values are what this test prints.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

struct Pinned {
  std::string_view model;
  Backend backend;
  VectorSpace space;
  std::string_view fingerprint;
};

void PrintTo(const Pinned& pinned, std::ostream* out) { *out << pinned.model; }

const Pinned kPinned[] = {
    {"vit", Backend::kTorchvision, {}, ""},
};

std::filesystem::path DirectoryOf(std::string_view model) {
  const std::string folder = absl::StrCat("embeddings/", std::string(model));
  if (model == "dinov2-s14") return GoldenBytes(folder + "/directory");
  return GoldenPath(folder);
}

class FingerprintsGolden : public testing::TestWithParam<Pinned> {};

TEST_P(FingerprintsGolden, IsPinned) {
  const Pinned& pinned = GetParam();
  const auto model = LoadModel(DirectoryOf(pinned.model), {.backend = pinned.backend});
  ASSERT_TRUE(model.ok()) << model.status() << ": run tests/golden/make.sh";
  EXPECT_EQ((*model)->Fingerprint(pinned.space), pinned.fingerprint);
}

INSTANTIATE_TEST_SUITE_P(Models, FingerprintsGolden, testing::ValuesIn(kPinned));

}  // namespace
}  // namespace pixembed
