#include "embedded/pixembed_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/rpc/status.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/error/error.h"
#include "src/model/model.h"
#include "tests/api/details.h"
#include "tests/model/fake_model.h"
#include "tests/server/test_images.h"

namespace pixembed {
namespace {

// The model that was loaded last.
std::shared_ptr<const FakeModel>& Loaded() {
  static std::shared_ptr<const FakeModel> model;
  return model;
}

}  // namespace

// What the library wants of the model room, without LibTorch.
absl::Status CheckRuntime() { return absl::OkStatus(); }
void InitializeRuntime() {}
absl::StatusOr<std::vector<Device>> ResolveDevices(std::string_view /*text*/) {
  return std::vector<Device>{Device{}};
}
absl::StatusOr<std::vector<std::string>> CudaDevices() {
  return MakeError(Reason::kDeviceFailure, "no driver");
}
absl::StatusOr<std::shared_ptr<const Model>> LoadModel(const std::filesystem::path& directory,
                                                       const ModelOptions& /*options*/) {
  if (directory.filename() == "missing") {
    return MakeError(Reason::kCheckpointMissing, "config.json does not exist");
  }
  Loaded() = std::make_shared<const FakeModel>(FakeModelOptions{.fingerprint_seed = directory});
  return Loaded();
}

namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr std::int64_t kPatience = 100'000;  // milliseconds; a test that meets it has failed

// Takes the memory.
std::string Take(pixembed_bytes& bytes) {
  std::string taken(static_cast<const char*>(bytes.data), bytes.size);
  pixembed_bytes_free(&bytes);
  EXPECT_EQ(bytes.data, nullptr);
  return taken;
}

std::string TakeReason(int code, pixembed_bytes& error) {
  google::rpc::Status status;
  EXPECT_TRUE(status.ParseFromString(Take(error)));
  EXPECT_EQ(status.code(), code);
  return ReasonIn(status);
}

class PixembedEngineTest : public ::testing::Test {
 protected:
  void TearDown() override {
    pixembed_stream_close(stream_);
    pixembed_engine_close(engine_);
    Loaded().reset();
  }

  // The reason why not; "" where it was opened.
  std::string Open(const std::vector<const char*>& flags = {"--model=fake=/fake"}) {
    pixembed_bytes error;
    const auto log = [](void* context, int /*warning*/, const char* line) {
      static_cast<std::vector<std::string>*>(context)->emplace_back(line);
    };
    const int code = pixembed_engine_open(flags.data(), flags.size(), log, &log_, &engine_, &error);
    return code == PIXEMBED_OK ? "" : TakeReason(code, error);
  }

  std::string OpenStream(const v1::EmbedOptions& options = {}) {
    v1::EmbedRequest request;
    *request.mutable_options() = options;
    const std::string bytes = request.SerializeAsString();
    pixembed_bytes error;
    const int code = pixembed_stream_open(engine_, bytes.data(), bytes.size(), &stream_, &error);
    return code == PIXEMBED_OK ? "" : TakeReason(code, error);
  }

  std::string Submit(const std::string& image, std::int64_t timeout_ms = -1) {
    std::uint64_t index = 0;
    pixembed_bytes error;
    const int code =
        pixembed_stream_submit(stream_, image.data(), image.size(), timeout_ms, &index, &error);
    return code == PIXEMBED_OK ? std::to_string(index) : TakeReason(code, error);
  }

  // What is left of the stream, to its end.
  std::vector<v1::EmbedResult> TakeAll() {
    std::vector<v1::EmbedResult> results;
    for (;;) {
      pixembed_bytes bytes;
      pixembed_bytes error;
      const int code = pixembed_stream_take(stream_, kPatience, &bytes, &error);
      if (code == PIXEMBED_OUT_OF_RANGE) return results;
      EXPECT_EQ(code, PIXEMBED_OK);
      if (code != PIXEMBED_OK) return results;
      v1::EmbedResponse response;
      EXPECT_TRUE(response.ParseFromString(Take(bytes)));
      EXPECT_EQ(response.fingerprint(), Loaded()->Fingerprint({}));
      results.insert(results.end(), response.results().begin(), response.results().end());
    }
  }

