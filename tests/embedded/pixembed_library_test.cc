// libpixembed_engine.so itself, with a real model: what a program in C++ that has messages of its
// own gets over the ABI is what the reference computes, whatever else runs, and whenever it closes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <latch>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "embedded/pixembed_engine.h"
#include "google/rpc/status.pb.h"
#include "pixembed/v1/embedding.pb.h"
#include "src/checkpoint/checkpoint.h"
#include "tests/api/details.h"
#include "tests/golden/golden.h"
#include "tests/server/test_images.h"

namespace pixembed {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

constexpr char kModel[] = "embeddings/vit";
constexpr float kTolerance = 1e-5F;          // as the golden test of the model room
constexpr std::int64_t kPatience = 100'000;  // milliseconds; a test that meets it has failed
constexpr int kCancelled = static_cast<int>(absl::StatusCode::kCancelled);

using Vector = std::vector<float>;

// The rows of a float32 tensor.
std::vector<Vector> Rows(const Weights& tensors, const std::string& name) {
  const Tensor* const tensor = tensors.Find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << "there is no " << name;
    return {};
  }
  std::vector<Vector> rows(tensor->shape.at(0), Vector(tensor->shape.at(1)));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t bytes = rows[i].size() * sizeof(float);
    std::memcpy(rows[i].data(), tensor->bytes.subspan(i * bytes).data(), bytes);
  }
  return rows;
}

// Pixels [N, height, width, 3] as BMP files, which keep them. REQUIRES: rows need no padding.
std::vector<std::string> AsBmp(const Tensor& images) {
  const auto height = static_cast<std::int32_t>(images.shape.at(1));
  const auto width = static_cast<std::int32_t>(images.shape.at(2));
  std::vector<std::string> files;
  const auto* pixel = reinterpret_cast<const char*>(images.bytes.data());
  for (std::int64_t i = 0; i < images.shape.at(0); ++i) {
    files.push_back(BmpHeader(width, -height));  // negative: from the top
    for (std::int32_t p = 0; p < height * width; ++p, pixel += 3) {
      files.back() += {pixel[2], pixel[1], pixel[0]};
    }
  }
  return files;
}

// Takes the memory.
std::string Take(pixembed_bytes& bytes) {
  std::string taken(static_cast<const char*>(bytes.data), bytes.size);
  pixembed_bytes_free(&bytes);
  return taken;
}

// A stream through an engine.
class AbiStream {
 public:
  AbiStream(pixembed_engine* engine, const v1::EmbedOptions& options) {
    v1::EmbedRequest request;
    *request.mutable_options() = options;
    const std::string bytes = request.SerializeAsString();
    EXPECT_EQ(pixembed_stream_open(engine, bytes.data(), bytes.size(), &stream_, nullptr),
              PIXEMBED_OK);
  }
  AbiStream(const AbiStream&) = delete;
  AbiStream& operator=(const AbiStream&) = delete;
  ~AbiStream() { pixembed_stream_close(stream_); }

  int Submit(const std::string& image) {
    return pixembed_stream_submit(stream_, image.data(), image.size(), -1, nullptr, nullptr);
  }
  void End() { pixembed_stream_end(stream_); }

  // What is ready, into `response`; the code.
  int TakeReady(v1::EmbedResponse& response) {
    pixembed_bytes bytes;
    const int code = pixembed_stream_take(stream_, kPatience, &bytes, nullptr);
    EXPECT_TRUE(response.ParseFromString(Take(bytes)));
    return code;
  }

  // What is left, to the end.
  std::vector<v1::EmbedResult> TakeAll() {
    std::vector<v1::EmbedResult> results;
    v1::EmbedResponse response;
    int code = TakeReady(response);
    for (; code == PIXEMBED_OK; code = TakeReady(response)) {
      fingerprint_ = response.fingerprint();
      results.insert(results.end(), response.results().begin(), response.results().end());
    }
    EXPECT_EQ(code, PIXEMBED_OUT_OF_RANGE);
    return results;
  }

  // Of the answers that were taken.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  pixembed_stream* stream_ = nullptr;
  std::string fingerprint_;
};

v1::EmbedOptions Ordered() {
  v1::EmbedOptions options;
  options.set_ordered(true);
  return options;
}

class PixembedLibraryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    expected_ = GoldenTensors(absl::StrCat(kModel, "/expected.safetensors"));
    const Tensor* const images = expected_.Find("images");
    ASSERT_NE(images, nullptr);
    images_ = AsBmp(*images);
    const std::string model = absl::StrCat("--model=vit=", GoldenPath(kModel).string());
    const std::vector<const char*> flags = {model.c_str(), "--device=cpu"};
    pixembed_bytes error;
    const int code =
        pixembed_engine_open(flags.data(), flags.size(), nullptr, nullptr, &engine_, &error);
    google::rpc::Status status;
    EXPECT_TRUE(status.ParseFromString(Take(error)));
    ASSERT_EQ(code, PIXEMBED_OK) << status.message();
  }

  void TearDown() override { pixembed_engine_close(engine_); }

  // The vectors of all images in one stream; each must have one.
  std::vector<Vector> EmbedAll(v1::EmbedOptions options) {
    options.set_ordered(true);
    AbiStream stream(engine_, options);
    for (const std::string& image : images_) EXPECT_EQ(stream.Submit(image), PIXEMBED_OK);
    stream.End();
    std::vector<Vector> vectors;
    for (const v1::EmbedResult& result : stream.TakeAll()) {
      EXPECT_TRUE(result.has_embedding()) << result.error().message();
      vectors.emplace_back(result.embedding().values().begin(), result.embedding().values().end());
    }
    return vectors;
  }

  void ExpectRows(const std::vector<Vector>& vectors, const std::string& name) const {
    const std::vector<Vector> rows = Rows(expected_, name);
    ASSERT_EQ(vectors.size(), rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_THAT(vectors[i], Pointwise(FloatNear(kTolerance), rows[i])) << name << " of " << i;
    }
  }

  Weights expected_;
  std::vector<std::string> images_;
  pixembed_engine* engine_ = nullptr;
};

