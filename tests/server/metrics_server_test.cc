// The port of the metrics: one page, and nothing that a stranger could hold or use up.
#include "server/metrics_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "server/http_server.h"
#include "src/error/error.h"
#include "tests/server/raw_connection.h"
#include "tests/server/scrape.h"

namespace pixembed {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class MetricsServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = StartMetricsServer("127.0.0.1:0",
                                     [this] { return "up " + std::to_string(++scrapes_) + "\n"; });
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::string Ask(const std::string& line, const std::string& rest = "\r\n") const {
    return AskHttp(server_->address(), line, rest);
  }

  int scrapes_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(MetricsServerTest, EachScrapeIsOfItsMomentAndSaysItsFormat) {
  EXPECT_THAT(Ask("GET /metrics"),
              AllOf(StartsWith("HTTP/1.1 200"),
                    HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
                    EndsWith("\r\n\r\nup 1\n")));
  EXPECT_THAT(Ask("GET /metrics?name=up"), EndsWith("\r\n\r\nup 2\n"));
  EXPECT_THAT(Ask("HEAD /metrics"), AllOf(StartsWith("HTTP/1.1 200"), EndsWith("\r\n\r\n")));
}

TEST_F(MetricsServerTest, ThereIsNothingElse) {
  EXPECT_THAT(Ask("GET /"), AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("GET /metrics")));
  EXPECT_THAT(Ask("GET /metrics/"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Ask("DELETE /metrics"),
              AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET, HEAD\r\n")));
  EXPECT_EQ(scrapes_, 0);
}

TEST_F(MetricsServerTest, TakesNoBody) {
  EXPECT_THAT(Ask("POST /metrics", "Content-Length: 100000\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 413"), HasSubstr("GET /metrics takes no body")));
  EXPECT_EQ(scrapes_, 0);
}

TEST_F(MetricsServerTest, AnAddressThatIsTakenIsToldWithItsFlag) {
  const auto second = StartMetricsServer(server_->address(), [] { return std::string(); });
  EXPECT_EQ(ReasonOf(second.status()), Reason::kInvalidOption);
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(server_->address()), HasSubstr("--metrics_listen")));
}

TEST_F(MetricsServerTest, StopEndsWhoIsConnectedWithoutARequest) {
  const RawConnection idle(server_->address());
  ASSERT_TRUE(idle.connected());
  EXPECT_TRUE(server_->Stop(TimePoint::max()).ok());
  EXPECT_EQ(idle.ReceiveAll(), "");
}

}  // namespace
}  // namespace pixembed
