// Engine::Start itself: the real decoder, the machine's own cores.
#include "src/engine/start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "src/engine/cpu_count.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/engine/engine_fixture.h"
#include "tests/model/fake_model.h"

namespace pixembed {
namespace {

// A BMP of 8 x 8 pixels of one gray, 24 bits.
std::string GrayBmp(std::uint8_t gray) {
  constexpr std::uint32_t kHeaders = 54;
  constexpr std::uint32_t kSide = 8;
  std::string bmp = "BM";
  const auto put = [&bmp](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bmp.push_back(static_cast<char>(value >> (8 * i)));
  };
  put(kHeaders + kSide * kSide * 3, 4);
  put(0, 4);
  put(kHeaders, 4);
  put(40, 4);
  put(kSide, 4);
  put(kSide, 4);
  put(1, 2);
  put(24, 2);
  for (int field = 0; field < 6; ++field) put(0, 4);
  bmp.append(std::size_t{kSide} * kSide * 3, static_cast<char>(gray));
  return bmp;
}

TEST(EngineStart, EncodedImagesBecomeVectorsAndBrokenOnesStatuses) {
  Inbox inbox;
  EngineOptions options;
  options.limits.max_encoded_bytes = 1000;
  absl::StatusOr<std::unique_ptr<Engine>> engine =
      Engine::Start({std::make_shared<FakeModel>()}, options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  EXPECT_EQ((*engine)->options().cores, UsableCores());
  ASSERT_TRUE((*engine)
                  ->Submit(0, Call(inbox.Expect("gray", GrayBmp(77)), inbox.Expect("empty", ""),
                                   inbox.Expect("text", "not an image"),
                                   inbox.Expect("half", GrayBmp(77).substr(0, 100)),
                                   inbox.Expect("large", GrayBmp(77) + std::string(1000, 'x'))))
                  .ok());
  EXPECT_EQ(FirstValue(inbox.Await("gray")), 77.0F);
  EXPECT_EQ(inbox.AwaitReason("empty"), Reason::kEmptyImage);
  EXPECT_EQ(inbox.AwaitReason("text"), Reason::kUnsupportedFormat);
  EXPECT_EQ(inbox.AwaitReason("half"), Reason::kTruncatedImage);
  EXPECT_EQ(inbox.AwaitReason("large"), Reason::kTooManyBytes);
}

}  // namespace
}  // namespace pixembed