TEST_F(PixembedLibraryTest, VectorsAreTheReferences) {
  ExpectRows(EmbedAll({}), "mean");
  v1::EmbedOptions options;
  options.set_pooling(v1::POOLING_CLS);
  ExpectRows(EmbedAll(options), "cls");
  options.set_pooling(v1::POOLING_MAX);
  ExpectRows(EmbedAll(options), "max");
}

TEST_F(PixembedLibraryTest, AnswersNameTheModelsFingerprint) {
  pixembed_bytes bytes;
  ASSERT_EQ(pixembed_engine_models(engine_, &bytes, nullptr), PIXEMBED_OK);
  v1::ListModelsResponse models;
  ASSERT_TRUE(models.ParseFromString(Take(bytes)));
  ASSERT_EQ(models.models_size(), 1);
  AbiStream stream(engine_, {});
  ASSERT_EQ(stream.Submit(images_.front()), PIXEMBED_OK);
  stream.End();
  EXPECT_EQ(stream.TakeAll().size(), 1U);
  EXPECT_EQ(stream.fingerprint(), models.models(0).fingerprints().at("mean"));
}

TEST_F(PixembedLibraryTest, ABrokenImageFailsAloneWithItsReason) {
  AbiStream stream(engine_, Ordered());
  const std::string truncated = images_[1].substr(0, 100);
  for (const std::string& image : {images_[0], std::string("This is no picture"), images_[1],
                                   truncated, std::string(), images_[2]}) {
    ASSERT_EQ(stream.Submit(image), PIXEMBED_OK);
  }
  stream.End();
  std::vector<Vector> vectors;
  std::vector<std::string> reasons;
  for (const v1::EmbedResult& result : stream.TakeAll()) {
    reasons.push_back(result.has_error() ? ReasonIn(result.error()) : "");
    if (result.has_error()) continue;
    vectors.emplace_back(result.embedding().values().begin(), result.embedding().values().end());
  }
  EXPECT_THAT(reasons,
              ElementsAre("", "UNSUPPORTED_FORMAT", "", "TRUNCATED_IMAGE", "EMPTY_IMAGE", ""));
  ExpectRows(vectors, "mean");
}

TEST_F(PixembedLibraryTest, ThreadsWithStreamsOfTheirOwnDoNotMix) {
  std::vector<std::thread> threads;
  constexpr int kRounds = 5;
  const std::vector<std::pair<v1::Pooling, std::string>> poolings = {
      {v1::POOLING_MEAN, "mean"}, {v1::POOLING_CLS, "cls"}, {v1::POOLING_MAX, "max"}};
  threads.reserve(poolings.size());
  for (const auto& [pooling, name] : poolings) {
    threads.emplace_back([this, pooling = pooling, name = name] {
      v1::EmbedOptions options;
      options.set_pooling(pooling);
      for (int round = 0; round < kRounds; ++round) ExpectRows(EmbedAll(options), name);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(PixembedLibraryTest, ACloseWhileStreamsWorkCancelsThemAndReturns) {
  constexpr int kStreams = 2;
  std::latch answered(kStreams);
  std::vector<std::thread> threads;
  threads.reserve(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    threads.emplace_back([&] {
      AbiStream stream(engine_, {});
      std::thread submitter([&] {
        int code = PIXEMBED_OK;
        while (code == PIXEMBED_OK) code = stream.Submit(images_.front());
        EXPECT_EQ(code, kCancelled);
      });
      v1::EmbedResponse response;
      int code = stream.TakeReady(response);
      EXPECT_EQ(code, PIXEMBED_OK);
      answered.count_down();
      while (code == PIXEMBED_OK) code = stream.TakeReady(response);
      EXPECT_EQ(code, kCancelled);
      submitter.join();
    });
  }
  answered.wait();
  pixembed_engine_close(engine_);
  engine_ = nullptr;
  for (std::thread& thread : threads) thread.join();
}

TEST_F(PixembedLibraryTest, AModelThatIsNotThereIsSaid) {
  pixembed_engine* other = nullptr;
  pixembed_bytes error;
  const char* const flag = "--model=none=/there/is/none";
  const int code = pixembed_engine_open(&flag, 1, nullptr, nullptr, &other, &error);
  google::rpc::Status status;
  ASSERT_TRUE(status.ParseFromString(Take(error)));
  EXPECT_EQ(status.code(), code);
  EXPECT_EQ(ReasonIn(status), "CHECKPOINT_MISSING");
  EXPECT_THAT(status.message(), HasSubstr("/there/is/none"));
  EXPECT_EQ(other, nullptr);
}

}  // namespace
}  // namespace pixembed
