// From encoded bytes to model input against Pillow and the real image processors, over what
// make_transparency.py wrote: files with one transparent colour, and their like. Every difference
// is a failure.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "src/checkpoint/checkpoint.h"
#include "src/error/error.h"
#include "src/image/image.h"
#include "tests/golden/golden.h"

namespace pixembed {
namespace {

Config ReadCases() {
  absl::StatusOr<Config> config =
      Config::Parse(GoldenBytes("transparency.json"), "transparency.json");
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : *Config::Parse("{}", "nothing");
}

void ExpectValues(const Image& image, const PreprocessSpec& spec, const Tensor& want) {
  ASSERT_EQ(want.shape, (std::vector<std::int64_t>{3, image.height(), image.width()}));
  std::vector<float> values(image.samples());
  Normalize(image, spec, values);
  ASSERT_EQ(want.bytes.size(), std::span(values).size_bytes());
  EXPECT_EQ(std::memcmp(values.data(), want.bytes.data(), want.bytes.size()), 0);
}

TEST(TransparencyGolden, EveryProcessorSeesThePixelsThatTheRealOneSeesOrRefuses) {
  const Weights golden = GoldenTensors("transparency.safetensors");
  const Config cases = ReadCases();
  std::size_t refused = 0;
  for (const std::string& key : cases.Keys()) {
    const Config described = *cases.Section(key);
    const std::string file = *described.String("file", "");
    SCOPED_TRACE(file + " " + *described.String("backend", "") + " " +
                 *described.String("configuration", ""));
    const Tensor* const encoded = golden.Find("encoded." + file);
    ASSERT_NE(encoded, nullptr);
    const absl::StatusOr<PreprocessSpec> spec =
        SpecOf(*described.String("configuration", ""), *described.String("backend", ""));
    ASSERT_TRUE(spec.ok()) << spec.status();
    const absl::StatusOr<Image> image = DecodeAndResize(encoded->bytes, {}, *spec);
    const Tensor* const want = golden.Find("values." + key);
    EXPECT_EQ(image.ok(), want != nullptr) << image.status();
    if (!image.ok()) {
      ++refused;
      EXPECT_EQ(ReasonOf(image.status()), Reason::kUnsupportedFormat);
    } else if (want != nullptr) {
      ExpectValues(*image, *spec, *want);
    }
  }
  EXPECT_GT(cases.Keys().size(), 1500);
  EXPECT_GT(refused, 20);
}

}  // namespace
}  // namespace pixembed
