// The fingerprints of the golden models, pinned: whatever changes them changes what users have
// stored beside their vectors, and must be meant. What is meant is written down in
// docs/fingerprint.md; new values are what this test prints.
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <ostream>
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
    {"vit",
     Backend::kTorchvision,
     {},
     "b34e410453b612b7fad6dd2a54e623dfcbdfe1b203c3e30230356672680362ff"},
    {"vit", Backend::kPil, {}, "9306c7544a125929d6aa4d06a8bc044e11330190b82b7671f3bad2ebd1f6b69a"},
    {"vit",
     Backend::kTorchvision,
     {.pooling = Pooling::kCls},
     "94785bcc359552dfe36c9e280c942dbc476084175a729ac112d3979a4d63d1a1"},
    {"vit",
     Backend::kTorchvision,
     {.layers = {0, 2}},
     "a02717dc6da7afe7339cfa5804e94780c332e4f59b30da933af4a853eff18e4f"},
    {"deit",
     Backend::kTorchvision,
     {},
     "6a655009715e1752e72b5a8886cb98577c56372ad8dde351f25c4e5a453a34c1"},
    {"dinov2",
     Backend::kTorchvision,
     {},
     "325426af7dab045f6c1bb4455fa01a5ec785d54ed0aed8ec47067ef6b3612c0f"},
    {"dinov2_with_registers",
     Backend::kTorchvision,
     {},
     "b33c75690d947b8f59a5df7cf4f042b5ab8394f38493c3d20d8607f43be69107"},
    {"clip",
     Backend::kTorchvision,
     {},
     "ceb03f4a7899c9a43011f9ee4eec35c9f0996230de13d5d83c3c3ecf2c1c7d43"},
    {"siglip",
     Backend::kTorchvision,
     {},
     "d2139b7a9a22373249c5a3140a6477ca6f1f7b03b242e349b6dfef13afb3cebe"},
    {"dinov2-s14",
     Backend::kTorchvision,
     {},
     "3a925ccdebf60df4515820b29233c9ed87dc803fe663e3908d24622d592cbfa4"},
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
