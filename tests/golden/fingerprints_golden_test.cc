// The fingerprints of the golden models, pinned: whatever changes them changes what users have
// stored beside their vectors, and must be meant. What is meant is written down in
// docs/fingerprint.md; new values are what this test prints.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "src/image/image.h"
#include "src/model/model.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

struct Pinned {
  std::string_view model;
  Backend backend;
  VectorSpace space;
  std::string_view fingerprint;
  // Served with this preprocessor_config.json in the place of the model's own: what it leaves open
  // are the defaults of its class.
  std::string_view processor = {};
};

void PrintTo(const Pinned& pinned, std::ostream* out) { *out << pinned.model; }

constexpr std::string_view kVitDefaults =
    R"({"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}})";
constexpr std::string_view kDeitDefaults =
    R"({"image_processor_type": "DeiTImageProcessor", "crop_size": 32})";
constexpr std::string_view kBeitDefaults =
    R"({"image_processor_type": "BeitImageProcessor", "size": {"height": 32, "width": 32}})";
constexpr std::string_view kBitDefaults =
    R"({"image_processor_type": "BitImageProcessor", "crop_size": 32})";
constexpr std::string_view kClipDefaults =
    R"({"image_processor_type": "CLIPImageProcessor", "crop_size": 32})";
constexpr std::string_view kConvNextDefaults =
    R"({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}})";
constexpr std::string_view kDinov3Defaults =
    R"({"image_processor_type": "DINOv3ViTImageProcessor", "size": {"height": 32, "width": 32}})";
constexpr std::string_view kSiglipDefaults =
    R"({"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}})";
