#include "client/cpp/embed_files.h"

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cpp/client.h"
#include "client/cpp/image_files.h"
#include "client/cpp/progress.h"
#include "client/cpp/vector_sink.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/checkpoint/temporary_directory.h"
#include "tests/client/fake_service.h"

namespace pixembed::client {
namespace {

using ::testing::HasSubstr;

// Remembers the ids, and whether it was finished; fails when told to.
class FakeSink final : public VectorSink {
 public:
  absl::Status Add(const std::string& id, const Result&) override {
    ids.push_back(id);
    return status;
  }
  absl::Status Finish() override {
    finished = true;
    return absl::OkStatus();
  }

  std::vector<std::string> ids;
  bool finished = false;
  absl::Status status;
};

class EmbedFilesTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::string path = (directory_.path() / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  EmbedFilesReport Run(const std::vector<std::string>& paths, const EmbedFilesOptions& options = {},
                       const ClientOptions& client_options = {}) {
    const auto client = *Client::Connect({server_.address()}, client_options);
    std::vector<ImageFile> files;
    files.reserve(paths.size());
    for (const std::string& path : paths) {
      files.push_back({path});
    }
    Progress progress(no_output_, false, files.size());
    return EmbedFiles(*client, files, options, input_, {&sink_}, progress);
  }

  FakeServer server_;
  TemporaryDirectory directory_;
  FakeSink sink_;
  std::istringstream input_{"stdin"};
  std::ostringstream no_output_;
};

TEST_F(EmbedFilesTest, KeepsTheOrderAndCountsFailures) {
  const std::vector<std::string> paths = {Write("a", "A"), Write("b", "bad"),
                                          "/none/c.png",   Write("d", std::string(2000, 'x')),
                                          Write("e", "E"), "-"};
  const EmbedFilesReport report = Run(paths, {.max_image_bytes = 1000});
  EXPECT_TRUE(report.status.ok()) << report.status;
  EXPECT_EQ(sink_.ids, paths);
  EXPECT_TRUE(sink_.finished);
  EXPECT_EQ(report.embedded, 3);
  EXPECT_EQ(report.failed, 3);
  EXPECT_EQ(report.fingerprint, kFingerprint);
  ASSERT_EQ(report.failures.size(), 3);
  EXPECT_EQ(report.failures[0].first, paths[1]);
  EXPECT_EQ(ErrorReason(report.failures[0].second), "TRUNCATED_IMAGE");
  EXPECT_TRUE(absl::IsNotFound(report.failures[1].second));
  EXPECT_THAT(std::string(report.failures[2].second.message()), HasSubstr("1000"));
}

TEST_F(EmbedFilesTest, TheListOfFailuresIsBoundedTheCountIsNot) {
  const std::vector<std::string> paths(kMaxListedFailures + 5, "/none/a.png");
  const EmbedFilesReport report = Run(paths);
  EXPECT_EQ(report.failed, kMaxListedFailures + 5);
  EXPECT_EQ(report.failures.size(), kMaxListedFailures);
}

TEST_F(EmbedFilesTest, ASinkThatTakesNoMoreEndsTheStream) {
  sink_.status = absl::ResourceExhaustedError("disk full");
  const EmbedFilesReport report = Run({Write("a", "A"), Write("b", "B")});
  EXPECT_TRUE(absl::IsResourceExhausted(report.status));
  EXPECT_FALSE(sink_.finished);
  EXPECT_EQ(sink_.ids.size(), 1);
}

TEST_F(EmbedFilesTest, AStreamThatBreaksGoesOn) {
  server_.embedding.Set({.break_after = 2});
  std::vector<std::string> paths = {"/none/a.png"};
  for (int i = 0; i < 9; ++i) {
    paths.push_back(Write(std::to_string(i), "A"));
  }
  const EmbedFilesReport report = Run(paths, {.max_in_flight_images = 3});
  EXPECT_TRUE(report.status.ok()) << report.status;
  EXPECT_EQ(sink_.ids, paths);
  EXPECT_TRUE(sink_.finished);
  EXPECT_EQ(report.embedded, 9);
  EXPECT_EQ(report.failed, 1);
}

TEST_F(EmbedFilesTest, AStreamThatBreaksForGoodFinishesNoFile) {
  server_.embedding.Set({.break_after = 1});
  const EmbedFilesReport report = Run(std::vector<std::string>(10, Write("a", "A")),
                                      {.max_in_flight_images = 2}, {.max_attempts = 1});
  EXPECT_TRUE(absl::IsUnavailable(report.status)) << report.status;
  EXPECT_FALSE(sink_.finished);
  EXPECT_EQ(report.embedded, 1);
  EXPECT_EQ(report.failed, 0);
}

TEST_F(EmbedFilesTest, WhatTheStreamLeavesUnansweredIsNoFailureOfItsOwn) {
  server_.embedding.Set({.break_after = 1, .broken = {grpc::INVALID_ARGUMENT, "no more"}});
  std::vector<std::string> paths = {"/none/a.png", Write("b", "bad")};
  paths.resize(kMaxListedFailures + 10, Write("c", "C"));
  const EmbedFilesReport report = Run(paths, {.max_in_flight_images = 2000});
  EXPECT_EQ(report.status, absl::InvalidArgumentError("no more"));
  EXPECT_EQ(report.embedded, 0);
  EXPECT_EQ(report.failed, 2);
  ASSERT_EQ(report.failures.size(), 2);
  EXPECT_EQ(report.failures[0].first, paths[0]);
  EXPECT_EQ(report.failures[1].first, paths[1]);
}

}  // namespace
}  // namespace pixembed::client
