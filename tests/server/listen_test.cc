// Addresses: what cannot be listened on is refused with the system's reason.
#include "server/listen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/server.h"
#include "src/engine/engine.h"
#include "src/error/error.h"
#include "tests/server/server_fixture.h"

namespace pixembed {
namespace {

using ::testing::HasSubstr;

class ListenTest : public ServerTest {
 protected:
  absl::StatusOr<std::unique_ptr<Server>> StartOn(std::vector<std::string> addresses) {
    if (engine_ == nullptr) Start();
    ServerOptions options;
    options.listen = std::move(addresses);
    return Server::Start(*engine_, {"fake"}, options);
  }

  std::string Refusal(const std::string& address) {
    const auto server = StartOn({address});
    EXPECT_EQ(ReasonOf(server.status()), Reason::kInvalidOption) << address;
    std::string text(server.status().message());
    EXPECT_THAT(text, HasSubstr("cannot listen on " + address + ": "));
    EXPECT_THAT(text, HasSubstr("--listen"));
    return text;
  }

  static std::string SocketPath(const std::string& name) {
    return ::testing::TempDir() + "pixembed_listen_test_" + name;
  }
};

TEST_F(ListenTest, APortInUseIsRefused) {
  Start();
  EXPECT_THAT(Refusal(address_), HasSubstr("Address already in use"));
}

TEST_F(ListenTest, AMalformedAddressIsRefused) {
  for (const char* const address : {"50051", "127.0.0.1", ":50051", "::1:50051",
                                    "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000"}) {
    EXPECT_THAT(Refusal(address), HasSubstr("host:port"));
  }
}

TEST_F(ListenTest, AnAddressOfAnotherHostIsRefused) {
  EXPECT_THAT(Refusal("192.0.2.1:50051"), HasSubstr("Cannot assign requested address"));
}

TEST_F(ListenTest, TheSocketOfALiveServerIsNotTakenAway) {
  const std::string address = "unix:" + SocketPath("live");
  const auto first = StartOn({address});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(Refusal(address), HasSubstr("a server listens there"));
}

TEST_F(ListenTest, ASocketThatADeadServerLeftIsReused) {
  const std::string address = "unix:" + SocketPath("dead");
  { ASSERT_TRUE(StartOn({address}).ok()); }
  ASSERT_TRUE(StartOn({address}).ok());
}

TEST_F(ListenTest, AFileThatIsNoSocketIsLeftAlone) {
  const std::string path = SocketPath("file");
  std::ofstream(path) << "precious";
  EXPECT_THAT(Refusal("unix:" + path), HasSubstr("Address already in use"));
  std::string text;
  std::getline(std::ifstream(path), text);
  EXPECT_EQ(text, "precious");
}

TEST_F(ListenTest, AFolderThatIsNotThereIsRefused) {
  EXPECT_THAT(Refusal("unix:/nonexistent/folder/socket"), HasSubstr("No such file or directory"));
}

TEST_F(ListenTest, APathLongerThanTheSystemTakesIsRefusedWithBothNumbers) {
  EXPECT_THAT(Refusal("unix:/" + std::string(200, 'x')), HasSubstr("201 bytes; 1 to 107"));
}

TEST_F(ListenTest, SeveralAddressesServeAtOnceAndTellTheirPorts) {
  const std::string unix_address = "unix:" + SocketPath("several");
  const auto server = StartOn({"127.0.0.1:0", unix_address, "[::1]:0"});
  ASSERT_TRUE(server.ok()) << server.status();
  ASSERT_EQ((*server)->addresses().size(), 3U);
  for (const std::string& address : (*server)->addresses()) {
    v1::EmbedResponse response;
    const auto stub = v1::EmbeddingService::NewStub(Connect(address));
    EXPECT_TRUE(stub->Embed(Context().get(), Request({SolidImage(1)}), &response).ok()) << address;
    EXPECT_EQ(address.find(":0"), std::string::npos) << address;
  }
}

TEST_F(ListenTest, APortIsPutWhereItBelongs) {
  EXPECT_EQ(WithPort("127.0.0.1:0", 7), "127.0.0.1:7");
  EXPECT_EQ(WithPort("[::]:0", 7), "[::]:7");
  EXPECT_EQ(WithPort("unix:/tmp/a:b", 7), "unix:/tmp/a:b");
}

}  // namespace
}  // namespace pixembed