constexpr std::string_view kSiglip2Defaults =
    R"({"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8})";

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
    {"siglip2",
     Backend::kTorchvision,
     {},
     "adf7d959dff1ad95f31fba5358b50c55a46b53465d09cfd4656c58ca670beaee"},
    {"siglip2",
     Backend::kPil,
     {},
     "cf2e1654588af5c3db003b4a1b5c5539bacdecdd8e6e986e58f965acbc5bdfea"},
    {"siglip2",
     Backend::kTorchvision,
     {.pooling = Pooling::kMaskedMean},
     "e99da83bee5432d8fffaa115da644040cf787ca00560639153844d523a1483ac"},
    {"siglip2",
     Backend::kTorchvision,
     {},
     "5695170fdf4d16a9d801afa90b22bfdfb2795e8dec840560f3c49093531b52fe",
     kSiglip2Defaults},
    {"dinov2-s14",
     Backend::kTorchvision,
     {},
     "3a925ccdebf60df4515820b29233c9ed87dc803fe663e3908d24622d592cbfa4"},
    {"vit_msn",
     Backend::kTorchvision,
     {},
     "cd8be38c5d74dfbee6d8e5ed4b748fa3fa6a1d9fe73d36fd1e4a6206e7ae77b1"},
    {"vit_mae",
     Backend::kTorchvision,
     {},
     "b34e410453b612b7fad6dd2a54e623dfcbdfe1b203c3e30230356672680362ff"},
    {"ijepa",
     Backend::kTorchvision,
     {},
     "50ce1cd0dcf8a854beacac7881f38f165b319c3eaca1e8ff0bee22459bf8ca8c"},
    {"beit",
     Backend::kTorchvision,
     {},
     "c827cd0e7fd4994916dbccebbdaa6ef8c5ad10b4d55b70a23de7d8fe171bb4ff"},
    {"data2vec_vision",
     Backend::kTorchvision,
     {},
     "93b64de4bf9672780bbafae0cdec2c1c9739bd16fdc3f44493f8ba3562b7f558"},
    {"dinov3_vit",
     Backend::kTorchvision,
     {},
     "4532d8aaf0e1922cc7b6ecf1f7a702708aa34496ed0c18d43e974572bc75dced"},
    {"mlcd_vision_model",
     Backend::kTorchvision,
     {},
     "a647449f6dafca60bd3b4d0351d45ba6394a8e2c9def8e3a9ebf34d3c836000c"},
    {"swin",
     Backend::kTorchvision,
     {},
     "95637ca9fe93e61141e67f78794fe2d361285a566b9e6a332143cdab90d04b68"},
    {"swinv2",
     Backend::kTorchvision,
     {},
     "8ed159f00bded62c816a9112eb2fe598fb28a36f5e6d7f36bce63ec5738c23bc"},
    {"hiera",
     Backend::kTorchvision,
     {},
     "6d63cb3fbcdf4d24d64add8d2791c19e3d82ce70e5ae98b57a841e28ecaca987"},
    {"timm",
     Backend::kTorchvision,
     {},
     "f122b451adef1e2c06fd73c86eeb440a871a2b5e16f9677e06f01038c8d98457"},
    {"timm_own_file",
     Backend::kTorchvision,
     {},
     "f122b451adef1e2c06fd73c86eeb440a871a2b5e16f9677e06f01038c8d98457"},
    {"timm_remainder",
     Backend::kTorchvision,
     {},
     "33e9a8bf7e7f9aff611791efddb2825c9ca943ef9965412c6708e45b05d538ef"},
    {"timm_siglip",
     Backend::kTorchvision,
     {},
     "5b08a9ee14c8610f51ea533888b6691aa94be505d28e5bb0aa4bfa32fefa3169"},
    {"timm_rectangular",
     Backend::kTorchvision,
     {},
     "c8081ae35df910481ca2bf60cedcc76a967cbc3bfe3be0346ae54926920cfea9"},
    {"vit",
     Backend::kTorchvision,
     {.policy = {.apply_exif_orientation = true}},
     "2d091225f57272385095574c278fcec7233f11c68e570fdf67a7903f8fca2eda"},
    {"vit",
     Backend::kTorchvision,
     {.policy = {.background = Color{255, 255, 255}}},
     "ee5813103f2541fbb3ac23ac1e6c455dbe9ab045acbf711d5c6f7198d0cb030a"},
    {"vit",
     Backend::kTorchvision,
     {},
     "b34e410453b612b7fad6dd2a54e623dfcbdfe1b203c3e30230356672680362ff",
     kVitDefaults},
    {"vit",
     Backend::kTorchvision,
     {},
     "b131f4f66c6ccac4bd7c8a3e73fdd213231a5c2bbc1545b6575ebc6fb50bdbed",
     kDeitDefaults},
    {"vit",
     Backend::kTorchvision,
     {},
     "ddaf585304abc9f374ba8df5dc42349307050a5af577319beb531444b3f449ce",
     kBeitDefaults},
    {"vit",
     Backend::kTorchvision,
     {},
     "34b694f364a3a53ea7780d23b912fd9a1098fe14d164da0a8211153ff2ddfed2",
     kBitDefaults},
    {"vit",
     Backend::kTorchvision,
     {},
     "34b694f364a3a53ea7780d23b912fd9a1098fe14d164da0a8211153ff2ddfed2",
     kClipDefaults},
    {"vit",
     Backend::kTorchvision,
     {},
     "1d104a049c380e2d25bcfa4f672450ca7854f3c061e39adfa85a9dc0677b13be",
     kConvNextDefaults},
    {"vit",
     Backend::kTorchvision,
     {},
     "1facdbc186b3afc9e3780fdf719246ac807ff755361eedf8b9ef97321629f270",
     kDinov3Defaults},
    {"vit",
     Backend::kTorchvision,
     {},
     "892dc5b4f6b845385663e540ea192addefdb1d4d8c9c4ffeb2a38d23392c8d5c",
     kSiglipDefaults},
};

std::filesystem::path DirectoryOf(std::string_view model) {
  const std::string folder = absl::StrCat("embeddings/", std::string(model));
  if (model == "dinov2-s14") return GoldenBytes(folder + "/directory");
  return GoldenPath(folder);
}

class FingerprintsGolden : public testing::TestWithParam<Pinned> {};

TEST_P(FingerprintsGolden, IsPinned) {
  const Pinned& pinned = GetParam();
  std::filesystem::path directory = DirectoryOf(pinned.model);
  const TemporaryDirectory temporary;
  if (!pinned.processor.empty()) {
    for (const char* const file : {"config.json", "model.safetensors"}) {
      std::filesystem::create_symlink(directory / file, temporary.path() / file);
    }
    std::ofstream(temporary.path() / "preprocessor_config.json") << pinned.processor;
    directory = temporary.path();
  }
  const auto model = LoadModel(directory, {.backend = pinned.backend});
  ASSERT_TRUE(model.ok()) << model.status() << ": run tests/golden/make.sh";
  EXPECT_EQ((*model)->Fingerprint(pinned.space), pinned.fingerprint);
}

INSTANTIATE_TEST_SUITE_P(Models, FingerprintsGolden, testing::ValuesIn(kPinned),
                         [](const auto& pinned) {
                           std::string name(pinned.param.model);
                           std::ranges::replace(name, '-', '_');
                           return absl::StrCat(name, "_", pinned.index);
                         });

}  // namespace
}  // namespace pixembed