  pixembed_engine* engine_ = nullptr;
  pixembed_stream* stream_ = nullptr;
  std::vector<std::string> log_;
};

TEST_F(PixembedEngineTest, EveryImageHasAVectorOrItsOwnReason) {
  ASSERT_EQ(Open(), "");
  v1::EmbedOptions options;
  options.set_ordered(true);
  ASSERT_EQ(OpenStream(options), "");
  EXPECT_EQ(Submit(SolidImage(10)), "0");
  EXPECT_EQ(Submit("This is no picture"), "1");
  EXPECT_EQ(Submit(""), "2");
  EXPECT_EQ(Submit(SolidImage(40)), "3");
  pixembed_stream_end(stream_);
  EXPECT_EQ(Submit(SolidImage(50)), "CANCELLED");
  const std::vector<v1::EmbedResult> results = TakeAll();
  ASSERT_EQ(results.size(), 4U);
  EXPECT_FLOAT_EQ(results[0].embedding().values(0), 10.0F);
  EXPECT_EQ(ReasonIn(results[1].error()), "UNSUPPORTED_FORMAT");
  EXPECT_EQ(ReasonIn(results[2].error()), "EMPTY_IMAGE");
  EXPECT_FLOAT_EQ(results[3].embedding().values(0), 40.0F);
  for (std::size_t i = 0; i < results.size(); ++i) EXPECT_EQ(results[i].index(), i);
}

TEST_F(PixembedEngineTest, WhatCannotBeServedIsSaidAtOpen) {
  EXPECT_EQ(Open({}), "INVALID_OPTION");
  EXPECT_EQ(Open({"--model=/fake", "--listen=127.0.0.1:0"}), "INVALID_OPTION");
  EXPECT_EQ(Open({"--model=/fake", "--verify=only"}), "INVALID_OPTION");
  EXPECT_EQ(Open({"--model=/fake", "--stream_window=0"}), "INVALID_OPTION");
  EXPECT_EQ(Open({"--model=/missing"}), "CHECKPOINT_MISSING");
  EXPECT_EQ(engine_, nullptr);
}

TEST_F(PixembedEngineTest, AStreamIsRefusedForTheServersReasons) {
  ASSERT_EQ(Open(), "");
  v1::EmbedOptions options;
  options.set_expected_fingerprint("another");
  EXPECT_EQ(OpenStream(options), "FINGERPRINT_MISMATCH");
  options.Clear();
  options.set_dimensions(1'000'000);
  EXPECT_EQ(OpenStream(options), "INVALID_OPTION");
  pixembed_bytes error;
  const int code = pixembed_stream_open(engine_, "\xff", 1, &stream_, &error);
  EXPECT_EQ(TakeReason(code, error), "MALFORMED_REQUEST");
  EXPECT_EQ(stream_, nullptr);
}

TEST_F(PixembedEngineTest, TheModelsAreDescribedAndLoadingIsLogged) {
  ASSERT_EQ(Open({"--model=a=/a", "--model=b=/b"}), "");
  pixembed_bytes bytes;
  ASSERT_EQ(pixembed_engine_models(engine_, &bytes, nullptr), PIXEMBED_OK);
  v1::ListModelsResponse response;
  ASSERT_TRUE(response.ParseFromString(Take(bytes)));
  ASSERT_EQ(response.models_size(), 2);
  EXPECT_EQ(response.models(0).name(), "a");
  EXPECT_EQ(response.models(1).fingerprints().at("mean"), Loaded()->Fingerprint({}));
  EXPECT_THAT(log_, ::testing::Contains(HasSubstr("model b: fingerprint")));
}

TEST_F(PixembedEngineTest, AnImageIsExplained) {
  ASSERT_EQ(Open(), "");
  v1::ExplainImageRequest request;
  request.set_data(SolidImage(1));
  std::string text = request.SerializeAsString();
  pixembed_bytes bytes;
  pixembed_bytes error;
  ASSERT_EQ(pixembed_engine_explain(engine_, text.data(), text.size(), &bytes, &error),
            PIXEMBED_OK);
  v1::ImageExplanation explanation;
  ASSERT_TRUE(explanation.ParseFromString(Take(bytes)));
  EXPECT_EQ(explanation.format(), "BMP");
  request.set_data("no");
  text = request.SerializeAsString();
  const int code = pixembed_engine_explain(engine_, text.data(), text.size(), &bytes, &error);
  EXPECT_EQ(TakeReason(code, error), "UNSUPPORTED_FORMAT");
}

TEST_F(PixembedEngineTest, NothingInTimeIsNoFailure) {
  ASSERT_EQ(Open(), "");
  ASSERT_EQ(OpenStream(), "");
  pixembed_bytes bytes;
  pixembed_bytes error;
  EXPECT_EQ(pixembed_stream_take(stream_, 0, &bytes, &error), PIXEMBED_DEADLINE_EXCEEDED);
  EXPECT_EQ(error.data, nullptr);
}

TEST_F(PixembedEngineTest, AnImageWhoseTimeIsOverFailsAlone) {
  ASSERT_EQ(Open(), "");
  ASSERT_EQ(OpenStream(), "");
  EXPECT_EQ(Submit(SolidImage(1), 0), "0");
  EXPECT_EQ(Submit(SolidImage(2)), "1");
  pixembed_stream_end(stream_);
  std::vector<std::string> reasons;
  for (const v1::EmbedResult& result : TakeAll()) reasons.push_back(ReasonIn(result.error()));
  EXPECT_THAT(reasons, UnorderedElementsAre("DEADLINE_EXCEEDED", ""));
}

TEST_F(PixembedEngineTest, AStreamHoldsNoMoreThanItsWindow) {
  ASSERT_EQ(Open({"--model=/fake", "--stream_window=2"}), "");
  v1::EmbedOptions options;
  options.set_ordered(true);
  ASSERT_EQ(OpenStream(options), "");
  EXPECT_EQ(Submit(SolidImage(0)), "0");
  EXPECT_EQ(Submit(SolidImage(1)), "1");
  std::string third;
  std::thread waiting([&] {
    third = Submit(SolidImage(2));
    pixembed_stream_end(stream_);
  });
  EXPECT_EQ(TakeAll().size(), 3U);
  waiting.join();
  EXPECT_EQ(third, "2");
}

TEST_F(PixembedEngineTest, CancelEndsCallsThatWait) {
  ASSERT_EQ(Open({"--model=/fake", "--stream_window=1"}), "");
  ASSERT_EQ(OpenStream(), "");
  Loaded()->Hold();
  EXPECT_EQ(Submit(SolidImage(0)), "0");
  Loaded()->AwaitHeld(1);
  std::string second;
  int code = PIXEMBED_OK;
  std::thread submitter([&] { second = Submit(SolidImage(1)); });
  std::thread taker([&] {
    pixembed_bytes bytes;
    code = pixembed_stream_take(stream_, -1, &bytes, nullptr);
  });
  pixembed_stream_cancel(stream_);
  submitter.join();
  taker.join();
  EXPECT_EQ(second, "CANCELLED");
  EXPECT_EQ(code, static_cast<int>(absl::StatusCode::kCancelled));
  Loaded()->LetGo();
}

TEST_F(PixembedEngineTest, CloseCancelsTheStreamsThatAreLeft) {
  ASSERT_EQ(Open(), "");
  ASSERT_EQ(OpenStream(), "");
  EXPECT_EQ(Submit(SolidImage(0)), "0");
  pixembed_engine_close(engine_);
  engine_ = nullptr;
  EXPECT_EQ(Submit(SolidImage(1)), "CANCELLED");
}

TEST_F(PixembedEngineTest, ThreadsMayShareAStream) {
  constexpr int kThreads = 4;
  constexpr int kImages = 50;
  ASSERT_EQ(Open({"--model=/fake", "--stream_window=3"}), "");
  ASSERT_EQ(OpenStream(), "");
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    std::vector<std::thread> submitters;
    submitters.reserve(kThreads);
    for (int t = 0; t < kThreads; ++t) {
      submitters.emplace_back([&] {
        for (int i = 0; i < kImages; ++i) EXPECT_NE(Submit(SolidImage(i)), "CANCELLED");
      });
    }
    for (std::thread& submitter : submitters) submitter.join();
    pixembed_stream_end(stream_);
  });
  std::vector<std::size_t> taken(2);
  for (std::size_t& count : taken) {
    threads.emplace_back([&] { count = TakeAll().size(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken[0] + taken[1], std::size_t{kThreads} * kImages);
}

TEST_F(PixembedEngineTest, AForkIsRefused) {
  ASSERT_EQ(Open(), "");
  ASSERT_EQ(OpenStream(), "");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool refused =
        Submit(SolidImage(1)) == "UNUSABLE_PROCESS" && Open() == "UNUSABLE_PROCESS";
    _exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace pixembed
